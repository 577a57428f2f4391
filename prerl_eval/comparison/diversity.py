"""How many different answers a model gives: expected distinct answers in k samples of a problem.

Covers the estimator and the counts that it takes, for answers (equivalence classes as maj@k votes on
them) and, on Countdown, for correct solutions told apart by their canonical expression. Does not cover
comparing two sides (compare.py does). An answer that no grader could read is no answer here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike
from scipy.special import gammaln

from prerl_eval.comparison.rare import Solutions
from prerl_eval.grading.countdown import canonical_expression
from prerl_eval.metrics import Floats
from prerl_eval.store import read_samples
from prerl_eval.tally import Tally

Classes = Sequence[Sequence[int]]
"""Per problem, how many of its samples fell into each class."""


def expected_distinct(classes: Classes, samples: ArrayLike, k: int) -> Floats:
    """Expected number of distinct classes among k of a problem's samples: float[P].

    Sum over classes of 1 - C(n-c, k) / C(n, k): Hurlbert's rarefaction (Ecology 52, 1971, eq. 5),
    unbiased for every k <= n, so that sides with different n compare at the smaller. ValueError for
    k above some n.
    """
    n = np.asarray(samples, dtype=np.float64)
    if len(n) and not 1 <= k <= n.min():
        raise ValueError(f"k = {k} is not within 1 to n = {n.min():.0f}")
    problem = np.repeat(np.arange(len(n)), [len(sizes) for sizes in classes])
    size = np.asarray([count for sizes in classes for count in sizes], dtype=np.float64)
    total = n[problem]
    left = total - size
    log_missed = (
        gammaln(left + 1) - gammaln(np.maximum(left - k, 0) + 1) - gammaln(total + 1) + gammaln(total - k + 1)
    )
    seen = np.where(left < k, 1.0, -np.expm1(log_missed))
    return np.bincount(problem, weights=seen, minlength=len(n)).astype(np.float64)


def answer_classes(tally: Tally) -> list[list[int]]:
    """Sizes of the answer classes of each problem; all correct answers are one class."""
    return [[count for count in (vote.correct, *vote.rivals) if count] for vote in tally.votes]


def has_solutions(tally: Tally) -> bool:
    """Whether correct answers can be told apart: Countdown's are whole solutions."""
    return all(grader.startswith("countdown/") for grader in tally.graders)


def read_solutions(run: Path, benchmark: str, problems: Sequence[str], step: int | None = None) -> Solutions:
    """The correct solutions of these problems by canonical expression, with how many samples gave each.

    For benchmarks that `has_solutions` holds for.
    """
    table = read_samples(run, ["benchmark", "problem_id", "step", "status", "answer"])
    wanted = pc.and_(pc.equal(table["benchmark"], benchmark), pc.equal(table["status"], "correct"))
    if step is not None:
        wanted = pc.and_(wanted, pc.equal(table["step"], step))
    rows = table.filter(wanted).group_by(["problem_id", "answer"]).aggregate([([], "count_all")])
    found: dict[str, Counter[str]] = {problem: Counter() for problem in problems}
    for row in rows.to_pylist():
        if row["problem_id"] in found:
            found[row["problem_id"]][canonical_expression(row["answer"])] += row["count_all"]
    return found
