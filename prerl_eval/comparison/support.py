"""Saturation: which problems a trained model keeps, finds and loses, against what luck does alone.

Covers the categories and rates of The Invisible Leash (arXiv 2507.14843, definition 3.3), counted over
problems: a problem is in a model's support at m where m of its samples hold a correct one. A model that
did not change also loses and finds problems; the null says how many. Does not cover which problems
(newly.py), rare problems (rare.py) or traces. Estimand and coverage: docs/compare-statistics.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prerl_eval.comparison.arms import Arm, paired
from prerl_eval.comparison.newly import Newly, newly_solved_and_lost
from prerl_eval.comparison.shares import Excess, Share, difference_interval, share_interval, variance
from prerl_eval.comparison.splits import both_halves_solved, solved_in
from prerl_eval.metrics import Floats

RATES = ("retention", "discovery", "dynamic", "net")


@dataclass(frozen=True)
class Support:
    """What became of the base's support at m samples of each model.

    preserved, expanded, shrunk, out: expected numbers of problems that both, only the other, only the
    base, neither solve in m samples; they add up to the problems. With P, E, S for the first three:
    retention (SRR) P / (P + S); discovery (NDR) E / (P + E); dynamic (SDS) their harmonic mean;
    net (NSCR) (E - S) / (P + E + S), in [-1, 1].
    """

    m: int
    preserved: float
    expanded: float
    shrunk: float
    out: float
    retention: Share
    discovery: Share
    dynamic: Share
    net: Share


@dataclass(frozen=True)
class SupportChange:
    """Support of `other` against that of the base.

    at_n: with all samples, m the smaller n of the two: the figures as the paper counts them.
    matched, null: `other`, and an unchanged model, at the same m; null_kind says what the unchanged
    model is: "run NAME", "split half" (of the base; m is n/2), or "" where neither is there. excess: of
    matched over null, keyed by RATES, empty without a null. newly_solved, newly_lost: which problems.
    """

    base: str
    other: str
    at_n: Support
    matched: Support | None
    null: Support | None
    null_kind: str
    excess: dict[str, Excess]
    newly_solved: Newly
    newly_lost: Newly


def support_change(base: Arm, other: Arm, null: Arm | None = None) -> SupportChange:
    """Support of `other` against the base's, with the null of a second run of the base.

    Without a null run, two halves of the base's samples stand for two runs of n/2, averaged over all
    ways to split; `other` is then taken at n/2, too. Raises ValueError unless all have the same problems.
    """
    paired(base, other)
    at_n = _Change.of(base, other, min(base.n, other.n))
    solved, lost = newly_solved_and_lost(base, other)
    change = SupportChange(base.name, other.name, at_n.support(), None, None, "", {}, solved, lost)
    if null is not None:
        paired(base, null)
        m = min(base.n, other.n, null.n)
        matched, unchanged, kind = _Change.of(base, other, m), _Change.of(base, null, m), f"run {null.name}"
    elif base.n >= 2:
        m = min(base.n // 2, other.n)
        matched, unchanged, kind = _Change.of(base, other, m), _Change.of_halves(base, m), "split half"
    else:
        return change
    return replace(
        change,
        matched=matched.support(),
        null=unchanged.support(),
        null_kind=kind,
        excess={rate: _excess(rate, matched, unchanged) for rate in RATES},
    )


@dataclass(frozen=True)
class _Change:
    """Categories of each problem: float[..., P, 3], chances of preserved, expanded and shrunk.

    mean: [P, 3], over all seeds. by_base, by_other: [S, P, 3], for each seed of one side with the
    average of the other's.
    """

    m: int
    mean: Floats
    by_base: Floats
    by_other: Floats

    @classmethod
    def of(cls, base: Arm, other: Arm, m: int) -> _Change:
        a, b = solved_in(base, m), solved_in(other, m)
        by_base = _categories(a, a * b.mean(axis=0), b.mean(axis=0))
        by_other = _categories(a.mean(axis=0), a.mean(axis=0) * b, b)
        return cls(m, by_base.mean(axis=0), by_base, by_other)

    @classmethod
    def of_halves(cls, base: Arm, m: int) -> _Change:
        one, both = both_halves_solved(base, m)
        by_base = _categories(one, both, one)
        return cls(m, by_base.mean(axis=0), by_base, by_base[:0])

    def rate(self, name: str) -> tuple[float, float, Floats]:
        """(value, problems it is over, gradient float[3] in the sums P, E, S); NaN over nothing."""
        kept, found, gone = self.mean.sum(axis=0).tolist()
        before, after, either = kept + gone, kept + found, kept + found + gone
        over = {"retention": before, "discovery": after, "dynamic": min(before, after) / 2, "net": either}[
            name
        ]
        if name == "dynamic":
            over = over if kept + found * gone > 0 else 0.0
        if not over > 0:
            return float("nan"), 0.0, np.zeros(3)
        if name == "retention":
            return kept / before, over, np.array([gone, 0.0, -kept]) / before**2
        if name == "discovery":
            return found / after, over, np.array([-found, kept, 0.0]) / after**2
        if name == "net":
            value = (found - gone) / either
            return value, over, (np.array([0.0, 1.0, -1.0]) - value) / either
        # Definition 3.3: 2 PE / (P^2 + 2 PE + ES).
        below = kept**2 + 2 * kept * found + found * gone
        value = 2 * kept * found / below
        above = np.array([2 * found, 2 * kept, 0.0])
        return value, over, (above - value * np.array([2 * kept + 2 * found, 2 * kept + gone, found])) / below

    def influences(self, name: str) -> tuple[Floats, list[Floats]]:
        """Influences on a rate: of each problem float[P], and under each seed of either side [S, P]."""
        gradient = self.rate(name)[2] * len(self.mean)
        return self.mean @ gradient, [self.by_base @ gradient, self.by_other @ gradient]

    def share(self, name: str) -> Share:
        value, over, _ = self.rate(name)
        var, freedom = variance(*self.influences(name))
        if name == "net":
            low, high = share_interval((1.0 + value) / 2.0, var / 4.0, freedom, over)
            return Share(value, 2.0 * low - 1.0, 2.0 * high - 1.0)
        return Share(value, *share_interval(value, var, freedom, over))

    def support(self) -> Support:
        kept, found, gone = self.mean.sum(axis=0).tolist()
        out = len(self.mean) - kept - found - gone
        return Support(self.m, kept, found, gone, out, *(self.share(name) for name in RATES))


def _categories(a: Floats, both: Floats, b: Floats) -> Floats:
    return np.stack(np.broadcast_arrays(both, b - both, a - both), axis=-1)


def _excess(name: str, matched: _Change, unchanged: _Change) -> Excess:
    value, over, _ = matched.rate(name)
    expected, over_null, _ = unchanged.rate(name)
    mean_z, (base_z, other_z) = matched.influences(name)
    mean_null, (base_null, null_z) = unchanged.influences(name)
    var, freedom = variance(mean_z - mean_null, [base_z - base_null, other_z, null_z])
    return difference_interval(value - expected, var, freedom, min(over, over_null))
