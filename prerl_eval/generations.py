"""Files of generations that some other tool made, row by row: jsonl, jsonl.gz and parquet.

Covers reading in bounded memory and finding values by dotted path. Does not know problems, grading
or runs (prerl_eval.grade_file).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from prerl_eval.errors import UserError

BATCH_ROWS = 256
"""Parquet rows read at a time."""


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, one at a time.

    Raises UserError for a missing, empty, unknown or damaged file, a line that is no JSON object among
    them (with its number).
    """
    if not file.is_file():
        raise UserError(f"{file} is no file; give a jsonl, jsonl.gz or parquet file of generations")
    count = 0
    for row in _parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file):
        count += 1
        yield row
    if not count:
        raise UserError(f"{file} is empty; give a file with one generation (or one list of them) per row")


def _json_rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffixes[-1:] not in ([".jsonl"], [".json"], [".gz"]):
        raise UserError(f"{file}: unknown kind of file; give .jsonl, .jsonl.gz or .parquet")
    try:
        with _open_text(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _object(file, number, line)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({error}); is it complete, and UTF-8?") from error


def _open_text(file: Path) -> IO[str]:
    # Some editors begin UTF-8 with a byte order mark, which "utf-8-sig" skips.
    return (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8-sig")


def _object(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if r"\ud" in line.lower():  # perhaps half a character, which no UTF-8 file can hold
            row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file} line {number} is not JSON ({error}); give one JSON object per line"
        ) from error
    if not isinstance(row, dict):
        raise UserError(f"{file} line {number} is a JSON {type(row).__name__}; give one JSON object per line")
    return row


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:  # text that is no UTF-8 is a ValueError
        raise UserError(
            f"{file} cannot be read ({str(error).splitlines()[0]}); is it a parquet file, and its text UTF-8?"
        ) from error


def file_hash(file: Path) -> str:
    """sha256 of the file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find(row: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none.

    "solution.text" goes into objects, "code.0" takes an item of a list, and a name after a list
    collects from its items: "choices.message.content" is the list of all contents. A field whose
    own name has dots is found under its whole name.
    """
    if isinstance(row, Mapping) and path in row:
        return row[path]
    name, _, rest = path.partition(".")
    if isinstance(row, list):
        if name.isdecimal():
            value = row[int(name)] if int(name) < len(row) else None
            return find(value, rest) if rest else value
        return [find(item, path) for item in row] if row else None
    if not isinstance(row, Mapping) or name not in row:
        return None
    return find(row[name], rest) if rest else row[name]


def field_names(row: Mapping[str, Any]) -> list[str]:
    """The names to choose from: top-level fields, and dotted ones of objects in them."""
    names = []
    for name, value in row.items():
        names += [f"{name}.{inner}" for inner in value] if isinstance(value, Mapping) and value else [name]
    return names
