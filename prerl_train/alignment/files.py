"""What an alignment study keeps on disk: rows as they come, the result, the tokens.

Covers writing that survives a kill at any moment, and reading the rows back. Does not cover the
picture (plot.py) or the sampled responses (prerl_eval.store).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prerl_eval.errors import RunStopped, UserError

Row = dict[str, Any]

TOKEN_COLUMNS = {
    "problem_id": pa.string(),
    "sample_index": pa.int32(),
    "position": pa.int32(),
    "relative_position": pa.float64(),
    "is_restating": pa.bool_(),
    "token_id": pa.int32(),
    "p_y": pa.float64(),
    "p_yx": pa.float64(),
    "entropy_y": pa.float64(),
    "entropy_yx": pa.float64(),
    "inner": pa.float64(),
    "norm_y": pa.float64(),
    "norm_yx": pa.float64(),
    "cosine": pa.float64(),
}
"""Columns of tokens.parquet; docs/alignment.md says what they are."""


def read_rows(file: Path) -> list[Row]:
    """The rows that were written whole; cuts off a last one that a kill tore.

    Raises UserError where another line is no row.
    """
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(file, whole)
    rows = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{file} is damaged in line {number}; delete that line and run the same command"
            ) from error
        rows.append(row)
    return rows


def append_row(file: Path, row: Row) -> None:
    """Add a row and make sure that it stays. Raises RunStopped where the disk does not take it."""
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _stopped(file, error) from error


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file at once. Raises RunStopped where the disk does not take it."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        temporary.write_bytes(text.encode("utf-8", "replace"))
        temporary.rename(file)
    except OSError as error:
        raise _stopped(file, error) from error


def write_tokens(file: Path, columns: Mapping[str, Any]) -> None:
    """Replace tokens.parquet at once. columns: arrays by name, at least TOKEN_COLUMNS; NaN becomes null."""
    arrays = [pa.array(columns[name], kind, from_pandas=True) for name, kind in TOKEN_COLUMNS.items()]
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        pq.write_table(pa.table(arrays, names=list(TOKEN_COLUMNS)), temporary, compression="zstd")
        temporary.rename(file)
    except OSError as error:
        raise _stopped(file, error) from error


def _stopped(file: Path, error: OSError) -> RunStopped:
    return RunStopped(
        f"cannot write {file} ({error.strerror or error}); what was measured is safe, make room and run the "
        "same command to go on"
    )
