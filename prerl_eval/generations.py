"""Files of generations that some other tool made, row by row: jsonl, jsonl.gz and parquet.

Covers reading in bounded memory and finding values by dotted path. Does not know problems, grading
or runs (prerl_eval.grade_file).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prerl_eval.errors import UserError

BATCH_ROWS = 256
"""Parquet rows read at a time."""

HEAD_BYTES = 1 << 16
"""Looked at before lines are read."""


Moved = Callable[[int], None]
"""Told how many bytes of the file have been read so far (compressed ones, where it is compressed)."""


def read_rows(
    file: Path, columns: Sequence[str] | None = None, moved: Moved | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a file, one at a time.

    columns: top-level fields that are enough; only Parquet files can leave out the others. moved: told
    the place in the file as reading goes on. Raises UserError for a missing, empty, unknown, binary or
    damaged file, a line that is no UTF-8 or no JSON object among them (with its number).
    """
    if not file.is_file():
        raise UserError(f"{file} is no file; give a jsonl, jsonl.gz or parquet file of generations")
    count = 0
    for row in _parquet_rows(file, columns, moved) if file.suffix == ".parquet" else _json_rows(file, moved):
        count += 1
        yield row
    if not count:
        raise UserError(f"{file} is empty; give a file with one generation (or one list of them) per row")


def _json_rows(file: Path, moved: Moved | None) -> Iterator[dict[str, Any]]:
    if file.suffixes[-1:] not in ([".jsonl"], [".json"], [".gz"]):
        raise UserError(f"{file}: unknown kind of file; give .jsonl, .jsonl.gz or .parquet")
    try:
        with file.open("rb", 0) as raw, _lines(file, raw) as stream:
            # A binary file may have no line break for gigabytes.
            if b"\0" in stream.peek(HEAD_BYTES):
                raise UserError(
                    f"{file} cannot be read: it has NUL bytes, as binary files and UTF-16 do; give UTF-8"
                )
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield _object(file, number, _decoded(file, number, line))
                if moved:
                    moved(raw.tell())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({error}); is it complete?") from error


def _lines(file: Path, raw: io.FileIO) -> io.BufferedReader:
    inside: Any = gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw
    return io.BufferedReader(inside, HEAD_BYTES)


def _decoded(file: Path, number: int, line: bytes) -> str:
    try:
        # Some editors begin UTF-8 with a byte order mark.
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02x} at {error.start}"
        raise UserError(
            f"{file} line {number} cannot be read as UTF-8 ({byte}); "
            "convert the file, or the lines that another tool added, to UTF-8"
        ) from error


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


def _parquet_rows(file: Path, columns: Sequence[str] | None, moved: Moved | None) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            seen, total, size = 0, parquet.metadata.num_rows, file.stat().st_size
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                yield from batch.to_pylist()
                seen += len(batch)
                if moved:
                    moved(size * seen // total)
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


def finish_reasons(row: Mapping[str, Any], field: str, count: int) -> list[str]:
    """How each of the `count` responses in a dotted `field` ended, in the file's own words, "" where it
    does not say.

    From the nearest object around the field that has a finish_reason: "choices.message.content" has
    its own in "choices".
    """
    value, around = None, field
    while value is None and around:
        around = around.rpartition(".")[0]
        value = find(row, f"{around}.finish_reason" if around else "finish_reason")
        if isinstance(value, list) and not any(value):
            value = None
    reasons = value if isinstance(value, list) else [value] * count
    return [str(reason or "") for reason in reasons] if len(reasons) == count else [""] * count
