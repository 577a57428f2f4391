"""Files of one JSON object per line that grow with a run: metrics.jsonl and evals.jsonl.

Covers appending, reading and going back to an earlier update; says nothing about what the objects
hold, but that each has the whole number `step`. A kill tears at most the last line, which is then
left out. Imports nothing heavy.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prerl_eval.errors import RunStopped, UserError

Entry = dict[str, Any]


def append(file: Path, entry: Mapping[str, Any]) -> None:
    """Add one line; numbers that JSON does not have (NaN, infinities) become null.

    Raises RunStopped where the line cannot be written.
    """
    line = json.dumps(_valid(entry), ensure_ascii=False, allow_nan=False) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(line.encode("utf-8", "replace"))
    except OSError as error:
        raise _unwritable(file, error) from error


def read(file: Path) -> list[Entry]:
    """The entries in order, [] where there is no file.

    Raises UserError for a line, other than a torn last one, that is no object with a `step`.
    """
    if not file.is_file():
        return []
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror}); make it readable") from error
    if lines and not lines[-1].endswith("\n"):
        del lines[-1]
    return [_parse(line, file, number) for number, line in enumerate(lines, 1) if line.strip()]


def go_back(file: Path, step: int) -> list[Entry]:
    """Keep the entries of updates up to `step`, atomically; what a resumed run appends follows on them.

    Returns the entries kept. Raises UserError as `read` does, RunStopped where it cannot be written.
    """
    kept = [entry for entry in read(file) if entry["step"] <= step]
    if not file.is_file():
        return kept
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            for entry in kept:
                stream.write((json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    except OSError as error:
        raise _unwritable(file, error) from error
    return kept


def _parse(line: str, file: Path, number: int) -> Entry:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
        raise UserError(f"{file} line {number} is no JSON object with a step; remove that line")
    return entry


def _valid(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _valid(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(inner) for inner in value]
    if hasattr(value, "item"):  # a number of numpy or torch
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unwritable(file: Path, error: OSError) -> RunStopped:
    return RunStopped(f"cannot write {file} ({error.strerror}); make room and run the same command to go on")
