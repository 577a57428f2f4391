"""Differences of Pass@k curves and crossings, against hand-computed values and simulation."""

import math
from dataclasses import astuple, replace

import numpy as np
import pytest

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.curves import _cross, _Curves, _grid, crossover, pass_difference
from prerl_eval.errors import UserError
from prerl_eval.metrics import pass_at_k_table
from tests.comparison_coverage import curves, truth


def arm(name, correct, n):
    """An arm from correct counts, [P] or [S][P]."""
    counts = np.atleast_2d(correct)
    return Arm(name, tuple(f"p{i}" for i in range(counts.shape[1])), counts, np.full(counts.shape, n))


def crossing_pair(problems=200):
    """The base solves all now and then, the other three of four always and the fourth never."""
    base = arm("base", [4] * problems, 16)
    return base, arm("other", ([16, 16, 16, 0] * problems)[:problems], 16)


def test_the_difference_of_curves_by_hand():
    # n = 4. Base 1, 1: 1/4, 1/2, 3/4, 1. Other 2, 0: 1 - C(2,k)/C(4,k) = 1/2, 5/6, 1, 1, and 0.
    found = pass_difference(arm("base", [1, 1], 4), arm("other", [2, 0], 4))
    assert found.k.tolist() == [1, 2, 3, 4]
    assert found.value == pytest.approx([0.0, 5 / 12 - 1 / 2, 1 / 2 - 3 / 4, 1 / 2 - 1])
    assert found.uncertain.tolist() == [False, True, True, True]


def test_seeds_are_averaged_and_the_smallest_n_ends_the_curve():
    other = Arm("other", ("p0", "p1"), np.array([[2, 0], [0, 4]]), np.array([[4, 4], [4, 8]]))
    found = pass_difference(arm("base", [1, 1], 4), other)
    # c = 4 of 8: 1 - C(4,k)/C(8,k) = 1/2, 11/14, 13/14, 69/70.
    first, second = np.array([1 / 2, 5 / 6, 1, 1]), np.array([1 / 2, 11 / 14, 13 / 14, 69 / 70])
    assert found.value == pytest.approx((first + second) / 4 - [0.25, 0.5, 0.75, 1])


def test_max_k_shortens_the_curve_and_k_above_n_is_refused():
    base, other = arm("base", [1, 4, 0], 8), arm("other", [2, 8, 1], 8)
    short = pass_difference(base, other, 2)
    assert short.k.tolist() == [1, 2]
    assert short.uncertain.tolist() == [False, False]
    assert short.value == pytest.approx(pass_difference(base, other).value[:2])
    with pytest.raises(UserError, match=r"k = 9 is more than the n = 8"):
        pass_difference(base, other, 9)
    with pytest.raises(ValueError, match="different problems"):
        pass_difference(base, arm("other", [2, 8], 8))


def test_the_band_is_wider_than_each_interval_and_never_a_point():
    rng = np.random.default_rng(0)
    base, other = (arm(name, rng.integers(0, 17, 50), 16) for name in "ab")
    found = pass_difference(base, other)
    assert (found.low <= found.point_low).all()
    assert (found.high >= found.point_high).all()
    assert (found.point_low < found.value).all()
    same = pass_difference(base, replace(base, name="again"))
    assert (same.value == 0).all()
    assert (same.low < 0).all()
    assert (same.high > 0).all()


def test_one_problem_has_no_interval():
    found = pass_difference(arm("base", [1], 4), arm("other", [3], 4))
    assert all(np.isnan(ends).all() for ends in (found.low, found.high, found.point_low, found.point_high))
    crossing = crossover(arm("base", [1], 4), arm("other", [3], 4))
    assert not crossing.claimed
    assert math.isnan(crossing.p_none)


def test_error_curves_have_the_variance_of_problems_and_seeds():
    rng = np.random.default_rng(0)
    chances = rng.beta(0.5, 0.5, 40)
    base = arm("base", rng.binomial(32, chances), 32)
    shifts = np.array([[0.6], [0.9], [1.3]])
    made = _Curves.of(base, arm("other", rng.binomial(32, chances**shifts), 32), None)
    errors, places = made.errors
    assert errors.std(axis=0) == pytest.approx(np.sqrt(made.var[places]), rel=0.05)
    # Neighbours move together as the problems' own curves do.
    assert np.corrcoef(errors[:, 0], errors[:, 1])[0, 1] > 0.9


def test_a_curve_of_one_k_has_its_pointwise_interval_as_band():
    rng = np.random.default_rng(0)
    found = pass_difference(*(arm(name, rng.integers(0, 2, 50), 1) for name in "ab"))
    assert found.low == pytest.approx(found.point_low, abs=0.01)


def test_the_grid_starts_with_every_k_and_ends_with_the_last():
    places = _grid(1024) + 1
    assert places[:12].tolist() == list(range(1, 13))
    assert places[-1] == 1024
    assert (np.diff(places) <= 0.09 * places[1:] + 1).all()
    assert _grid(1).tolist() == [0]


# --- Crossings -----------------------------------------------------------------------------------


def test_a_plain_crossing_is_found_where_the_curves_cross():
    base, other = crossing_pair()
    found = crossover(base, other)
    # The base's Pass@k passes 3/4 between these two k; the other's stays there.
    curve = pass_at_k_table([4], [16])[0]
    assert found.k == int(np.argmax(curve > 0.75)) + 1
    assert found.claimed
    assert found.low <= found.k <= found.high
    assert found.p_none < 0.001
    back = crossover(other, base)
    assert (back.k, back.low, back.high) == (found.k, found.low, found.high)


def test_fewer_problems_leave_the_crossing_less_certain():
    many, few = (crossover(*crossing_pair(problems)) for problems in (400, 40))
    assert few.high - few.low > many.high - many.low
    assert not crossover(*crossing_pair(4)).claimed


def test_one_curve_above_the_other_is_no_crossing():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, 100)
    found = crossover(arm("base", counts, 16), arm("other", counts + 4, 16))
    assert (found.k, found.low, found.high, found.claimed, found.note) == (None, None, None, False, "")
    assert found.p_none > 0.99


def test_saturated_curves_do_not_cross_by_a_hair():
    # At large k both are nearly 1 and differ by less than a tenth of a point.
    found = crossover(arm("base", [60] * 50, 64), arm("other", [63] * 49 + [48], 64))
    assert found.k is None
    assert found.p_none > 0.95


def test_a_crossing_within_luck_is_shown_and_not_claimed():
    found = crossover(arm("base", [4] * 8, 16), arm("other", [16, 0] * 4, 16))
    assert found.k is not None
    assert (found.low, found.high, found.claimed) == (None, None, False)
    assert "not by more than luck" in found.note


def test_the_same_counts_give_the_same_answer():
    assert crossover(*crossing_pair(60)) == crossover(*crossing_pair(60))
    one, two = (astuple(pass_difference(*crossing_pair(60))) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_the_interval_of_a_crossing_by_hand():
    """Signs of the band +, +, 0, 0, 0, -: the pointwise intervals narrow it to k = 4 and 5."""
    value = np.array([0.4, 0.3, 0.1, -0.05, -0.2, -0.4])
    point, band = np.array([0.09, 0.09, 0.09, 0.09, 0.15, 0.15]), np.array([0.2, 0.2, 0.2, 0.2, 0.25, 0.25])
    made = pass_difference(arm("base", [1, 2], 6), arm("other", [2, 1], 6))
    curve = replace(
        made,
        value=value,
        low=value - band,
        high=value + band,
        point_low=value - point,
        point_high=value + point,
    )
    found = _cross(curve, 0.01)
    assert (found.k, found.low, found.high, found.claimed) == (4, 4, 5, True)
    assert found.note == "the later side is seen at k > n/4 only"
    mirrored = replace(
        curve,
        value=-value,
        low=-curve.high,
        high=-curve.low,
        point_low=-curve.point_high,
        point_high=-curve.point_low,
    )
    assert _cross(mirrored, 0.01) == found


# --- Simulation; the full form is python -m tests.comparison_coverage -----------------------------


def test_two_runs_of_one_model_seldom_differ_and_never_cross():
    seen = curves("contest, Beta(0.3, 0.7)", "none", 60, 16, 150, np.zeros(16))
    # 5% of 150 is known to +-1.8 points.
    assert seen["p"] <= 0.11
    assert seen["band"] <= 0.11
    assert seen["claimed"] <= 0.03
    assert seen["inside"] >= 0.89


def test_a_true_crossing_is_claimed_within_its_interval():
    population = "middling, Beta(2, 2)"
    true = truth(population, "sharpened", 16, problems=200_000)
    seen = curves(population, "sharpened", 200, 16, 60, true)
    assert seen["claimed"] >= 0.75
    assert seen["k"] >= 0.88
    assert seen["inside"] >= 0.85
