"""From stored sample rows to counts per problem: what every number and curve is computed from.

Covers reading (never the completions), choosing a training step, the checks that each sample is
there once and no problem has more than was planned, and setting unscored rows aside. Does not
cover estimators (prerl_eval.metrics).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prerl_eval.errors import UserError
from prerl_eval.grading.verdict import STATUSES, UNSCORED
from prerl_eval.run_record import read_record
from prerl_eval.store import read_samples

COLUMNS = (
    "benchmark",
    "problem_id",
    "sample_index",
    "step",
    "tokens",
    "finish_reason",
    "status",
    "answer_class",
    "grader",
)

KEY = ["benchmark", "problem_id", "sample_index", "step"]

UNKNOWN_FINISH = ("", "unknown")
"""Finish reasons of imported rows whose maker did not say."""


@dataclass(frozen=True)
class Votes:
    """What maj@k needs of one problem: sizes of the answer classes."""

    correct: int
    rivals: tuple[int, ...]
    blank: int


@dataclass(frozen=True)
class Tally:
    """Counts of one benchmark at one step over its P problems with at least one scored row.

    samples, correct, failed, unparsed: int[P], scored rows, and those of them that are correct,
    that the grader failed on (timeout or error), and that hold no answer. statuses: the six, in
    their order. missing: planned rows not stored yet, 0 where the run has no plan (imports).
    known_finish, cut: rows whose finish reason is known, and is "length". problem_tokens: int[P],
    completion tokens of a problem's scored rows, 0 where no row says.
    """

    benchmark: str
    problem_ids: tuple[str, ...]
    samples: NDArray[np.int64]
    correct: NDArray[np.int64]
    failed: NDArray[np.int64]
    unparsed: NDArray[np.int64]
    votes: tuple[Votes, ...]
    statuses: dict[str, int]
    unscored: int
    missing: int
    known_finish: int
    cut: int
    problem_tokens: NDArray[np.int64]
    graders: tuple[str, ...]

    @property
    def n(self) -> int:
        """Samples that every problem has: the largest k that any estimate is given for."""
        return int(self.samples.min()) if len(self.samples) else 0

    @property
    def tokens(self) -> int | None:
        """Completion tokens of all scored rows, None where no row says."""
        return int(self.problem_tokens.sum()) or None


def tally_run(run: Path, step: int | None = None) -> dict[str, Tally]:
    """Counts of each benchmark of a run, in run.json's order; also of one that has no samples yet.

    step: which step of a training run; None where the run holds one only. Raises UserError for a
    folder without samples, an unknown step, a sample stored twice, or more than was planned.
    """
    plans = read_record(run).get("benchmarks", {})
    table = _at_step(run, read_samples(run, COLUMNS), step)
    _refuse_duplicates(run, table)
    stored = table.column("benchmark").unique().to_pylist()
    order = [*plans, *(name for name in stored if name not in plans)]
    return {
        name: _tally(run, name, table.filter(pc.equal(table["benchmark"], name)), plans.get(name, {}))
        for name in order
    }


@dataclass(frozen=True)
class Window:
    """Consecutive steps of a training run: the first, the last, and the counts over both and between.

    A problem of the tally is a problem at a step, "3/train-0007": its samples came from one policy.
    """

    first: int
    last: int
    tally: Tally


def tally_windows(run: Path, most: int) -> dict[str, list[Window]]:
    """Counts of a training run's rollouts, in at most `most` windows of about as many steps each.

    Raises UserError for a folder without samples and for a sample stored twice.
    """
    table = read_samples(run, COLUMNS)
    _stored_steps(run, table)
    _refuse_duplicates(run, table)
    windows: dict[str, list[Window]] = {}
    for name in table.column("benchmark").unique().to_pylist():
        rows = table.filter(pc.equal(table["benchmark"], name))
        steps = sorted(rows.column("step").unique().to_pylist())
        place = rows.column_names.index("problem_id")
        at_step = pc.binary_join_element_wise(rows["step"].cast(pa.string()), rows["problem_id"], "/")
        rows = rows.set_column(place, "problem_id", at_step)
        windows[name] = [
            Window(
                int(some[0]),
                int(some[-1]),
                _tally(run, name, rows.filter(pc.is_in(rows["step"], pa.array(some, pa.int32()))), {}),
            )
            for some in np.array_split(steps, min(most, len(steps)))
        ]
    return windows


def _stored_steps(run: Path, table: pa.Table) -> list[int]:
    steps = sorted(table.column("step").unique().to_pylist())
    if not steps:
        raise UserError(f"{run} holds no samples yet; run `prerl-eval run` on it first")
    return steps


def _at_step(run: Path, table: pa.Table, step: int | None) -> pa.Table:
    steps = _stored_steps(run, table)
    if step is None:
        if len(steps) > 1:
            raise UserError(f"{run} holds steps {_some(steps)}; choose one with --step")
        return table
    if step not in steps:
        raise UserError(f"{run} holds no samples of step {step}; it holds {_some(steps)}")
    return table.filter(pc.equal(table["step"], step))


def _some(steps: list[int]) -> str:
    if len(steps) <= 8:
        return ", ".join(map(str, steps))
    return f"{', '.join(map(str, steps[:3]))}, ..., {steps[-1]} ({len(steps)} of them)"


def _refuse_duplicates(run: Path, table: pa.Table) -> None:
    counts = table.group_by(KEY).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if len(twice):
        row = twice.slice(0, 1).to_pylist()[0]
        raise UserError(
            f"{run} holds {len(twice):,} samples more than once (first: {row['benchmark']} problem "
            f"{row['problem_id']} sample {row['sample_index']}); remove the part file that was copied in"
        )


def _tally(run: Path, name: str, table: pa.Table, plan: Mapping[str, Any]) -> Tally:
    missing = _missing(run, name, table, plan)
    scored = table.filter(pc.not_equal(table["status"], UNSCORED))
    ids, problem = np.unique(np.asarray(scored["problem_id"].to_pylist(), dtype=object), return_inverse=True)
    status = np.asarray(scored["status"].to_pylist(), dtype=object)
    reasons = Counter(reason or "" for reason in scored["finish_reason"].to_pylist())

    def per_problem(*statuses: str) -> NDArray[np.int64]:
        return np.bincount(problem[np.isin(status, statuses)], minlength=len(ids))

    return Tally(
        benchmark=name,
        problem_ids=tuple(ids.tolist()),
        samples=np.bincount(problem, minlength=len(ids)),
        correct=per_problem("correct"),
        failed=per_problem("timeout", "error"),
        unparsed=per_problem("unparsed"),
        votes=_votes(len(ids), problem, status, scored["answer_class"].to_pylist()),
        statuses={key: int((status == key).sum()) for key in STATUSES},
        unscored=len(table) - len(scored),
        missing=missing,
        known_finish=len(scored) - sum(reasons[reason] for reason in UNKNOWN_FINISH),
        cut=reasons["length"],
        problem_tokens=_sums(problem, scored["tokens"], len(ids)),
        graders=tuple(sorted(scored["grader"].unique().to_pylist())),
    )


def _sums(problem: NDArray[np.int64], values: pa.ChunkedArray, problems: int) -> NDArray[np.int64]:
    known = np.asarray(pc.fill_null(values, 0), dtype=np.int64)
    return np.bincount(problem, weights=known, minlength=problems).astype(np.int64)


def _missing(run: Path, name: str, table: pa.Table, plan: Mapping[str, Any]) -> int:
    """Planned rows that are not stored.

    No problem may have more than n samples and there may be no more problems than planned, so
    that nothing missing means exactly n samples of every problem (lighteval#771: halving scores).
    """
    n, problems = plan.get("n"), plan.get("problems")
    if not n or not problems:
        return 0
    counts = Counter(table["problem_id"].to_pylist())
    most = max(counts, key=counts.__getitem__, default="")
    if (count := counts[most]) > n:
        raise UserError(
            f"{run}: {name} problem {most} has {count} samples, run.json says n = {n}; restore run.json"
        )
    if len(counts) > problems:
        raise UserError(
            f"{run}: {name} has {len(counts)} problems, run.json says {problems}; restore run.json"
        )
    return int(n * problems - len(table))


def _votes(
    problems: int, problem: NDArray[np.int64], status: NDArray[np.object_], classes: list[str]
) -> tuple[Votes, ...]:
    """Answer classes per problem; the rows called correct are one class, whatever its key."""
    correct, blank = [0] * problems, [0] * problems
    rivals: list[Counter[str]] = [Counter() for _ in range(problems)]
    for index, verdict, key in zip(problem.tolist(), status, classes, strict=True):
        if verdict == "correct":
            correct[index] += 1
        elif key:
            rivals[index][key] += 1
        else:
            blank[index] += 1
    return tuple(
        Votes(right, tuple(sorted(wrong.values())), none)
        for right, wrong, none in zip(correct, rivals, blank, strict=True)
    )
