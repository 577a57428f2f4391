"""prerl.json of a checkpoint: every file with its size and checksum, written when all of them are on disk.

Covers writing it, and telling by it what a checkpoint lacks. Which checkpoint is taken is
prerl_train.checkpoints'. Imports no torch.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prerl_eval import provenance
from prerl_eval.durable import sync_path

MANIFEST = "prerl.json"


def seal(written: Path, step: int, world_size: int, resumable: bool) -> None:
    """Bring the files to disk, then the manifest that names them."""
    paths = sorted(written.rglob("*"))
    files = [path for path in paths if path.is_file()]
    for path in files:
        sync_path(path)
    record = {
        "step": step,
        "world_size": world_size,
        "resumable": resumable,
        "files": {path.relative_to(written).as_posix(): path.stat().st_size for path in files},
        "crc32": {
            path.relative_to(written).as_posix(): found
            for path, found in zip(files, _checksums(files), strict=True)
        },
        "versions": provenance.versions(),
    }
    (written / MANIFEST).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for path in (written / MANIFEST, *(path for path in paths if path.is_dir()), written):
        sync_path(path)


def read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    """prerl.json of a checkpoint; None where there is none that can be read."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def missing(checkpoint: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Files that it names and the folder does not have."""
    return [name for name in manifest["files"] if not (checkpoint / name).is_file()]


def cut_off(checkpoint: Path, manifest: Mapping[str, Any]) -> str:
    """Which file is shorter than it was, "" for none. A missing one was not torn but removed."""
    for name, size in manifest["files"].items():
        file = checkpoint / name
        if file.is_file() and file.stat().st_size < size:
            return f"{name} has {file.stat().st_size:,} of {size:,} bytes"
    return ""


def changed(checkpoint: Path, manifest: Mapping[str, Any]) -> str:
    """Which file holds other bytes than were written, "" for none; older manifests have no checksums."""
    files = [checkpoint / name for name in manifest.get("crc32", {})]
    present = [file for file in files if file.is_file()]
    for file, found in zip(present, _checksums(present), strict=True):
        name = file.relative_to(checkpoint).as_posix()
        if found != manifest["crc32"][name]:
            return f"{name} holds other bytes than were written"
    return ""


def _checksums(files: Sequence[Path]) -> list[int]:
    """CRC-32 of each file; several at once, since zlib lets other threads work."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_checksum, files))


def _checksum(file: Path) -> int:
    found = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 24):
            found = zlib.crc32(block, found)
    return found
