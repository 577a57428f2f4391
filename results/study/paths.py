"""Correct solutions of the base and of stages of training: results/nano/paths.parquet.

One row per model, step, problem and canonical solution, with how many samples gave it; the solution "" holds
the samples that were not correct, so that a problem's rows add up to its samples. Besides stages of ARMS this
is where the second, independent run of the base is kept, against which everything is judged that chance does
too. Does not cover statistics (expansion.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.diversity import read_solutions
from prerl_eval.comparison.rare import Solutions
from prerl_eval.console import progress
from prerl_eval.tally import tally_run
from results.study.behavior_course import named
from results.study.traces import is_complete

FILE = "paths.parquet"
BASE, AGAIN = "base", "base-resampled"
"""The base's run, and a second one with another sampling seed: what an unchanged model shows."""

ARMS = ("grpo", "dsrl", "dsrl-rl", "dsrl-w3e-4", "dsrl-rl-w3e-4")
SEEDS = ("0", "1", "2")
FOLDER = re.compile(r"(?P<model>.+)@(?P<step>\d+)-test64|(?P<base>base|base-resampled)@0-test")

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("step", pa.int32()),
        ("benchmark", pa.string()),
        ("problem_id", pa.string()),
        ("solution", pa.string()),
        ("count", pa.int32()),
    ]
)
ORDER = ("model", "step", "benchmark", "problem_id", "solution")


def collect(work: Path, into: Path) -> list[str]:
    """Add finished runs that paths.parquet lacks; returns the names of the new ones."""
    table = read_paths(into)
    held = set(zip(table["model"].to_pylist(), table["step"].to_pylist(), strict=True))
    found = [(folder, place) for folder in sorted(work.iterdir()) if (place := _place(folder))]
    new = [(folder, place) for folder, place in found if (place[0], place[3]) not in held]
    with progress("paths", len(found), done=len(found) - len(new), unit="runs") as advance:
        for folder, place in new:
            table = pa.concat_tables([table, solutions_of(folder, *place)])
            _write(table, into / FILE)
            advance(1, folder.name)
    return [folder.name for folder, _ in new]


def _place(folder: Path) -> tuple[str, str, int, int] | None:
    """(model, arm, seed, step) of a complete run that is wanted."""
    match = FOLDER.fullmatch(folder.name)
    if match is None or not is_complete(folder):
        return None
    if match["base"]:
        return match["base"], match["base"], 0, 0
    arm, _, seed = named(match["model"])
    return (match["model"], arm, int(seed), int(match["step"])) if arm in ARMS and seed in SEEDS else None


def solutions_of(run: Path, model: str, arm: str, seed: int, step: int) -> pa.Table:
    """The rows of one run."""
    rows: list[tuple[str | int, ...]] = []
    for benchmark, tally in tally_run(run).items():
        found = read_solutions(run, benchmark, tally.problem_ids)
        for problem, samples in zip(tally.problem_ids, tally.samples.tolist(), strict=True):
            counts = {**found[problem], "": samples - sum(found[problem].values())}
            rows += [(model, arm, seed, step, benchmark, problem, key, n) for key, n in counts.items()]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return pa.table(columns, schema=SCHEMA)


def _write(table: pa.Table, file: Path) -> None:
    """Sorted, so that the file does not depend on the order of collection; atomically."""
    half = file.with_name(f".{file.name}.partial")
    pq.write_table(table.sort_by([(name, "ascending") for name in ORDER]), half, compression="zstd")
    os.replace(half, file)


def read_paths(folder: Path) -> pa.Table:
    """paths.parquet of a study's folder; no rows where there is none yet."""
    file = folder / FILE
    return pq.read_table(file) if file.is_file() else SCHEMA.empty_table()


@dataclass(frozen=True)
class Stage:
    """Models of one arm at one step on one benchmark: counts of S seeds, and each seed's solutions."""

    counts: Arm
    seeds: tuple[int, ...]
    solutions: tuple[Solutions, ...]

    def of_seeds(self, seeds: tuple[int, ...]) -> Stage:
        """The same of these seeds only."""
        rows = [self.seeds.index(seed) for seed in seeds]
        counts = Arm(
            self.counts.name, self.counts.problem_ids, self.counts.correct[rows], self.counts.samples[rows]
        )
        return Stage(counts, seeds, tuple(self.solutions[row] for row in rows))


Stages = Mapping[tuple[str, int, str], Stage]
"""(arm, step, benchmark) -> what its seeds found."""


def read_stages(folder: Path) -> Stages:
    """paths.parquet by arm, step and benchmark."""
    groups: dict[tuple[str, int, str], dict[int, dict[str, dict[str, int]]]] = {}
    names = ("arm", "step", "benchmark", "seed", "problem_id", "solution", "count")
    table = read_paths(folder)
    for arm, step, benchmark, seed, problem, solution, count in zip(
        *(table[name].to_pylist() for name in names), strict=True
    ):
        seeds = groups.setdefault((arm, step, benchmark), {}).setdefault(seed, {})
        seeds.setdefault(problem, {})[solution] = count
    return {place: _stage(f"{place[0]}@{place[1]}", seeds) for place, seeds in groups.items()}


def _stage(name: str, seeds: Mapping[int, Mapping[str, Mapping[str, int]]]) -> Stage:
    order = tuple(sorted(seeds))
    problems = tuple(sorted(seeds[order[0]]))
    samples = np.array([[sum(seeds[seed][problem].values()) for problem in problems] for seed in order])
    wrong = np.array([[seeds[seed][problem][""] for problem in problems] for seed in order])
    solutions = tuple(
        {problem: {key: n for key, n in found.items() if key} for problem, found in seeds[seed].items()}
        for seed in order
    )
    return Stage(Arm(name, problems, samples - wrong, samples), order, solutions)
