"""Power against closed forms and simulation; the guessing floor by hand and from a stored run."""

import math

import numpy as np
import pytest
from scipy import stats

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.floor import (
    INTEGERS_BELOW_1000,
    answer_key,
    guessing_floor,
    marginal_chances,
    read_answers,
    uniform_chances,
)
from prerl_eval.comparison.power import (
    ASSUMED,
    Population,
    _pass_moments,
    chance_to_call,
    detectable,
    population_of,
)
from prerl_eval.errors import UserError
from tests.power_simulation import called
from tests.runs import sample, write_run


def arm(name, correct, n):
    correct = np.atleast_2d(correct)
    ids = tuple(f"{i:05d}" for i in range(correct.shape[1]))
    return Arm(name, ids, correct, np.full(correct.shape, n))


# --- power ---------------------------------------------------------------------------------------


def test_the_error_by_hand():
    # sd .35, mean .3: sampling (.21 - .1225) / 32 a side; problems 2 * .1225 * .05.
    found = detectable(30, 32, Population(0.3, 0.35, 0.95))
    assert found.from_problems == pytest.approx(0.01225 / 30)
    assert found.from_samples == pytest.approx(2 * 0.0875 / 32 / 30)
    assert found.error == pytest.approx(math.sqrt(found.from_problems + found.from_samples))
    assert found.freedom == pytest.approx(29)
    # (t(.975, 29) + about t(.8, 29)) errors.
    assert found.difference / found.error == pytest.approx(2.045 + 0.854, abs=0.01)


def test_aime_at_32_samples_detects_five_to_eight_points():
    assert 0.05 <= detectable(30, 32, ASSUMED).difference <= 0.08


def test_seeds_add_their_own_spread_and_average_samples():
    one, three = Population(0.3, 0.35, 1.0), Population(0.3, 0.35, 1.0, 0.03)
    assert detectable(30, 32, one, seeds=3).from_samples == pytest.approx(0.0875 / 32 * (1 / 3 + 1) / 30)
    found = detectable(30, 32, three, seeds=3)
    assert found.from_seeds == pytest.approx(0.03**2 / 3)
    rest = found.from_samples
    expected = (rest + 0.0003) ** 2 / (rest**2 / 29 + 0.0003**2 / 2)
    assert found.freedom == pytest.approx(expected)
    assert detectable(30, 32, three, seeds=10).difference < found.difference
    assert detectable(30, 32, three).from_seeds == 0


def test_power_of_the_t_test_against_the_normal_and_at_no_difference():
    assert chance_to_call(0.0, 7) == pytest.approx(0.05)
    assert chance_to_call(2.8016, 1e6) == pytest.approx(0.8, abs=1e-4)
    # One degree of freedom: |T| > 12.7 with 80% needs the chi of one below ratio / 12.7 with 80%.
    assert chance_to_call(12.706 * stats.chi.ppf(0.8, 1), 1) == pytest.approx(0.8, abs=0.01)


def test_moments_of_pass_at_k_by_simulation():
    rng = np.random.default_rng(0)
    p = rng.beta(2.0, 3.0, 400_000)
    correct = rng.binomial(8, p)
    score = 1 - np.array([math.comb(8 - c, 3) / math.comb(8, 3) for c in range(9)])[correct]
    mean, between, within = _pass_moments(Population(0.4, 0.2), 8, 3)
    true = 1 - (1 - p) ** 3
    assert mean == pytest.approx(true.mean(), abs=0.002)
    assert between == pytest.approx(true.var(), rel=0.01)
    assert within == pytest.approx(((score - true) ** 2).mean(), rel=0.01)


@pytest.mark.parametrize(
    ("problems", "n", "population"), [(30, 32, ASSUMED), (60, 8, Population(0.35, 0.25, 0.8))]
)
def test_a_difference_of_that_size_is_called_four_times_in_five(problems, n, population):
    size = detectable(problems, n, population).difference
    assert called(problems, n, 1, population, size, trials=400)[0] == pytest.approx(0.8, abs=0.08)
    assert called(problems, n, 1, population, 0.0, trials=400)[0] <= 0.08


def test_the_population_of_runs_is_found_without_the_noise_of_samples():
    rng = np.random.default_rng(0)
    p = rng.beta(1.0, 2.0, 20_000)
    q = np.where(rng.random(20_000) < 0.7, p, rng.beta(1.0, 2.0, 20_000))
    base, other = arm("base", rng.binomial(4, p), 4), arm("other", rng.binomial(4, q), 4)
    alone = population_of(base)
    assert alone.mean == pytest.approx(1 / 3, abs=0.01)
    assert alone.sd == pytest.approx(math.sqrt(1 / 18), abs=0.005)
    assert alone.correlation == ASSUMED.correlation
    assert population_of(base, other).correlation == pytest.approx(0.7, abs=0.02)
    shifts = np.array([-0.1, 0.0, 0.1])[:, None]
    seeds = arm("seeds", rng.binomial(4, np.clip(0.2 + 0.5 * p + shifts, 0, 1)), 4)
    assert population_of(base, seeds).seed_sd == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: detectable(1, 32), "1 problems show no spread"),
        (lambda: detectable(30, 0), "n = 0 is too small"),
        (lambda: detectable(30, 8, k=9), "k = 9 is more than the n = 8"),
        (lambda: detectable(30, 8, Population(1.0, 0.1)), "a mean of 1 leaves nothing"),
        (lambda: detectable(30, 8, Population(0.1, 0.3)), "a spread of 0.3 cannot be with a mean of 0.1"),
        (lambda: detectable(30, 8, Population(0.1, 0.1, 1.2)), "a correlation of 1.2 cannot be"),
        (lambda: population_of(arm("greedy", [0, 1, 1], 1)), "greedy has 3 problems of 1 samples"),
        (lambda: population_of(arm("weak", [0, 0, 0], 4)), "no sample of weak is correct"),
    ],
)
def test_what_cannot_be_planned_is_refused(ask, message):
    with pytest.raises(UserError, match=message):
        ask()


def test_alike_problems_are_a_population_too():
    found = detectable(100, 1, Population(0.5, 0.0, 0.0))
    assert found.error == pytest.approx(math.sqrt(0.5 / 100), rel=1e-3)
    assert found.reachable
    assert not detectable(3, 1, Population(0.9, 0.1, 0.0)).reachable


# --- the guessing floor --------------------------------------------------------------------------


def test_floor_of_multiple_choice_by_hand():
    # Four options and two: (1/4 + 1/2) / 2, then (7/16 + 3/4) / 2.
    assert guessing_floor(uniform_chances([4, 2]), 2) == pytest.approx([0.375, 0.59375])
    assert guessing_floor(uniform_chances([INTEGERS_BELOW_1000]), 1024)[-1] == pytest.approx(1 - 0.999**1024)
    with pytest.raises(ValueError, match="at least one possible answer"):
        uniform_chances([4, 0])


def test_floor_of_the_runs_own_answers_leaves_the_problem_out():
    # "2" is given 3 times among the 8 samples of the other two problems, "7" never.
    answers = [{"2": 4}, {"2": 2, "5": 1}, {"2": 1, "7": 3}]
    chances = marginal_chances(answers, ["2", "5", "7"], [4, 4, 4])
    assert chances.tolist() == [3 / 8, 0, 0]
    with pytest.raises(ValueError, match="at least two problems"):
        marginal_chances([{"2": 1}], ["2"], [1])


def test_answers_of_a_stored_run(tmp_path):
    rows = [
        sample("a", 0, "correct", "gold", gold=r"\frac{1}{2}"),
        sample("a", 1, "wrong", "3", gold=r"\frac{1}{2}"),
        sample("b", 0, "wrong", "1/2", gold="3"),
        sample("b", 1, "unparsed", gold="3"),
        sample("c", 0, "unscored", gold=""),
        sample("d", 0, "wrong", "3", gold="4", benchmark="amc23"),
    ]
    answers, golds, samples = read_answers(write_run(tmp_path / "run", rows), "aime24", ["a", "b"])
    assert golds == [answer_key("0.5"), "3"] == ["1/2", "3"]
    assert answers == [{"1/2": 1, "3": 1}, {"1/2": 1}]
    assert samples == [2, 2]
    assert marginal_chances(answers, golds, samples).tolist() == [0.5, 0.5]
