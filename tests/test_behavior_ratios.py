"""Rates and ratios against values worked out by hand or by another way of computing them."""

import math

import numpy as np
import pytest
from scipy.stats import gamma, poisson
from scipy.stats import t as student

from behavior.cells import Cells, Problems
from behavior.rates import count_rate, label_rates, share
from behavior.ratios import compare, compare_matched
from prerl_eval.metrics import Z95, interval
from tests.rate_coverage import coverage

LENGTHS = (60, 600)


def arm(rows, problems):
    """A table of one label "a". rows: (problem, characters, end, tokens, count)."""
    cells = Cells(["a"], problems)
    for problem, characters, end, tokens, count in rows:
        values = dict.fromkeys(cells.columns, 0.0)
        values |= {"responses": 1, "tokens": tokens, "thoughts": 4}
        values |= {"count/a": count, "present/a": count > 0, "labelled_thoughts/a": min(count, 4)}
        cells.add(0, problem, characters, end, list(values.values()))
    return cells.table()


def plain(counts, problems, tokens=100):
    """A response of equal length per count. counts: problem -> counts."""
    return arm(
        [(name, 60, "finished", tokens, count) for name, some in counts.items() for count in some], problems
    )


# --- rates ---------------------------------------------------------------------------------------


def test_rates_are_totals_over_totals():
    rates = label_rates(
        arm(
            [("1", 60, "finished", 50, 3), ("1", 60, "finished", 150, 0), ("2", 60, "clipped", 300, 6)],
            Problems(),
        ),
        ["a"],
        "tokens",
    )["a"]
    assert rates.per_response.value == pytest.approx(9 / 3)
    assert rates.per_1k_tokens.value == pytest.approx(9 / 0.5)
    assert rates.presence.value == pytest.approx(2 / 3)
    assert rates.share_of_thoughts.value == pytest.approx((3 + 4) / 12)


def test_the_interval_of_a_poisson_count_is_the_exact_one():
    # 50 problems, 50 events, as far apart as Poisson counts are: Σ (c - 1)² · P / (P - 1) = 50.
    count = np.ones(50)
    spread = math.sqrt(49 / 2)
    count[0], count[1] = 1 + spread, 1 - spread
    rate = count_rate(count, np.ones(50), np.ones(50))
    events = 50 * (Z95 / student.ppf(0.975, 49)) ** 2
    assert rate.low == pytest.approx(gamma.ppf(0.025, events) / events)
    assert rate.high == pytest.approx(gamma.ppf(0.975, events + 1) / events)
    # and with the normal quantile it would be the classical interval of 50 events
    assert poisson.sf(49, gamma.ppf(0.025, 50)) == pytest.approx(0.025)
    assert poisson.cdf(50, gamma.ppf(0.975, 51)) == pytest.approx(0.025)


def test_events_of_one_problem_are_one_event():
    """However many there are: the variance between problems says that the rate rests on one problem."""
    count = np.zeros(40)
    count[7] = 100
    rate = count_rate(count, np.full(40, 5.0), np.full(40, 5.0))
    assert rate.value == pytest.approx(0.5)
    # V = 40/39 · (97.5² + 39 · 2.5²) = 100², so k = 1 times the correction of t
    k = (Z95 / student.ppf(0.975, 39)) ** 2
    assert rate.low == pytest.approx(0.5 * gamma.ppf(0.025, k) / k)
    assert rate.low < 0.05 * rate.value


def test_no_event_is_bounded_as_no_event_among_the_problems():
    rate = count_rate(np.zeros(30), np.full(30, 2.0), np.full(30, 8.0))
    upper = -math.log(0.025) * (student.ppf(0.975, 29) / Z95) ** 2 / 30
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(upper * 8 / 2)


def test_problems_that_agree_still_have_an_interval():
    rate = count_rate(np.full(30, 2.0), np.ones(30), np.ones(30))
    assert rate.low < 2 < rate.high
    assert rate.high - rate.low < 0.5


def test_nothing_to_divide_by_and_one_problem_are_unknown():
    none = np.zeros(3)
    assert count_rate(none, none, none).value is None
    assert share(none, none).value is None
    one = count_rate(np.ones(1), np.ones(1), np.ones(1))
    assert (one.value, one.low, one.high) == (1.0, None, None)


def test_shares_of_equal_problems_have_the_interval_of_avg():
    values = np.array([0, 0.25, 0.5, 1, 1, 0.75])
    rate = share(4 * values, np.full(6, 4.0))
    low, high = interval(values)
    assert (rate.value, rate.low, rate.high) == pytest.approx((values.mean(), float(low), float(high)))


# --- ratios --------------------------------------------------------------------------------------


def test_ratios_are_of_means_over_common_problems():
    problems = Problems()
    base = plain({"1": [1, 1], "2": [0, 2], "only base": [9]}, problems)
    run = plain({"2": [3, 3, 3], "1": [2, 4, 0], "only run": [9, 9]}, problems, tokens=50)
    found = compare(base, run, ["a"], "tokens")
    ratios = found.ratios["a"]
    assert (found.problems, found.left_out) == (2, (1, 2))
    assert (ratios["per_response"].base, ratios["per_response"].value) == pytest.approx((4 / 4, 15 / 6))
    assert ratios["per_response"].ratio == pytest.approx(2.5)
    assert ratios["per_1k_tokens"].ratio == pytest.approx((15 / 300) / (4 / 400))
    assert ratios["presence"].ratio == pytest.approx((5 / 6) / (3 / 4))
    assert ratios["share_of_thoughts"].ratio == pytest.approx((15 / 24) / (4 / 16))


def test_a_run_against_itself_is_exactly_one():
    """Problems are drawn together in both arms, so what they share cancels in every resample."""
    draws = np.random.default_rng(1)
    counts = {str(number): draws.poisson(draws.gamma(0.5, 10), 4).tolist() for number in range(40)}
    problems = Problems()
    for metric, ratio in (
        compare(plain(counts, problems), plain(counts, problems), ["a"], "tokens").ratios["a"].items()
    ):
        assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx((1, 1, 1)), metric


def test_doubled_counts_are_twice_with_certainty():
    problems = Problems()
    counts = {str(number): [number % 7] for number in range(40)}
    doubled = {name: [2 * count for count in some] for name, some in counts.items()}
    ratio = compare(plain(counts, problems), plain(doubled, problems), ["a"], "tokens").ratios["a"][
        "per_response"
    ]
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


def test_the_interval_is_near_the_linearised_one_on_the_log_scale():
    draws = np.random.default_rng(2)
    chance = draws.gamma(4, 1, 300)
    base, run = draws.poisson(chance[:, None], (300, 4)), draws.poisson(2 * chance[:, None], (300, 4))
    problems = Problems()
    arms = [plain({str(n): row.tolist() for n, row in enumerate(counts)}, problems) for counts in (base, run)]
    ratio = compare(*arms, ["a"], "tokens").ratios["a"]["per_response"]
    means = base.mean(1) / base.mean(), run.mean(1) / run.mean()
    error = (means[1] - means[0]).std(ddof=1) / math.sqrt(300)
    assert math.log(ratio.high / ratio.low) == pytest.approx(2 * student.ppf(0.975, 299) * error, rel=0.1)


def test_a_base_without_events_yields_two_means_and_no_ratio():
    problems = Problems()
    base, run = plain({"1": [0], "2": [0]}, problems), plain({"1": [1], "2": [3]}, problems)
    ratio = compare(base, run, ["a"], "tokens").ratios["a"]["per_response"]
    assert (ratio.base, ratio.value) == (0.0, 2.0)
    assert (ratio.ratio, ratio.low, ratio.high) == (None, None, None)


def test_few_events_of_the_base_leave_the_ratio_without_bound():
    problems = Problems()
    base = plain({str(n): [int(n == 0)] for n in range(10)}, problems)
    run = plain({str(n): [2] for n in range(10)}, problems)
    ratio = compare(base, run, ["a"], "tokens").ratios["a"]["per_response"]
    assert ratio.ratio == pytest.approx(20)
    assert 0 < ratio.low < 20
    assert ratio.high is None
    back = compare(run, plain({str(n): [0] for n in range(10)}, problems), ["a"], "tokens").ratios["a"][
        "per_response"
    ]
    assert (back.ratio, back.low, back.high) == (0.0, 0.0, None)


def test_no_common_problem_is_no_ratio():
    problems = Problems()
    found = compare(plain({"1": [1]}, problems), plain({"2": [1]}, problems), ["a"], "tokens")
    assert found.problems == 0
    assert found.ratios["a"]["per_response"].ratio is None


# --- like length ---------------------------------------------------------------------------------


def test_like_length_weighs_lengths_as_the_base_has_them():
    problems = Problems()
    base = arm(
        [("1", 60, "finished", 100, 1)] * 3
        + [("2", 600, "finished", 1000, 8)]
        + [("2", 90, "clipped", 100, 50)],
        problems,
    )
    run = arm(
        [("1", 60, "finished", 100, 2)]
        + [("2", 600, "finished", 1000, 8), ("1", 600, "finished", 1000, 16)] * 2
        + [("1", 9000, "finished", 9000, 99), ("2", 60, "looping", 100, 99)],
        problems,
    )
    found = compare_matched(base, run, ["a"], "tokens")
    ratios = found.ratios["a"]
    # 3 of 4 finished responses of the base are short: 3/4 · 2 + 1/4 · 12 against 3/4 · 1 + 1/4 · 8
    assert ratios["per_response"].base == pytest.approx(2.75)
    assert ratios["per_response"].value == pytest.approx(4.5)
    assert ratios["per_1k_tokens"].value == pytest.approx(1000 * 4.5 / (0.75 * 100 + 0.25 * 1000))
    assert found.left_out == (0, 1)
    assert (found.problems) == 2


def test_longer_responses_alone_are_no_change_at_like_length():
    """A run whose counts rose only because it writes longer: the plain ratio rises, the matched does not."""
    draws = np.random.default_rng(3)
    problems = Problems()

    def responses(chance_of_long):
        for number in range(100):
            for _ in range(8):
                size = LENGTHS[draws.random() < chance_of_long]
                yield str(number), size, "finished", size, int(draws.poisson(size / 100))

    base, run = arm(responses(0.3), problems), arm(responses(0.7), problems)
    plain_ratio = compare(base, run, ["a"], "tokens").ratios["a"]["per_response"]
    matched = compare_matched(base, run, ["a"], "tokens").ratios["a"]["per_response"]
    assert plain_ratio.low > 1.5
    assert matched.low < 1 < matched.high
    assert matched.high < 1.2


def test_no_common_length_is_no_ratio():
    problems = Problems()
    base, run = arm([("1", 60, "finished", 9, 1)], problems), arm([("1", 600, "finished", 9, 1)], problems)
    found = compare_matched(base, run, ["a"], "tokens")
    assert found.ratios["a"]["per_response"].ratio is None
    assert found.left_out == (1, 1)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rate, ratio = coverage("0.5, the same everywhere", 30, 8, times=150)
    assert rate > 0.9
    assert ratio > 0.88
