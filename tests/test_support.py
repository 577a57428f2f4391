"""Saturation: hand-computed categories, brute-force splits, per-problem tests, and size by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.newly import fisher, newly_solved_and_lost, step_up
from prerl_eval.comparison.shares import difference_interval, share_interval, variance
from prerl_eval.comparison.splits import both_halves_solved
from prerl_eval.comparison.support import RATES, support_change
from prerl_eval.metrics import DOUBT, Z95
from tests.support_coverage import trials


def arm(name, correct, n):
    correct = np.atleast_2d(correct)
    ids = tuple("abcdefghijklmnopqrstuvwxyz"[: correct.shape[1]])
    return Arm(name, ids, correct, np.broadcast_to(n, correct.shape).copy())


# --- categories and rates ------------------------------------------------------------------------


def test_with_all_samples_the_figures_are_those_of_the_paper():
    # Six preserved, one expanded, two shrunk, one out of support.
    base = arm("base", [4, 4, 4, 4, 1, 1, 0, 1, 2, 0], 4)
    other = arm("other", [4, 4, 1, 1, 4, 2, 3, 0, 0, 0], 4)
    found = support_change(base, other).at_n
    assert (found.m, found.preserved, found.expanded, found.shrunk, found.out) == (4, 6, 1, 2, 1)
    assert found.retention.value == pytest.approx(6 / 8)
    assert found.discovery.value == pytest.approx(1 / 7)
    assert found.dynamic.value == pytest.approx(2 * (6 / 8) * (1 / 7) / (6 / 8 + 1 / 7))
    assert found.net.value == pytest.approx(-1 / 9)
    for rate in RATES:
        share = getattr(found, rate)
        assert share.low < share.value < share.high


def test_at_fewer_samples_chances_of_the_problems_are_multiplied():
    # n = 4, m = 2: c = 1 is solved in 2 samples with 1/2, c = 2 with 5/6.
    base, other = arm("base", [1, 2, 0], 4), arm("other", [2, 0, 2], 2)
    found = support_change(base, other).at_n
    assert found.m == 2
    assert found.preserved == pytest.approx(1 / 2)
    assert found.shrunk == pytest.approx(5 / 6)
    assert found.expanded == pytest.approx(1 / 2 + 1)
    assert found.out == pytest.approx(1 / 6)
    assert found.retention.value == pytest.approx((1 / 2) / (1 / 2 + 5 / 6))


def test_training_seeds_are_averaged():
    base, other = arm("base", [4, 4, 4, 0], 4), arm("other", [[4, 4, 0, 0], [4, 0, 0, 0]], 4)
    found = support_change(base, other).at_n
    assert (found.preserved, found.shrunk, found.expanded) == (1.5, 1.5, 0)
    assert found.retention.value == 0.5


def test_two_halves_equal_an_average_over_all_splits():
    n, m = 7, 3
    for correct in range(n + 1):
        solved = [i < correct for i in range(n)]
        splits = [
            (any(solved[i] for i in one), any(solved[i] for i in two))
            for one in itertools.combinations(range(n), m)
            for two in itertools.combinations(set(range(n)) - set(one), m)
        ]
        one, both = both_halves_solved(arm("base", [correct], n), m)
        assert one.item() == pytest.approx(np.mean([first for first, _ in splits]))
        assert both.item() == pytest.approx(np.mean([first and second for first, second in splits]))


def test_the_null_is_a_second_run_or_the_two_halves_of_the_base():
    base, other = arm("base", [8, 8, 1, 0], 8), arm("other", [8, 0, 0, 1], 8)
    halves = support_change(base, other)
    assert (halves.null_kind, halves.null.m, halves.matched.m, halves.at_n.m) == ("split half", 4, 4, 8)
    # One correct sample of 8 is in either half with 1/2, never in both.
    assert halves.null.retention.value == pytest.approx(2 / 2.5)
    assert halves.matched.retention.value == pytest.approx(1 / 2.5)
    assert halves.excess["retention"].value == pytest.approx(-1 / 2.5)
    run = support_change(base, other, arm("again", [8, 8, 0, 1], 8))
    assert (run.null_kind, run.null.m, run.matched) == ("run again", 8, run.at_n)
    assert run.null.retention.value == pytest.approx(2 / 3)
    assert run.excess["retention"].value == pytest.approx(1 / 3 - 2 / 3)


def test_where_nothing_is_solved_there_is_no_rate_and_no_claim():
    found = support_change(arm("base", [0, 0], 4), arm("other", [0, 0], 4))
    for rate in RATES:
        share = getattr(found.at_n, rate)
        assert math.isnan(share.value)
        assert (share.low, share.high) == ((-1, 1) if rate == "net" else (0, 1))
        assert math.isnan(found.excess[rate].p)
    alone = support_change(arm("base", [1, 0], 1), arm("other", [1, 1], 1))
    assert (alone.null_kind, alone.null, alone.excess) == ("", None, {})


def test_different_problems_are_a_defect():
    with pytest.raises(ValueError, match="different problems"):
        support_change(arm("base", [1], 2), arm("other", [1, 1], 2))


# --- intervals -----------------------------------------------------------------------------------


def test_a_share_of_counted_problems_has_the_jeffreys_interval():
    # 15 of 20, variance of one flip each; t(1e9) is the normal quantile.
    low, high = share_interval(0.75, 0.75 * 0.25 / 20, 1e9, 20)
    assert (low, high) == pytest.approx((stats.beta.ppf(0.025, 15.5, 5.5), stats.beta.ppf(0.975, 15.5, 5.5)))
    # All of 20, no variance seen: still one flip each.
    low, high = share_interval(1.0, 0.0, 19, 20)
    flips = 20 * (Z95 / stats.t.ppf(0.975, 19)) ** 2
    assert (low, high) == (pytest.approx(stats.beta.ppf(0.025, flips + 0.5, 0.5)), 1.0)
    assert DOUBT == 4  # half the variance of 15 flips: 20 (3.75 + .2) / (1.875 + .2) = 38.07 flips
    low, _ = share_interval(0.75, 0.75 * 0.25 / 40, 1e9, 20)
    assert low == pytest.approx(stats.beta.ppf(0.025, 28.554 + 0.5, 9.518 + 0.5), abs=1e-4)


def test_seeds_widen_an_interval_by_what_problems_and_samples_do_not_explain():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((5, 400))
    alone, freedom = variance(noise.mean(axis=0))
    assert alone == pytest.approx(noise.mean(axis=0).var(ddof=1) / 400)
    assert freedom == 399
    shifted = noise + np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    wider, freedom = variance(shifted.mean(axis=0), [shifted])
    # Seed means have variance 2.5, so their mean has 0.5, with 4 degrees of freedom.
    assert wider == pytest.approx(0.5, abs=0.1)
    assert 4 <= freedom < 4.2
    assert variance(np.ones(1))[1] == 0


def test_an_excess_is_a_t_interval_that_is_never_a_point():
    excess = difference_interval(-0.1, 0.0, 29, 10)
    # Error 1/20: t = -2 on 29 degrees of freedom.
    assert excess.p == pytest.approx(2 * stats.t.cdf(-2, 29))
    assert (excess.low, excess.high) == pytest.approx(
        (-0.1 - 0.05 * 2.04523, -0.1 + 0.05 * 2.04523), abs=1e-6
    )


# --- which problems ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_a", "n_b"), [(8, 8), (4, 12), (1, 3)])
def test_fisher_agrees_with_scipy_for_every_table(n_a, n_b):
    a, b = (x.ravel() for x in np.meshgrid(np.arange(n_a + 1), np.arange(n_b + 1)))
    p, least = fisher(a, np.full_like(a, n_a), b, np.full_like(b, n_b))
    expected = [stats.fisher_exact([[x, n_a - x], [y, n_b - y]]).pvalue for x, y in zip(a, b, strict=True)]
    assert p == pytest.approx(np.array(expected))
    for total in range(n_a + n_b + 1):
        assert least[a + b == total] == pytest.approx(p[a + b == total].min())


def test_fisher_takes_each_problem_with_its_own_samples():
    p, _ = fisher([0, 3], [4, 32], [4, 0], [4, 64])
    assert p == pytest.approx([2 / 70, stats.fisher_exact([[3, 29], [0, 64]]).pvalue])


def test_step_up_by_hand():
    # .01 * 4/1, .02 * 4/2, .03 * 4/3, .5: each no larger than those after it.
    assert step_up(np.array([0.5, 0.01, 0.03, 0.02])) == pytest.approx([0.5, 0.04, 0.04, 0.04])
    assert step_up(np.array([])).size == 0


def test_newly_solved_are_listed_and_those_that_are_not_luck_named():
    base = arm("base", [0, 0, 32, 1, 16, 0], 32)
    other = arm("other", [32, 1, 0, 0, 16, 0], 32)
    solved, lost = newly_solved_and_lost(base, other)
    assert (solved.ids, solved.survive) == (("a", "b"), ("a",))
    assert (lost.ids, lost.survive) == (("c", "d"), ("c",))
    # One correct of 64, or none, can never be called: three of six are tests.
    assert solved.tests == lost.tests == 3


def test_lucky_finds_do_not_survive_when_nothing_changed():
    rng = np.random.default_rng(1)
    named, surviving = 0, 0
    for _ in range(40):
        p = rng.beta(0.1, 1, 300)
        ids = tuple(f"{i:03d}" for i in range(300))
        base, other = (Arm(x, ids, rng.binomial(32, p)[None], np.full((1, 300), 32)) for x in "ab")
        for newly in newly_solved_and_lost(base, other):
            named += len(newly.ids)
            surviving += bool(newly.survive)
    assert named > 40 * 10
    # Of 80 lists at most 5% hold a false call; 10 would be chance of 1 in 100.
    assert surviving <= 10


# --- simulation, short form ----------------------------------------------------------------------


@pytest.mark.parametrize(("population", "change"), [("Beta(0.3, 0.7)", "none"), ("Beta(1, 4)", "sharpened")])
def test_intervals_of_retention_hold_the_truth(population, change):
    found = trials(population, change, problems=100, n=64, count=150)
    # 4 standard errors of 150 trials around 95%.
    assert 0.879 <= found["covered n"] <= 1.0
    assert 0.879 <= found["covered n/2"] <= 1.0
    if change == "none":
        assert max(found[f"called {rate} {null}"] for rate in RATES for null in ("run", "half")) <= 0.11
    else:
        assert found["called retention run"] > 0.2
