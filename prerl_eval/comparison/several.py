"""Several tests at once, and what too few seeds or problems do not allow to be said.

Covers Holm's correction and the words of caution beside a difference. Does not cover how seeds enter a
variance (shares.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prerl_eval.comparison.arms import Arm

SOME_SEEDS, ENOUGH_SEEDS = 3, 5
"""Below the first nothing is known of how seeds differ, below the second little."""

FEW_PROBLEMS = 60
"""Below it a change of one problem in twenty is missed by all P problems with a chance of over 5%."""


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for as many tests (Holm 1979), in the order given.

    The i-th smallest of m becomes the largest (m - j + 1) p_(j) over j <= i, at most 1: with p <= 0.05
    called, no test is called wrongly with a chance of 95%, however the tests depend on each other. NaN is
    no test: it stays and does not count.
    """
    values = np.asarray(ps, dtype=np.float64)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    stepped = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    adjusted = np.full_like(values, np.nan)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def caution(base: Arm, other: Arm) -> str:
    """What a difference of these two sides does not show, as clauses; "" where nothing is amiss."""
    clauses = [_seeds(arm) for arm in (base, other) if arm.seeds > 1 or arm is other]
    if other.problems < FEW_PROBLEMS:
        rare = max(other.problems // 3, 1)
        clauses.append(
            f"{other.problems} problems: a kind of problem rarer than 1 in {rare} may be missing among them, "
            "and a change on it outside the interval"
        )
    return "; ".join(clause for clause in clauses if clause)


def _seeds(arm: Arm) -> str:
    if arm.seeds >= ENOUGH_SEEDS:
        return ""
    some = "one training seed" if arm.seeds == 1 else f"{arm.seeds} training seeds"
    if arm.seeds >= SOME_SEEDS:
        return f"{some} of {arm.name} say little of how seeds differ: p and interval are rough"
    these = "this checkpoint" if arm.seeds == 1 else "these checkpoints"
    return f"{some} of {arm.name}: this is about {these}, not about the method"
