"""What Pass@k is worth by guessing alone, where few answers are possible.

Covers the chance that a guess is right, from the number of possible answers or from the answers that the
run itself gave to other problems, and the Pass@k that follows. Does not cover subtracting it: a
model that reasons and a model that guesses are not told apart by a difference. Assumptions:
docs/compare-statistics.md, "Guessing floor".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from prerl_eval.grading.latex import squeeze
from prerl_eval.grading.shapes import class_of, read_shape
from prerl_eval.metrics import Floats
from prerl_eval.store import read_samples

INTEGERS_BELOW_1000 = 1000
"""Answers that are possible in AIME: the integers from 0 to 999."""


def guessing_floor(chances: ArrayLike, max_k: int) -> Floats:
    """Pass@k of a model that guesses, for k = 1..max_k: float[K], mean over problems of 1 - (1 - g)^k.

    chances: float[P], the chance g that one guess is right. Guesses are independent.
    """
    wrong = 1.0 - np.asarray(chances, dtype=np.float64)
    return np.asarray(1.0 - (wrong[:, None] ** np.arange(1, max_k + 1)).mean(axis=0))


def uniform_chances(options: ArrayLike) -> Floats:
    """1 / m for problems with m equally likely answers: float[P] from int[P]. ValueError for m < 1."""
    m = np.asarray(options, dtype=np.float64)
    if (m < 1).any():
        raise ValueError("each problem needs at least one possible answer")
    return np.asarray(1.0 / m)


def marginal_chances(
    answers: Sequence[Mapping[str, int]], golds: Sequence[str], samples: Sequence[int]
) -> Floats:
    """How often the run's answers to the OTHER problems are this problem's gold: float[P].

    answers: per problem, how many samples gave each answer. golds: each problem's right answer, a key of
    the same kind. samples: int[P], samples of each problem, those without an answer included.
    Each other problem weighs its share of samples. ValueError for one problem: there is no other.
    """
    if len(answers) < 2:
        raise ValueError("the answers to other problems need at least two problems")
    total: Counter[str] = Counter()
    for given in answers:
        total.update(given)
    drawn = sum(samples)
    return np.array(
        [
            (total[gold] - given.get(gold, 0)) / (drawn - some)
            for given, gold, some in zip(answers, golds, samples, strict=True)
        ]
    )


def answer_key(text: str) -> str:
    """The key under which the grader files an answer of this text when it is wrong."""
    return class_of(read_shape(text), lambda term: squeeze(term.body))


def read_answers(
    run: Path, benchmark: str, problems: Sequence[str], step: int | None = None
) -> tuple[list[Counter[str]], list[str], list[int]]:
    """(answers, golds, samples) of a run for `marginal_chances`, in the order of `problems`.

    Correct samples count under the gold's key. Unscored rows and other problems are left out. Not for
    Countdown, whose problems have no gold text and whose answers are no answers to other problems.
    """
    columns = ["benchmark", "problem_id", "step", "status", "answer_class", "gold"]
    table = read_samples(run, columns)
    wanted = pc.and_(pc.equal(table["benchmark"], benchmark), pc.not_equal(table["status"], "unscored"))
    if step is not None:
        wanted = pc.and_(wanted, pc.equal(table["step"], step))
    rows = table.filter(wanted).group_by(columns[1:]).aggregate([([], "count_all")]).to_pylist()
    place = {problem: i for i, problem in enumerate(problems)}
    answers: list[Counter[str]] = [Counter() for _ in problems]
    golds, samples = [""] * len(problems), [0] * len(problems)
    for row in rows:
        if row["problem_id"] not in place:
            continue
        i = place[row["problem_id"]]
        samples[i] += row["count_all"]
        golds[i] = golds[i] or answer_key(row["gold"])
        key = golds[i] if row["status"] == "correct" else row["answer_class"]
        if key:
            answers[i][key] += row["count_all"]
    return answers, golds, samples
