"""Words of reflection through training: from stored responses to results/nano/behavior.parquet.

One row per model, measurement, window of updates, benchmark, group of problems, length, way to end and
verdict, with sums over its responses. Every rate and interval is computed from these rows alone
(behavior_estimates.py). Measurement "train" is a training run's own rollouts: update u samples from the
model after u - 1 updates, so update 1 shows the model that training began with and is step 0 here; the
others are in windows of five, named after the last. Any other measurement is an evaluation, its step that
of the checkpoint. Does not cover judged behaviour: no figure here comes from a judge.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior.cells import Problems, length_bin
from behavior.count import count_source, end_of
from behavior.finding import Finder, Found
from behavior.lexicon import load_lexicon
from behavior.sources import Response, Source, open_source
from prerl_eval.console import progress
from prerl_eval.errors import UserError
from prerl_eval.json_files import read_json

LEXICON = Path(__file__).with_name("countdown_words.toml")
FILE = "behavior.parquet"
TRAIN = "train"
MEASURES = ("test", "test64")
"""Evaluations that are counted: the same problems, 32 and 64 responses to each."""

WINDOW = 5
GROUPS = 20
"""Problems are pooled by hash into so many groups, the clusters of all intervals: the data stay small, and
groups of independent problems are independent too."""

PHRASES = ("wait", "let me check", "alternatively", "another way", "hmm", "then")
LABELS = {
    "reflection": ("wait", "let me check"),
    "transition": ("alternatively", "another way"),
    "simplerl": ("wait", "alternatively"),
}
"""Label -> its phrases. reflection, transition: of the lexicon. simplerl: what this vocabulary has of that
preset. A phrase is also a label of its own."""

KEYS = ("model", "measure", "step", "benchmark", "group", "length", "end", "correct")
SUMS = (
    "responses",
    "tokens",
    *(f"n {phrase}" for phrase in PHRASES),
    *(f"with {label}" for label in (*PHRASES, *LABELS)),
)
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("model", "arm", "lr", "seed", "start", "measure", "benchmark")]
    + [("step", pa.int32()), ("group", pa.int32()), ("length", pa.int32()), ("end", pa.string())]
    + [("correct", pa.bool_())]
    + [(name, pa.int32()) for name in SUMS]
)


class Part(NamedTuple):
    """One thing to count. folder: of the run. step: the checkpoint's; of a training run its last window's.

    start: fingerprint of the model that training began with, of the model itself for a base.
    """

    folder: Path
    model: str
    measure: str
    step: int
    start: str

    def is_in(self, held: set[tuple[str, str, int]]) -> bool:
        """Whether the data hold it, as (model, measure, step)."""
        return (self.model, self.measure, self.step) in held


class Sums:
    """Takes every response of a part and adds it to its row; a sink of behavior.count."""

    def __init__(self, step: int | None):
        self._step = step
        self.rows: dict[tuple[Any, ...], list[int]] = {}

    def add(self, response: Response, found: Found) -> None:
        """Add one response."""
        benchmark, problem, _, update = response.key
        step = window_of(update) if self._step is None else self._step
        group = zlib.crc32(problem.encode()) % GROUPS
        length = length_bin(len(response.text))
        key = (step, benchmark, group, length, end_of(response), response.status == "correct")
        row = self.rows.setdefault(key, [0] * len(SUMS))
        for place, value in enumerate(_values(response, found)):
            row[place] += value


def window_of(update: int) -> int:
    """The step under which an update's rollouts are counted: 0 for the first, then 5, 10, ..."""
    return 0 if update == 1 else -(-update // WINDOW) * WINDOW


def _values(response: Response, found: Found) -> list[int]:
    """In the order of SUMS."""
    counts = dict.fromkeys(PHRASES, 0)
    for mark in found.marks:
        counts[mark.phrase] += not mark.masked
    present = [any(counts[phrase] for phrase in LABELS.get(label, (label,))) for label in (*PHRASES, *LABELS)]
    return [1, response.tokens or 0, *counts.values(), *map(int, present)]


# --- what there is ---------------------------------------------------------------------------------


def named(model: str) -> tuple[str, str, str]:
    """Arm, learning rate and seed of a model's name; a base ("base", "base.NAME") has neither rate nor seed.

    Raises UserError for a name that is not ARM-LR-SEED, such as grpo-8e-4-0.
    """
    found = re.fullmatch(r"(.+)-(\d+(?:\.\d+)?e-?\d+)-(\d+)", model)
    if found is None and re.match(r"base\b", model):
        return model, "", ""
    if found is None:
        raise UserError(f"{model} is no model's name; models are called ARM-LR-SEED, such as grpo-8e-4-0")
    return found[1], found[2], found[3]


def finished_parts(work: Path, measures: tuple[str, ...]) -> list[Part]:
    """Training runs that made all their updates, and evaluations that are complete; sorted by name.

    measures: names of evaluations to take. Raises UserError where `work` is no folder and for a name that is
    no model's.
    """
    if not work.is_dir():
        raise UserError(f"{work} is not there; give the folder of the study's runs")
    parts = [part for folder in sorted(work.iterdir()) for part in _part(folder, measures)]
    for part in parts:
        named(part.model)
    return parts


def _part(folder: Path, measures: tuple[str, ...]) -> Iterator[Part]:
    record = read_json(folder / "run.json", missing_ok=True)
    evaluated = re.fullmatch(r"(.+)@(\d+)-(.+)", folder.name)
    if not record:
        return
    if record.get("kind") == "training":
        if not evaluated and _updates(folder) >= record["settings"]["steps"]:
            yield Part(folder, folder.name, TRAIN, window_of(_updates(folder)), _fingerprint(record))
        return
    if evaluated and evaluated[3] in measures:
        sampled = record.get("sessions", [{}])[-1].get("sampled", {})
        if set(sampled) >= set(record["benchmarks"]):
            trained = read_json(folder.parent / evaluated[1] / "run.json", missing_ok=True) or record
            yield Part(folder, evaluated[1], evaluated[3], int(evaluated[2]), _fingerprint(trained))


def _updates(folder: Path) -> int:
    file = folder / "metrics.jsonl"
    return len(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else 0


def _fingerprint(record: dict[str, Any]) -> str:
    return str(record["checkpoint"]["fingerprint"])[:12]


# --- counting --------------------------------------------------------------------------------------


def collect(work: Path, into: Path, measures: tuple[str, ...] = MEASURES) -> list[str]:
    """Count every finished part that the data lack, one by one; returns the names of the new ones.

    Rows that are there stay, but for training that went on since. The file is replaced after each part, so
    that an interrupted collection goes on. Raises UserError as `finished_parts` and `open_source` do, and
    where `into` is no folder.
    """
    if not into.is_dir():
        raise UserError(f"{into} is not there; give the folder of the study's data, such as results/nano")
    table = read_behavior(into)
    held = set(zip(*(table[name].to_pylist() for name in ("model", "measure", "step")), strict=True))
    parts = finished_parts(work, measures)
    new = [part for part in parts if not part.is_in(held)]
    finder = Finder(load_lexicon(str(LEXICON)))
    done = []
    with progress("words", len(parts), done=len(parts) - len(new), unit="runs") as advance:
        for part in new:
            source = open_source(str(part.folder))
            if not source.missing:
                table = pa.concat_tables([_without(table, part), count_part(part, source, finder)])
                _write(table, into / FILE)
                done.append(part.folder.name)
            advance(1, part.folder.name)
    return done


def count_part(part: Part, source: Source, finder: Finder) -> pa.Table:
    """The rows of one part."""
    sums = Sums(None if part.measure == TRAIN else part.step)
    count_source(source, finder, Problems(), sink=sums)
    arm, lr, seed = named(part.model)
    facts = {
        "model": part.model,
        "arm": arm,
        "lr": lr,
        "seed": seed,
        "start": part.start,
        "measure": part.measure,
    }
    names = ("step", "benchmark", "group", "length", "end", "correct")
    rows = [
        {**facts, **dict(zip(names, key, strict=True)), **dict(zip(SUMS, values, strict=True))}
        for key, values in sums.rows.items()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _without(table: pa.Table, part: Part) -> pa.Table:
    """Training that went on after it was counted is counted anew."""
    if part.measure != TRAIN:
        return table
    return table.filter(~((pc.field("model") == part.model) & (pc.field("measure") == TRAIN)))


def read_behavior(folder: Path) -> pa.Table:
    """behavior.parquet of a study's folder; no rows where there is none yet.

    Raises UserError where its columns are not those of today.
    """
    file = folder / FILE
    if not file.is_file():
        return SCHEMA.empty_table()
    table = pq.read_table(file)
    if table.schema.names != SCHEMA.names:
        raise UserError(f"{file} has other columns than are collected now; move it away and collect again")
    return table.cast(SCHEMA)


def _write(table: pa.Table, file: Path) -> None:
    """Sorted, so that the file does not depend on the order of collection; atomically."""
    half = file.with_name(f".{file.name}.partial")
    pq.write_table(table.sort_by([(name, "ascending") for name in KEYS]), half, compression="zstd")
    os.replace(half, file)
