"""Grading against the number of completions: new ones, of which no two are alike, and repeats.

New numbers are settled by exact rules; new answers of every kind of tests/speed/grading.py need computer
algebra for a part of them, in workers whose start is in the figures; repeats are drawn from 100 pairs that
were graded before. Half of the new answers are right, none hangs. CPU seconds of this process and of its
workers. The peer, sequential math-verify, grades the same, up to the size that takes it a few seconds.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence

import psutil

from prerl_eval.grading import GradingPool
from prerl_eval.problems import Problem
from tests.speed.grading import KINDS, fresh_answer, sequential
from tests.speed.rows import Line, Measured, script

SIZES = (100, 1_000, 10_000, 100_000)
"""Of numbers and repeats. Answers of every kind stop at 10,000: ten times as many take minutes."""
PEER = "sequential math-verify"
PEER_UP_TO = 1_000
KNOWN = 100

Pairs = Sequence[tuple[str, str]]
"""(gold, answer)"""


def new_pairs(count: int, kinds: Sequence[tuple[str, float]] = KINDS) -> list[tuple[str, str]]:
    """Pairs of which no two are alike."""
    source = random.Random(0)
    names, weights = zip(*kinds, strict=True)
    pairs: dict[tuple[str, str], None] = {}
    while len(pairs) < count:
        kind = source.choices(names, weights)[0]
        gold, same = fresh_answer(kind, source)
        pairs[gold, same if source.random() < 0.5 else fresh_answer(kind, source)[0]] = None
    return list(pairs)


def grade(pool: GradingPool, pairs: Pairs) -> float:
    """CPU seconds of grading them."""
    items = [
        (Problem("set", "0", "", gold, "math"), rf"\boxed{{{answer}}}", "stop", False)
        for gold, answer in pairs
    ]
    start = cpu_seconds()
    pool.grade(items)
    return cpu_seconds() - start


def cpu_seconds() -> float:
    """Of this process and all its children, those that ended included."""
    process = psutil.Process()
    ended = process.cpu_times()
    children = sum(sum(child.cpu_times()[:4]) for child in process.children(recursive=True))
    return time.process_time() + ended.children_user + ended.children_system + children


def grade_new(pairs: Pairs) -> tuple[float, float | None]:
    """CPU seconds of a new pool and of math-verify, None where there are too many for it."""
    with GradingPool() as pool:
        own = grade(pool, pairs)
    if len(pairs) > PEER_UP_TO:
        return own, None
    start = time.process_time()
    sequential(list(pairs))
    return own, time.process_time() - start


def grade_repeats(sizes: Sequence[int]) -> list[float]:
    """CPU seconds by size, in one pool that knows every pair."""
    source = random.Random(1)
    known = new_pairs(KNOWN)
    with GradingPool() as pool:
        grade(pool, known)
        return [grade(pool, source.choices(known, k=size)) for size in sizes]


def measure(quick: bool = False) -> Measured:
    """Three lines: new numbers, new answers of every kind, repeats."""
    logging.disable(logging.WARNING)
    sizes = SIZES[:2] if quick else SIZES
    numbers = [grade_new(new_pairs(size, [("integer", 1.0)])) for size in sizes]
    every = [grade_new(new_pairs(size)) for size in sizes[:3]]
    unit, of = "CPU s", "completions"
    return Measured(
        lines=[
            Line("grading new numbers", unit, of, sizes, *zip_sides(numbers)),
            Line("grading new answers of every kind", unit, of, sizes[:3], *zip_sides(every)),
            Line("grading repeats", unit, of, sizes, grade_repeats(sizes)),
        ]
    )


def zip_sides(found: Sequence[tuple[float, float | None]]) -> tuple[list[float], str, list[float | None]]:
    """Own figures, the peer's name and figures."""
    return [own for own, _ in found], PEER, [peer for _, peer in found]


if __name__ == "__main__":
    script(measure)
