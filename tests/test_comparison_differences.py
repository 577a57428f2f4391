"""Differences of Avg@n, Holm's correction and words of caution: hand-computed values and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.differences import DOUBT, difference_ends, mean_difference, t_test
from prerl_eval.comparison.several import caution, holm
from prerl_eval.comparison.shares import seeds_part, variances
from tests.comparison_coverage import coverage, seeds_coverage, truth


def arm(name, correct, n):
    """An arm from correct counts, [P] or [S][P]."""
    counts = np.atleast_2d(correct)
    return Arm(name, tuple(f"p{i}" for i in range(counts.shape[1])), counts, np.full(counts.shape, n))


# --- One seed ------------------------------------------------------------------------------------


def test_difference_and_p_value_by_hand():
    # Gains 0.1, 0.2, 0.3, 0.4, 0: mean 0.2, sd^2 = 0.1 / 4, se = sqrt(0.025 / 5) = 0.070711, t = 2.8284.
    found = mean_difference(arm("base", [1, 1, 1, 1, 1], 10), arm("other", [2, 3, 4, 5, 1], 10))
    assert found.value == pytest.approx(0.2)
    # 2 (1 - F(2.8284)) with 4 degrees of freedom is 0.04742; four problems differ: 2^-3 = 0.125 is larger.
    assert found.p == pytest.approx(0.125)
    gains = np.array([0.1, 0.2, 0.3, 0.4, 0.0, 0.1, 0.2, -0.1])
    assert t_test(gains, *map(float, variances(gains))) == pytest.approx(
        stats.ttest_1samp(gains, 0.0).pvalue, rel=1e-12
    )


def test_a_handful_of_problems_is_never_significant():
    # Equal gains have no spread, so the t test alone would say p = 0.
    for differing, p in ((1, 1.0), (2, 0.5), (5, 0.0625)):
        found = mean_difference(
            arm("base", [0] * 5, 4), arm("other", [2] * differing + [0] * (5 - differing), 4)
        )
        assert found.p >= p
    assert mean_difference(arm("base", [0] * 5, 4), arm("other", [2] * 5, 4)).p == 0.0625


def test_the_interval_for_one_sample_each_by_hand():
    """With n = 1 gains and losses are counts: 6 of 40 problems gained, 2 lost."""
    base, other = [0] * 6 + [1] * 2 + [0] * 20 + [1] * 12, [1] * 6 + [0] * 2 + [0] * 20 + [1] * 12
    found = mean_difference(arm("base", base, 1), arm("other", other, 1))

    def jeffreys(share, q):
        seen = 40 * share * (1 - share) * 40 / 39
        flips = 40 * (40 * share * (1 - share) + DOUBT / 40) / (seen + DOUBT / 40)
        flips *= (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 39)) ** 2
        return stats.beta.ppf(q, flips * share + 0.5, flips * (1 - share) + 0.5)

    gained, lost = 6 / 40, 2 / 40
    tie = -gained * lost / math.sqrt(gained * (1 - gained) * lost * (1 - lost))
    down, up = gained - jeffreys(gained, 0.025), jeffreys(lost, 0.975) - lost
    low = 0.1 - math.sqrt(down**2 + up**2 - 2 * tie * down * up)
    down, up = jeffreys(gained, 0.975) - gained, lost - jeffreys(lost, 0.025)
    high = 0.1 + math.sqrt(down**2 + up**2 - 2 * tie * down * up)
    gains = np.array([1.0] * 6 + [-1.0] * 2 + [0.0] * 32)
    reach = stats.t.ppf(0.975, 39) * gains.std(ddof=1) / math.sqrt(40)
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(min(low, 0.1 - reach), abs=1e-12)
    assert found.high == pytest.approx(max(high, 0.1 + reach), abs=1e-12)
    assert low < 0.1 - reach or high > 0.1 + reach, "else this says nothing of the second interval"


def test_two_equal_runs_do_not_differ_and_leave_doubt():
    run = arm("base", [0, 3, 8, 8] * 10, 8)
    found = mean_difference(run, replace(run, name="other"))
    assert (found.value, found.p) == (0.0, 1.0)
    # No problem of 40 changed: Jeffreys' upper end for 0 of 40 flips, fewer for the t quantile.
    flips = 40 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 39)) ** 2
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 0.5, flips + 0.5), rel=1e-9)
    assert found.low == pytest.approx(-found.high)


def test_changing_sides_changes_the_sign_only():
    rng = np.random.default_rng(0)
    one, two = (arm(name, rng.integers(0, 9, (3, 25)), 8) for name in "ab")
    there, back = mean_difference(one, two), mean_difference(two, one)
    assert (there.value, there.low, there.high, there.p) == pytest.approx(
        (-back.value, -back.high, -back.low, back.p)
    )


def test_the_interval_stays_within_what_is_possible_and_one_problem_says_nothing():
    found = mean_difference(arm("base", [0, 0, 0], 4), arm("other", [4, 4, 3], 4))
    assert -1 <= found.low <= found.value <= found.high == 1.0
    alone = mean_difference(arm("base", [1], 4), arm("other", [3], 4))
    assert alone.value == 0.5
    assert all(map(math.isnan, (alone.low, alone.high, alone.p)))


def test_different_problems_are_a_defect():
    with pytest.raises(ValueError, match="base and other have different problems"):
        mean_difference(arm("base", [1, 2], 4), arm("other", [1, 2, 3], 4))


# --- Seeds ---------------------------------------------------------------------------------------


def test_what_seeds_add_by_hand():
    z = np.array([[0.1, 0.2, 0.3], [0.3, 0.4, 0.8]])
    # Seed means 0.2, 0.5: variance 0.045, /2 = 0.0225. Problem means 0.2, 0.3, 0.55, overall 0.35.
    # Residual of seed 1: 0.1 - 0.2 - 0.2 + 0.35 = 0.05, 0.05, -0.1; seed 2 the opposite.
    # Interaction: 2 (0.05^2 + 0.05^2 + 0.1^2) = 0.03 over 1 * 2 degrees = 0.015, / (2 * 3) = 0.0025.
    part, loss = seeds_part(z)
    assert part == pytest.approx(0.0225 - 0.0025)
    assert loss == pytest.approx(0.0225**2 / 1 + 0.0025**2 / 2)
    # Problems: variance of 0.2, 0.3, 0.55 is 0.0325, / 3.
    total, freedom = variances(z.mean(axis=0), [z])
    assert total == pytest.approx(0.0325 / 3 + 0.02)
    assert freedom == pytest.approx(total**2 / ((0.0325 / 3) ** 2 / 2 + loss))


def test_seeds_that_differ_widen_the_interval_and_their_order_does_not_matter():
    rng = np.random.default_rng(1)
    chances = rng.beta(1, 1, 60)
    base = arm("base", rng.binomial(16, chances), 16)
    alike = rng.binomial(16, np.tile(chances, (4, 1)))
    apart = np.clip(alike + np.array([[-3], [-1], [1], [3]]), 0, 16)
    calm, wild = (mean_difference(base, arm("other", counts, 16)) for counts in (alike, apart))
    assert wild.high - wild.low > 3 * (calm.high - calm.low)
    shuffled = mean_difference(base, arm("other", apart[[2, 0, 3, 1]], 16))
    assert (shuffled.low, shuffled.p) == pytest.approx((wild.low, wild.p))
    assert (wild.seeds_base, wild.seeds_other) == (1, 4)


@pytest.mark.parametrize(
    ("base", "other", "said"),
    [
        (1, 1, "one training seed of o: this is about this checkpoint, not about the method"),
        (1, 2, "2 training seeds of o: this is about these checkpoints, not about the method"),
        (1, 3, "3 training seeds of o say little of how seeds differ: p and interval are rough"),
        (1, 8, ""),
        (2, 8, "2 training seeds of b: this is about these checkpoints, not about the method"),
    ],
)
def test_too_few_seeds_are_named(base, other, said):
    counts = np.full((8, 100), 3)
    assert caution(arm("b", counts[:base], 8), arm("o", counts[:other], 8)) == said


def test_few_problems_are_named():
    note = caution(arm("b", [1] * 30, 8), arm("o", [[1] * 30] * 8, 8))
    assert note.startswith("30 problems: a kind of problem rarer than 1 in 10 may be missing")


# --- Several tests -------------------------------------------------------------------------------


def test_holm_by_hand():
    # Sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 = 0.02, 0.03, 0.06, 0.04 -> at least the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_does_not_count_what_was_not_tested():
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[0::2] == pytest.approx([0.02, 0.02])
    assert math.isnan(adjusted[1])


# --- Simulation; the full form is python -m tests.comparison_coverage -----------------------------


@pytest.mark.parametrize(
    ("population", "change"), [("contest, Beta(0.3, 0.7)", "sharpened"), ("hard, Beta(0.1, 1)", "rare")]
)
def test_intervals_hold_the_truth(population, change):
    true = truth(population, change, 16, problems=200_000)
    shares = coverage(population, change, 200, 64, (1, 16), 500, true)
    # 95% of 500 is known to +-1 point; the full form has 94 to 96 here.
    assert all(0.915 <= share <= 0.98 for share in shares), shares


def test_two_seeds_of_one_method_are_told_apart_no_more_often_than_stated():
    size, held, _ = seeds_coverage("contest, Beta(0.3, 0.7)", 100, 32, (8, 8), 0.4, 400)
    assert 0.015 <= size <= 0.085
    assert 0.92 <= held <= 0.985


def test_more_levels_of_confidence_nest():
    gains = np.random.default_rng(3).normal(0.05, 0.2, (40, 3))
    wide, narrow = (difference_ends(gains, *variances(gains), level) for level in (0.01, 0.05))
    assert (wide[0] < narrow[0]).all()
    assert (wide[1] > narrow[1]).all()
