"""What became of the base's correct, rare correct and wrong responses: results/nano/mass.parquet.

One row per chosen response of the base: up to eight correct and eight others of each problem, each with the
number of responses that it stands for; two log-probs under the base and under each checkpoint. A model that
did not change has the same log-probs, so the null of every figure is exactly "no change"; what chance does is
which responses and problems are looked at, and that is what the intervals are about. Terms: docs/score.md.
Does not cover the tables (trace_tables.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from prerl_eval import store
from prerl_eval.comparison.mass import KINDS
from prerl_eval.comparison.posterior import fit_seen
from prerl_eval.comparison.rare import CEILING
from prerl_eval.console import progress
from prerl_eval.errors import UserError
from prerl_eval.metrics import Floats
from results.study.behavior_course import named
from results.study.traces import KEY, LABELS, Target, base_run, base_target, scores, subset, targets

FILE = "mass.parquet"
KEPT = 8
"""Most correct, and most other, responses of a problem."""

ARMS = ("grpo", "dsrl", "dsrl-rl", "dsrl-w3e-4", "dsrl-rl-w3e-4")
SEEDS = ("0", "1", "2")


def collect(work: Path, into: Path) -> list[str]:
    """Add the log-probs under checkpoints of ARMS that mass.parquet lacks; returns their names.

    Raises UserError as `traces.base_run` does, and where mass.parquet is of other responses.
    """
    file, base = into / FILE, base_run(work)
    wanted = [target for target in targets(work) if _of_arms(target)]
    run = subset(base, work / "traces", up_to_kept)
    chosen = chosen_responses(base, run)
    held = pq.read_table(file) if file.is_file() else chosen
    if held.select(chosen.column_names) != chosen:
        raise UserError(f"{file} is of other responses than {run}; move one of them away and collect again")
    keys = list(zip(*(held[name].to_pylist() for name in KEY), strict=True))
    every = [base_target(run), *wanted]
    missing = [target for target in every if f"{target.name} given" not in held.column_names]
    with progress("traces", len(every), done=len(every) - len(missing), unit="checkpoints") as advance:
        for target in missing:
            for space, found in scores(run, target).items():
                # Finer than 1/1024 nat a log-prob says nothing here, and takes twice the bytes.
                values = np.round(np.asarray([found[key] for key in keys]) * 1024) / 1024
                held = held.append_column(f"{target.name} {space}", pa.array(values, pa.float32()))
            half = file.with_name(f".{file.name}.partial")
            pq.write_table(held, half, compression="zstd", use_dictionary=list(KEY))
            os.replace(half, file)
            advance(1, target.name)
    return [target.name for target in missing]


def _of_arms(target: Target) -> bool:
    arm, _, seed = named(target.model)
    return arm in ARMS and seed in SEEDS


def up_to_kept(table: pa.Table) -> NDArray[np.bool_]:
    """The first KEPT correct and the first KEPT other responses to each problem, bool[N]."""
    groups = _groups(table)
    seen: Counter[tuple[str, str, bool]] = Counter()
    chosen = np.zeros(len(table), dtype=bool)
    for row in np.argsort(np.asarray(table["sample_index"]), kind="stable"):
        seen[groups[row]] += 1
        chosen[row] = seen[groups[row]] <= KEPT
    return chosen


def chosen_responses(base: Path, run: Path) -> pa.Table:
    """benchmark, problem_id, sample_index, correct, stands_for of the responses in `run`, sorted.

    stands_for: how many responses of the base's run there are, to this problem and correct or not as this
    one, for each that was chosen.
    """
    columns = [*KEY, "status"]
    table = store.read_samples(run, columns).sort_by([(name, "ascending") for name in KEY])
    groups = _groups(table)
    there, kept = Counter(_groups(store.read_samples(base, columns))), Counter(groups)
    weights = [there[group] / kept[group] for group in groups]
    return pa.table(
        {
            **{name: table[name].combine_chunks() for name in KEY},
            "correct": [correct for *_, correct in groups],
            "stands_for": pa.array(weights, pa.float32()),
        }
    )


def _groups(table: pa.Table) -> list[tuple[str, str, bool]]:
    """(benchmark, problem, whether it is correct) of each row."""
    columns = (table["benchmark"].to_pylist(), table["problem_id"].to_pylist(), table["status"].to_pylist())
    return [(bench, problem, status == "correct") for bench, problem, status in zip(*columns, strict=True)]


# --- reading ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Responses:
    """N responses of the base to P problems of one benchmark.

    problem: int[N], 0 to P - 1. weights: kind (correct, rare, wrong) -> float[N], what each response
    counts; a rare one its problem's posterior probability of being solved with a chance of at most 5%.
    has: kind -> float[P], the chance that a problem has any: 0, 1 or, for rare ones, that probability.
    """

    problem: NDArray[np.int64]
    weights: dict[str, Floats]
    has: dict[str, Floats]

    @property
    def problems(self) -> int:
        """P."""
        return int(self.problem.max()) + 1

    def sums(self, kind: str, values: Floats) -> Floats:
        """Weighted sums over each problem's responses of a kind: float[S, P] of float[S, N]."""
        weighted = np.atleast_2d(values) * self.weights[kind]
        return np.stack([np.bincount(self.problem, row, minlength=self.problems) for row in weighted])


def responses_of(problem: NDArray[np.int64], correct: NDArray[np.bool_], stands_for: Floats) -> Responses:
    """The kinds of N responses. stands_for: float[N], see `chosen_responses`."""
    samples = np.rint(np.bincount(problem, stands_for)).astype(np.int64)
    solved = np.rint(np.bincount(problem, stands_for * correct)).astype(np.int64)
    rare = np.where(solved > 0, fit_seen(solved, samples).at_most(CEILING, solved, samples), 0.0)
    weights = (stands_for * correct, stands_for * correct * rare[problem], stands_for * ~correct)
    has = ((solved > 0).astype(np.float64), rare, (solved < samples).astype(np.float64))
    return Responses(problem, dict(zip(KINDS, weights, strict=True)), dict(zip(KINDS, has, strict=True)))


def read_mass(folder: Path) -> pa.Table | None:
    """mass.parquet of a study's folder, None where there is none yet."""
    file = folder / FILE
    return pq.read_table(file) if file.is_file() else None


def checkpoints_of(table: pa.Table) -> Iterator[tuple[str, str, int, str]]:
    """(arm, seed, step, MODEL@STEP) of every trained checkpoint that the table has columns of."""
    for column in table.column_names:
        name, _, space = column.partition(" ")
        model, _, step = name.partition("@")
        if space == "given" and model != "base":
            arm, _, seed = named(model)
            yield arm, seed, int(step), name


def changes(table: pa.Table, names: Sequence[str], space: str) -> Floats:
    """Log-probs under these checkpoints less those under the base, float[S, N]. space: a key of LABELS."""
    assert space in LABELS
    base = np.asarray(table[f"base@0 {space}"], dtype=np.float64)
    return np.stack([np.asarray(table[f"{name} {space}"], dtype=np.float64) - base for name in names])
