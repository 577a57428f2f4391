"""Estimators against hand-computed values, exact arithmetic, brute force and simulation."""

import itertools
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prerl_eval import metrics
from prerl_eval.errors import UserError
from tests.interval_coverage import POPULATIONS, coverage

# --- Pass@k --------------------------------------------------------------------------------------


def exact_pass(n, correct, k):
    return 1 - Fraction(math.comb(n - correct, k), math.comb(n, k))


def test_pass_at_k_by_hand():
    # n = 4, c = 1: 1 - C(3,k)/C(4,k) = 1/4, 1/2, 3/4, 1.
    assert metrics.pass_at_k(4, 1).tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=1e-15)
    # n = 5, c = 2: 1 - 3/5, 1 - 3/10, 1 - 1/10, 1, 1.
    assert metrics.pass_at_k(5, 2).tolist() == pytest.approx([0.4, 0.7, 0.9, 1.0, 1.0], abs=1e-15)
    assert metrics.pass_at_k(3, 0).tolist() == [0.0, 0.0, 0.0]
    assert metrics.pass_at_k(3, 3).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 31, 32, 64, 100, 256, 1000, 1023, 1024])
def test_pass_at_k_is_exact_to_1e_12(n):
    counts = sorted({0, 1, 2, 3, n // 4, n // 2, n - 2, n - 1, n} & set(range(n + 1)))
    ks = sorted({1, 2, 3, n // 4, n // 3, n // 2, n - 1, n} & set(range(1, n + 1)))
    for correct in counts:
        estimates = metrics.pass_at_k(n, correct)
        assert estimates.shape == (n,)
        for k in ks:
            assert abs(Fraction(float(estimates[k - 1])) - exact_pass(n, correct, k)) < Fraction(1, 10**12)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_pass_at_k_is_exact_anywhere(data):
    n = data.draw(st.integers(1, 1024))
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    estimate = Fraction(float(metrics.pass_at_k(n, correct)[k - 1]))
    assert abs(estimate - exact_pass(n, correct, k)) < Fraction(1, 10**12)


def test_a_table_takes_each_problem_with_its_own_n_and_stops_at_the_smallest():
    table = metrics.pass_at_k_table([1, 2, 0], [4, 5, 3])
    assert table == pytest.approx(np.array([[0.25, 0.5, 0.75], [0.4, 0.7, 0.9], [0, 0, 0]]), abs=1e-15)
    assert metrics.pass_at_k_table([1, 2], [4, 5], max_k=2).shape == (2, 2)


def test_k_above_n_is_refused_never_extrapolated():
    with pytest.raises(UserError, match=r"k = 4 is more than the n = 3 samples"):
        metrics.pass_at_k_table([1, 2], [3, 5], max_k=4)
    with pytest.raises(UserError, match=r"k = 9 is more than the n = 8 samples of aime24"):
        metrics.pass_curve([1, 2], [8, 8]).up_to(9, "aime24")
    with pytest.raises(UserError, match=r"k = 0 is too small"):
        metrics.pass_curve([1, 2], [8, 8]).up_to(0)


def test_impossible_counts_are_a_defect():
    with pytest.raises(ValueError, match="0 <= correct <= n"):
        metrics.pass_at_k_table([5], [4])


def test_a_curve_flags_k_above_a_quarter_of_n():
    curve = metrics.pass_curve([2, 0, 8], [8, 8, 8])
    assert curve.k.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert curve.uncertain.tolist() == [False, False, True, True, True, True, True, True]
    assert curve.value[0] == pytest.approx(10 / 24)
    assert curve.value[7] == pytest.approx(2 / 3)
    assert (curve.n, curve.problems) == (8, 3)
    assert curve.up_to(2).value.tolist() == curve.value[:2].tolist()


# --- mean, error, interval -----------------------------------------------------------------------


def test_error_is_clustered_by_problem():
    # Problem means 0, .5, 1: sd = .5, se = .5 / sqrt(3). Treating 3 x 32 samples as independent
    # would claim .051.
    mean, error = metrics.mean_and_se([0.0, 0.5, 1.0])
    assert mean == 0.5
    assert error == pytest.approx(0.5 / math.sqrt(3))


def test_error_equals_the_clustered_formula_over_samples():
    # Miller 2024: sum over clusters of the squared sum of residuals, here with P / (P - 1).
    rng = np.random.default_rng(0)
    samples = rng.random((12, 8)) < rng.random((12, 1))
    residual_sums = (samples - samples.mean()).sum(axis=1)
    clustered = math.sqrt((residual_sums**2).sum()) / samples.size * math.sqrt(12 / 11)
    assert metrics.mean_and_se(samples.mean(axis=1))[1] == pytest.approx(clustered)


def test_one_problem_has_no_error_and_no_interval():
    mean, error = metrics.mean_and_se([0.25])
    assert mean == 0.25
    assert math.isnan(error)
    assert [float(end) for end in metrics.interval([0.25])] == [0.0, 1.0]


def test_interval_when_all_agree_is_that_of_one_coin_flip_per_problem():
    # P = 30 tails, t(29) = 2.0452: 30 (1.95996 / 2.0452)^2 = 27.551 flips; upper end 1 - .025^(1/27.551).
    low, high = metrics.interval(np.zeros(30))
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 27.551), abs=1e-5)
    low, high = metrics.interval(np.ones(30))
    assert low == pytest.approx(0.025 ** (1 / 27.551), abs=1e-5)
    assert high == 1.0


def test_interval_of_solved_or_not_problems_is_near_clopper_pearson():
    # 15 of 30 heads: Clopper-Pearson gives .3130 to .6870; the t quantile widens it a little.
    low, high = metrics.interval(np.repeat([0.0, 1.0], 15))
    assert 0.29 < low < 0.3130
    assert high == pytest.approx(1 - low)


def test_interval_of_many_problems_is_the_normal_one():
    values = np.random.default_rng(0).beta(2, 2, 20_000)
    mean, error = metrics.mean_and_se(values)
    low, high = metrics.interval(values)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.02 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.02 * error)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
@settings(deadline=None)
def test_interval_stays_inside_holds_the_mean_and_is_symmetric(values):
    low, high = map(float, metrics.interval(values))
    assert 0.0 <= low < high <= 1.0
    assert low <= np.mean(values) + 1e-9
    assert high >= np.mean(values) - 1e-9
    mirrored_low, mirrored_high = metrics.interval(1.0 - np.asarray(values))
    assert mirrored_low == pytest.approx(1 - high, abs=1e-6)
    assert mirrored_high == pytest.approx(1 - low, abs=1e-6)


def test_interval_works_column_by_column():
    values = np.random.default_rng(0).random((10, 3))
    low, high = metrics.interval(values)
    for column in range(3):
        alone = metrics.interval(values[:, column])
        assert [low[column], high[column]] == pytest.approx([float(end) for end in alone])


@pytest.mark.parametrize("population", POPULATIONS)
def test_intervals_cover(population):
    # Seeded. The lowest is .936 in 10,000 trials (docs/statistics.md).
    a, b = POPULATIONS[population]
    for problems, n, ks in ((30, 32, (1, 8, 32)), (200, 64, (1, 16, 64))):
        for k, (held, _) in zip(ks, coverage(a, b, problems, n, ks, trials=2000), strict=True):
            assert held > 0.92, f"P={problems}, n={n}, k={k}"


def test_the_coverage_test_can_fail():
    # The plain t interval near 0, 30 problems: 62% in 10,000 trials.
    rng = np.random.default_rng(0)
    means = rng.binomial(32, rng.beta(0.02, 2, (30, 2000))) / 32
    half = 2.045 * means.std(axis=0, ddof=1) / math.sqrt(30)
    assert np.mean(abs(means.mean(axis=0) - 0.02 / 2.02) <= half) < 0.7


# --- maj@k ---------------------------------------------------------------------------------------


def brute_force_majority(correct, rivals, blank, k):
    samples = [0] * correct + [i + 1 for i, size in enumerate(rivals) for _ in range(size)] + [-1] * blank
    credit, subsets = Fraction(0), 0
    for subset in itertools.combinations(samples, k):
        subsets += 1
        votes = [subset.count(i) for i in range(len(rivals) + 1)]
        if votes[0] and votes[0] == max(votes):
            credit += Fraction(1, votes.count(votes[0]))
    return credit / subsets


def test_majority_by_hand():
    # {A, A, B} with A correct. k = 1: 2/3. k = 2: AA wins, AB ties twice: (1 + 1/2 + 1/2) / 3. k = 3: A.
    assert metrics.majority_at_k(2, (1,), 0, 1) == pytest.approx(2 / 3)
    assert metrics.majority_at_k(2, (1,), 0, 2) == pytest.approx(2 / 3)
    assert metrics.majority_at_k(2, (1,), 0, 3) == 1.0
    # One correct, one wrong, two without an answer. k = 2: right alone 2 of 6, right and wrong 1 of 6.
    assert metrics.majority_at_k(1, (1,), 2, 2) == pytest.approx((2 + 0.5) / 6)
    assert metrics.majority_at_k(1, (1,), 2, 4) == 0.5
    assert metrics.majority_at_k(2, (2, 2), 1, 7) == pytest.approx(1 / 3)
    assert metrics.majority_at_k(0, (1,), 0, 1) == 0.0
    assert metrics.majority_at_k(0, (), 3, 3) == 0.0
    assert metrics.majority_at_k(3, (), 0, 3) == 1.0


@given(
    st.integers(0, 4),
    st.lists(st.integers(1, 3), max_size=3).map(lambda sizes: tuple(sorted(sizes))),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_majority_equals_all_subsets(correct, rivals, blank):
    n = correct + sum(rivals) + blank
    for k in range(1, n + 1):
        exact = float(brute_force_majority(correct, rivals, blank, k))
        assert metrics.majority_at_k(correct, rivals, blank, k) == pytest.approx(exact, abs=1e-12)


def test_majority_at_1024_agrees_with_drawn_subsets():
    correct, rivals, blank, k = 300, (1, 1, 3, 60, 280), 379, 64
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_hypergeometric([correct, *rivals, blank], k, size=40_000)
    votes = drawn[:, :-1]
    wins = votes[:, 0] == votes.max(axis=1)
    credit = wins / (votes == votes.max(axis=1, keepdims=True)).sum(axis=1)
    exact = metrics.majority_at_k(correct, rivals, blank, k)
    assert exact == pytest.approx(credit.mean(), abs=4 * credit.std() / 200)


def test_majority_without_rivals_is_pass_at_k():
    assert metrics.majority_at_k(3, (), 29, 8) == pytest.approx(metrics.pass_at_k(32, 3)[7], abs=1e-12)


def test_majority_is_given_for_powers_of_two_and_n():
    assert metrics.majority_ks(1) == [1]
    assert metrics.majority_ks(24) == [1, 2, 4, 8, 16, 24]
    assert metrics.majority_ks(32) == [1, 2, 4, 8, 16, 32]
    assert metrics.majority_ks(0) == []
    with pytest.raises(UserError, match="k = 5 is more than the n = 4"):
        metrics.majority_at_k(2, (1,), 1, 5)


def test_importing_metrics_is_light():
    code = """if True:
        import sys, prerl_eval.metrics
        print([name for name in ("torch", "scipy", "matplotlib", "pyarrow") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
