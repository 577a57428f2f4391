"""Diversity and token cost: hand-computed values, unbiasedness, and intervals that cover."""

from itertools import combinations

import numpy as np
import pytest

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.cost import token_cost
from prerl_eval.comparison.diversity import answer_classes, expected_distinct, has_solutions, read_solutions
from prerl_eval.comparison.paired import paired_means
from prerl_eval.tally import tally_run
from tests.runs import sample, write_run


def by_enumeration(classes, samples, k):
    """Distinct classes averaged over all k-subsets; samples without a class are -1."""
    drawn = [index for index, size in enumerate(classes) for _ in range(size)]
    drawn += [-1] * (samples - len(drawn))
    subsets = list(combinations(drawn, k))
    return sum(len(set(subset) - {-1}) for subset in subsets) / len(subsets)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 8])
def test_expected_distinct_answers_equal_enumeration(k):
    problems = [[3, 2, 1], [8], [], [1] * 8, [5, 2]]
    expected = [by_enumeration(classes, 8, k) for classes in problems]
    assert expected_distinct(problems, [8] * 5, k) == pytest.approx(expected, abs=1e-12)


def test_no_problems_and_too_large_a_k():
    assert expected_distinct([], [], 3).tolist() == []
    with pytest.raises(ValueError, match="k = 5 is not within 1 to n = 4"):
        expected_distinct([[1]], [4], 5)


def test_answers_and_solutions_are_counted_from_stored_rows(tmp_path):
    rows = [
        sample("1", 0, "correct", answer="3 + 4 + 5", grader="countdown/1"),
        sample("1", 1, "correct", answer="5 + 4 + 3", grader="countdown/1"),
        sample("1", 2, "correct", answer="4 * 3", grader="countdown/1"),
        sample("1", 3, "wrong", "1 + 2", answer="1 + 2", grader="countdown/1"),
        sample("2", 0, "unparsed", grader="countdown/1"),
        sample("9", 0, "correct", answer="8 + 1", grader="countdown/1"),
    ]
    run = write_run(tmp_path, rows)
    tally = tally_run(run)["aime24"]
    assert has_solutions(tally)
    assert answer_classes(tally) == [[3, 1], [], [1]]
    found = read_solutions(run, "aime24", ["1", "2"])
    assert found == {"1": {"3 + 4 + 5": 2, "3 * 4": 1}, "2": {}}


def test_math_answers_are_no_solutions(tmp_path):
    assert not has_solutions(tally_run(write_run(tmp_path, [sample("1", 0, "correct")]))["aime24"])


def arm(correct, samples):
    counts = np.asarray(correct)
    return Arm("a", tuple(map(str, range(counts.shape[1]))), counts, np.full(counts.shape, samples))


def test_token_cost_by_hand():
    base, other = arm([[1, 1]], 2), arm([[2, 2]], 2)
    cost = token_cost(base, np.array([[20, 40]]), other, np.array([[60, 60]]))
    assert (cost.tokens.base, cost.tokens.other, cost.tokens.difference) == (15, 30, 15)
    # 30 tokens for each of two correct at first, then 120 for four.
    assert (cost.per_correct_base, cost.per_correct_other) == (pytest.approx(30), pytest.approx(30))
    assert cost.ratio == pytest.approx(1)
    assert cost.ratio_low < 1 < cost.ratio_high


def test_nothing_correct_has_no_cost_per_answer():
    cost = token_cost(arm([[0, 0]], 2), np.array([[20, 40]]), arm([[2, 2]], 2), np.array([[60, 60]]))
    assert cost.per_correct_base is None
    assert cost.per_correct_other == pytest.approx(30)
    assert cost.ratio is None


def test_one_problem_has_a_difference_and_no_interval():
    means = paired_means(np.array([[1.0]]), np.array([[4.0]]))
    assert (means.difference, means.low, means.high) == (3.0, None, None)


@pytest.mark.parametrize("seeds", [1, 4])
def test_paired_intervals_cover(seeds):
    """Problems share their own mean; with several seeds each seed shifts all problems."""
    source = np.random.default_rng(seeds)
    hits, rounds = 0, 400
    for _ in range(rounds):
        problem = source.normal(0, 1, 40)
        shift = source.normal(0, 0.5, (seeds, 1)) if seeds > 1 else 0.0
        base = problem + source.normal(0, 1, (1, 40))
        other = problem + 0.3 + shift + source.normal(0, 1, (seeds, 40))
        means = paired_means(base, other)
        hits += means.low <= 0.3 <= means.high
    assert 0.92 <= hits / rounds <= 0.98


def test_cost_ratio_intervals_cover():
    source = np.random.default_rng(5)
    hits, rounds, samples = 0, 400, 16
    for _ in range(rounds):
        chance, length = source.beta(2, 3, (1, 60)), source.gamma(8, 10, (1, 60))
        # The same tokens at three quarters of the accuracy: 4/3 of the price.
        base = arm(source.binomial(samples, chance), samples)
        other = arm(source.binomial(samples, chance * 0.75), samples)
        spent = [source.poisson(length * samples), source.poisson(length * samples)]
        cost = token_cost(base, spent[0], other, spent[1])
        hits += cost.ratio_low <= 4 / 3 <= cost.ratio_high
    assert 0.92 <= hits / rounds <= 0.98
