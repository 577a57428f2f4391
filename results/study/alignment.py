"""Do steps on log P(y) move log P(y|x)? Measurements of every base model: results/nano/alignment*.parquet.

Takes finished folders WORK/align-NAME of `prerl-train align` (docs/alignment.md): "base" is the shipped base
model, other names are those of the plan. alignment.parquet has one row per response, alignment_tokens.parquet
one per token of those that were measured token by token. Does not cover tables (alignment_tables.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from prerl_eval.json_files import read_json

RESPONSES, TOKENS = "alignment.parquet", "alignment_tokens.parquet"

FIELDS = (
    *("inner", "cosine", "norm_y", "norm_yx", "mispaired_inner", "mispaired_cosine"),
    *("step", "predicted", "realised", "logp_y", "logp_yx", "token_gap"),
)
RESPONSE_SCHEMA = pa.schema(
    [("base", pa.string()), ("problem_id", pa.string()), ("sample_index", pa.int32())]
    + [("status", pa.string()), ("tokens", pa.int32()), ("restated", pa.int32())]
    + [(name, pa.float64()) for name in FIELDS]
)
"""restated: how many of its tokens repeat the problem, null where it does not open with that."""

TOKEN_FIELDS = ("relative_position", "p_y", "p_yx", "entropy_y", "entropy_yx", "norm_y", "norm_yx", "cosine")
TOKEN_SCHEMA = pa.schema(
    [("base", pa.string()), ("problem_id", pa.string()), ("sample_index", pa.int32())]
    + [("position", pa.int32()), ("is_restating", pa.bool_())]
    + [(name, pa.float32()) for name in TOKEN_FIELDS]
)


def collect(work: Path, into: Path) -> list[str]:
    """Add finished measurements that the data lack; returns the names of the new bases."""
    responses, tokens = read_responses(into), _read(into / TOKENS, TOKEN_SCHEMA)
    held = set(responses["base"].to_pylist())
    added = []
    for folder in sorted(work.glob("align-*")):
        name = folder.name.removeprefix("align-")
        result = read_json(folder / "alignment.json", missing_ok=True)
        if name in held or not result.get("complete"):
            continue
        rows = [{**row, "base": name} for row in result["responses"]]
        responses = pa.concat_tables([responses, pa.Table.from_pylist(rows, schema=RESPONSE_SCHEMA)])
        found = pq.read_table(folder / "tokens.parquet")
        found = found.append_column("base", pa.array([name] * len(found)))
        tokens = pa.concat_tables([tokens, found.select(TOKEN_SCHEMA.names).cast(TOKEN_SCHEMA)])
        added.append(name)
    if added:
        # Tokens first: what is held is read off the responses.
        _write(tokens, into / TOKENS)
        _write(responses, into / RESPONSES)
    return added


def _write(table: pa.Table, file: Path) -> None:
    half = file.with_name(f".{file.name}.partial")
    pq.write_table(table, half, compression="zstd")
    os.replace(half, file)


def _read(file: Path, schema: pa.Schema) -> pa.Table:
    return pq.read_table(file) if file.is_file() else schema.empty_table()


def read_responses(folder: Path) -> pa.Table:
    """alignment.parquet of a study's folder; no rows where there is none yet."""
    return _read(folder / RESPONSES, RESPONSE_SCHEMA)


def responses_of(folder: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Base -> its measured responses, as prerl_train.alignment.summary takes them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in read_responses(folder).to_pylist():
        found.setdefault(row["base"], []).append(row)
    return found


def tokens_of(folder: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Base -> its measured tokens as columns, as prerl_train.alignment.summary takes them."""
    table = _read(folder / TOKENS, TOKEN_SCHEMA)
    found = {}
    for base in table["base"].unique().to_pylist():
        part = table.filter(pc.equal(table["base"], base))
        columns: dict[str, NDArray[Any]] = {name: np.asarray(part[name]) for name in part.column_names}
        columns["p_gap"] = np.abs(columns["p_yx"] - columns["p_y"])
        found[base] = columns
    return found
