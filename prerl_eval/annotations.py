"""Annotations: what is said about stored samples afterwards, beside them and never inside them.

    RUN/annotations/<name>/about.json             who made it, from what, with which settings
    RUN/annotations/<name>/part-00000.parquet     one row per label or value; atomic, like samples
    RUN/annotations/<name>/lock                   held by the one writer

Log-probabilities (prerl_eval.scoring), counted words and judged behaviour (package behavior) are all
stored this way, so one reader serves reports and comparisons. Does not cover what labels mean: that
is each maker's, and stands in its about.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from prerl_eval import store
from prerl_eval.durable import replace_json
from prerl_eval.errors import UserError
from prerl_eval.json_files import read_json
from prerl_eval.run_lock import RunLock

ANNOTATION_VERSION = 1

ANNOTATION_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("problem_id", pa.string()),
        ("sample_index", pa.int32()),
        ("step", pa.int32()),
        ("label", pa.string()),
        ("value", pa.float64()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("values", pa.list_(pa.float32())),
        ("note", pa.string()),
    ],
    metadata={"prerl_annotation_version": str(ANNOTATION_VERSION)},
)

KEY = ("benchmark", "problem_id", "sample_index", "step")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One statement about one sample row. Field names are the columns.

    benchmark, problem_id, sample_index, step: the row's key. label: what is stated ("backtracking",
    "logp"). value: its number, where it has one. start, end: where it is seen, in characters (Unicode
    code points) of the raw completion, end exclusive; None where it is about the whole. values: a
    number per token of the completion. note: the maker's own words: a quote, a status, a reason.
    """

    benchmark: str
    problem_id: str
    sample_index: int
    step: int
    label: str
    value: float | None = None
    start: int | None = None
    end: int | None = None
    values: Sequence[float] | None = None
    note: str = ""


def annotation_folder(run: Path, name: str) -> Path:
    """Where the annotation `name` of a run is stored. Raises UserError for a name that is no file name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(
            f"annotation name {name!r} is not usable as a folder; use letters, digits, dot, dash, underscore"
        )
    return run / "annotations" / name


def annotation_names(run: Path) -> list[str]:
    """The annotations that a run has, sorted."""
    return sorted(file.parent.name for file in (run / "annotations").glob("*/about.json"))


def read_about(run: Path, name: str) -> dict[str, Any]:
    """The about.json of an annotation: {annotation_version, made_by, settings, ...}.

    Raises UserError where the run has no such annotation (naming those that it has), and where a
    newer prerl wrote it.
    """
    file = annotation_folder(run, name) / "about.json"
    if not file.is_file():
        present = ", ".join(annotation_names(run)) or "none"
        raise UserError(f"{run} has no annotation {name}; it has: {present}")
    about = read_json(file)
    if about.get("annotation_version", 0) > ANNOTATION_VERSION:
        raise UserError(
            f"{file} was written by a newer prerl (version {about['annotation_version']}, this one reads "
            f"{ANNOTATION_VERSION}); update prerl"
        )
    return about


def write_about(run: Path, name: str, about: Mapping[str, Any]) -> None:
    """Replace the about.json of an annotation atomically; the version is added."""
    file = annotation_folder(run, name) / "about.json"
    replace_json(file, {"annotation_version": ANNOTATION_VERSION, **about})


def read_annotations(run: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of an annotation as one table (only `columns` where given), in order of writing.

    Raises UserError where there is no such annotation or a part is damaged.
    """
    read_about(run, name)
    folder = annotation_folder(run, name)
    tables = [store.read_part(part, columns, ANNOTATION_SCHEMA) for part in store.parts_in(folder)]
    if tables:
        return pa.concat_tables(tables)
    empty = ANNOTATION_SCHEMA.empty_table()
    return empty.select(list(columns)) if columns else empty


def annotated_keys(run: Path, name: str) -> set[store.RowKey]:
    """Keys of the samples that the annotation speaks of: what a resumed maker skips."""
    table = read_annotations(run, name, KEY)
    return (
        set(zip(*(column.to_pylist() for column in table.itercolumns()), strict=True))
        if len(table)
        else set()
    )


def write_annotations(run: Path, name: str, rows: Iterable[Annotation]) -> Path | None:
    """Store rows as the next part, atomically; None where there are none.

    The caller holds `annotation_lock`. All rows about one sample belong into one call: then a kill
    leaves each sample either wholly annotated or not at all. Raises RunStopped on a full disk.
    """
    made = list(rows)
    return store.append_part(annotation_folder(run, name), _table(made)) if made else None


def replace_annotations(run: Path, name: str, rows: Iterable[Annotation]) -> None:
    """Store rows in the place of all that the annotation holds, atomically where it is one part.

    For makers whose statements change as they learn more. The caller holds `annotation_lock`.
    Raises RunStopped on a full disk.
    """
    store.replace_parts(annotation_folder(run, name), _table(list(rows)))


def annotation_lock(run: Path, name: str) -> RunLock:
    """The right to write one annotation; several annotations of a run can be written at once."""
    return RunLock(annotation_folder(run, name))


def _table(rows: Sequence[Annotation]) -> pa.Table:
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Annotation)}
    for column in ("label", "note"):
        columns[column] = [text.encode("utf-8", "replace").decode("utf-8") for text in columns[column]]
    return pa.table(columns, schema=ANNOTATION_SCHEMA)
