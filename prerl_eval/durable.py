"""Files that are on the disk when a call returns, and replaced at once or not at all.

Covers syncing, replacing a JSON file, and what is said where a disk refuses. Does not cover what is in the
files: the store's parts (store.py) and records (run_record.py) do.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from prerl_eval.errors import RunStopped


def replace_json(file: Path, record: Mapping[str, Any]) -> None:
    """Replace a JSON file atomically, making its folder. Raises RunStopped on a full disk."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp")
        with temporary.open("wb") as stream:
            stream.write(_readable_json(record).encode("utf-8", "replace"))
            sync(stream)
        temporary.rename(file)
        sync_path(file.parent)
    except OSError as error:
        raise disk_trouble(error, file.parent) from error


def sync(file: IO[bytes]) -> None:
    """Bring what was written to an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_path(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_trouble(error: OSError, run: Path) -> RunStopped:
    """What to raise where writing into a run failed."""
    what = (
        "the disk is full"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else f"cannot write ({error.strerror or error})"
    )
    return RunStopped(f"{run}: {what}; every stored row is safe, make room and run the same command to go on")


def _readable_json(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    # Token ids on one line each; a line break inside a JSON string is escaped, so strings stay as they are.
    return re.sub(r"\[\n[\s\d,]+\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text)
