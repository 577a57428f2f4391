"""Rare paths: the posterior, hand-computed stages, exact halves, traces, and size by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.posterior import BetaPrior, fit_seen
from prerl_eval.comparison.rare import CEILING, rare_survival, trace_arms
from prerl_eval.comparison.splits import hypergeometric
from prerl_eval.grading.countdown import canonical_expression
from tests.support_coverage import trials


def arm(name, correct, n):
    correct = np.atleast_2d(correct)
    ids = tuple(f"p{i:04d}" for i in range(correct.shape[1]))
    return Arm(name, ids, correct, np.broadcast_to(n, correct.shape).copy())


# --- the posterior -------------------------------------------------------------------------------


def test_posterior_by_integration():
    prior = BetaPrior(0.5, 2.0)
    density = stats.beta(0.5 + 2, 2 + 30).pdf
    assert prior.at_most(0.05, 2, 32) == pytest.approx(integrate.quad(density, 0, 0.05)[0])
    missed = integrate.quad(lambda p: density(p) * (1 - p) ** 7, 0, 1)[0]
    assert prior.missed(7, 2, 32) == pytest.approx(missed)


@pytest.mark.parametrize(("a", "b", "impossible"), [(0.3, 0.7, 0.0), (1.0, 4.0, 0.4), (0.1, 1.0, 0.0)])
def test_the_prior_is_found_again_whatever_share_is_impossible(a, b, impossible):
    rng = np.random.default_rng(0)
    p = rng.beta(a, b, 20_000) * (rng.random(20_000) >= impossible)
    prior = fit_seen(rng.binomial(32, p)[None], np.full((1, 20_000), 32))
    assert prior.a == pytest.approx(a, rel=0.15)
    assert prior.b == pytest.approx(b, rel=0.15)


def test_without_a_solved_problem_the_prior_is_uniform():
    assert fit_seen(np.zeros((1, 3), int), np.full((1, 3), 8)) == BetaPrior(1.0, 1.0)
    one = fit_seen(np.array([[0, 1]]), np.full((1, 2), 8))
    assert 0.001 < one.a < 100


def test_weights_count_the_rare_that_were_reached_where_a_point_estimate_overcounts():
    rng = np.random.default_rng(0)
    p = rng.beta(1.0, 4.0, 40_000)
    base = arm("base", rng.binomial(32, p), 32)
    [stage] = rare_survival(base, [base], base)
    reached = base.correct[0] > 0
    assert stage.rare == pytest.approx((reached & (p <= CEILING)).sum(), rel=0.03)
    assert (reached & (base.correct[0] / 32 <= CEILING)).sum() > 1.05 * stage.rare


# --- stages --------------------------------------------------------------------------------------


def test_stages_by_hand():
    n = 16
    base = arm("base", [1, 2, 16, 0, 0], n)
    warm, final = arm("warm-up", [0, 1, 16, 1, 0], n), arm("final", [3, 0, 16, 2, 0], n)
    again = arm("again", [1, 0, 16, 0, 1], n)
    prior = fit_seen(base.correct, base.samples)
    one, two, sure = prior.at_most(0.05, np.array([1, 2, 16]), np.full(3, n))
    first, last = rare_survival(base, [warm, final], again)
    rare = one + two + sure
    assert (first.stage, first.m, first.null_kind) == ("warm-up", n, "run again")
    assert first.rare == last.rare == pytest.approx(rare)
    assert (first.survived, first.lost) == (pytest.approx(two + sure), pytest.approx(one))
    assert (last.survived, last.lost) == (pytest.approx(one + sure), pytest.approx(two))
    assert first.survival.value == pytest.approx((two + sure) / rare)
    assert (first.recovered, first.expected_recovered) == (0, 0)
    # Missed by the warm-up and reached at last: the first problem only.
    assert last.recovered == pytest.approx(one)
    assert (first.new, last.new, first.null_new) == (1, 1, 1)
    assert first.null_survival == pytest.approx((one + sure) / rare)
    assert first.excess.value == pytest.approx((two - one) / rare)
    assert (first.excess_new.value, first.excess_new.p) == (0, 1)
    assert first.survival.low < first.survival.value < first.survival.high


def test_expected_recovery_of_an_unchanged_model():
    base = arm("base", [1, 0], 16)
    prior = fit_seen(base.correct, base.samples)
    density = stats.beta(prior.a + 1, prior.b + 15).pdf
    both = integrate.quad(lambda p: density(p) * (1 - p) ** 16 * (1 - (1 - p) ** 16), 0, 1)[0]
    _, last = rare_survival(base, [base, base], base)
    assert last.expected_recovered == pytest.approx(prior.at_most(0.05, 1, 16) * both)


def test_halves_equal_an_average_over_all_splits():
    n, half = 7, 3
    base, other = arm("base", [1, 2, 5], n), arm("other", [0, 2, 7], 7)
    prior = fit_seen(base.correct, base.samples)
    [stage] = rare_survival(base, [other])
    rare = kept = found = 0.0
    for correct in (1, 2, 5):
        solved = [i < correct for i in range(n)]
        splits = [
            (sum(solved[i] for i in one), any(solved[i] for i in two))
            for one in itertools.combinations(range(n), half)
            for two in itertools.combinations(set(range(n)) - set(one), half)
        ]
        weights = [float(prior.at_most(CEILING, j, half)) if j else 0.0 for j, _ in splits]
        rare += np.mean(weights)
        kept += np.mean([weight * reached for weight, (_, reached) in zip(weights, splits, strict=True)])
        found += np.mean([j == 0 and reached for j, reached in splits])
    assert (stage.null_kind, stage.m) == ("split half", half)
    assert stage.rare == pytest.approx(rare)
    assert stage.null_survival == pytest.approx(kept / rare)
    assert stage.null_new == pytest.approx(found)


def test_seeds_are_averaged_and_recover_seed_by_seed():
    base = arm("base", [1, 1], 8)
    warm, final = arm("warm-up", [[0, 1], [1, 0]], 8), arm("final", [[1, 0], [1, 1]], 8)
    first, last = rare_survival(base, [warm, final], base)
    weight = first.rare / 2
    assert first.survived == pytest.approx(weight)
    assert last.survived == pytest.approx(1.5 * weight)
    # Seed 1 recovers the first problem, seed 2 the second.
    assert last.recovered == pytest.approx(weight)


def test_nothing_rare_leaves_the_share_open():
    [stage] = rare_survival(arm("base", [0, 0], 1), [arm("other", [1, 0], 1)])
    assert (stage.null_kind, stage.rare, stage.new) == ("", 0, 1)
    assert math.isnan(stage.survival.value)
    assert (stage.survival.low, stage.survival.high) == (0, 1)
    assert math.isnan(stage.excess.p)
    with pytest.raises(ValueError, match="different problems"):
        rare_survival(arm("base", [0, 0], 1), [arm("other", [1], 1)])


def test_hypergeometric_against_scipy():
    x, drawn, marked = np.meshgrid(np.arange(9), np.arange(9), np.arange(9))
    expected = stats.hypergeom.pmf(x, 8, marked, drawn)
    assert hypergeometric(x, drawn, marked, 8) == pytest.approx(expected, abs=1e-12)


# --- traces --------------------------------------------------------------------------------------


def test_traces_are_paths_up_to_the_order_of_commuting_steps():
    def solutions(*answers):
        counts = {}
        for answer in answers:
            key = canonical_expression(answer)
            counts[key] = counts.get(key, 0) + 1
        return counts

    base, other = arm("base", [3, 1], 8), arm("other", [2, 2], 8)
    before = {"p0000": solutions("3 + 4 + 5", "5 + 4 + 3", "3 * 5 - 3"), "p0001": solutions("2 * 6")}
    after = {"p0000": solutions("4 + 5 + 3", "4 * 3"), "p0001": solutions("6 * 2", "2 * 6")}
    (one, two), problem_of = trace_arms([(base, [before]), (other, [after])])
    assert one.problem_ids == ("p0000 3 * 4", "p0000 3 * 5 - 3", "p0000 3 + 4 + 5", "p0001 2 * 6")
    assert problem_of == [0, 0, 0, 1]
    assert one.correct.tolist() == [[0, 1, 2, 1]]
    assert two.correct.tolist() == [[1, 0, 1, 2]]
    assert two.samples.tolist() == [[8, 8, 8, 8]]
    [stage] = rare_survival(one, [two], one, problem_of)
    prior = fit_seen(one.correct, one.samples)
    once, twice = prior.at_most(CEILING, np.array([1, 2]), np.full(2, 8))
    assert stage.rare == pytest.approx(2 * once + twice)
    assert stage.lost == pytest.approx(once)
    assert (stage.new, stage.null_new) == (1, 0)


def test_intervals_of_traces_are_over_problems():
    # Ten traces of each problem that live and die together are one observation each.
    lone = rare_survival(arm("b", [1] * 12, 8), [arm("o", [1] * 8 + [0] * 4, 8)], arm("b", [1] * 12, 8))[0]
    many_b, many_o = arm("b", [1] * 120, 8), arm("o", [1] * 80 + [0] * 40, 8)
    clustered = rare_survival(many_b, [many_o], many_b, [i // 10 for i in range(120)])[0]
    alone = rare_survival(many_b, [many_o], many_b)[0]
    assert clustered.excess.value == pytest.approx(lone.excess.value)
    width = clustered.excess.high - clustered.excess.low
    assert width == pytest.approx(lone.excess.high - lone.excess.low, rel=0.1)
    assert alone.excess.high - alone.excess.low < width / 2


# --- simulation, short form ----------------------------------------------------------------------


def test_an_unchanged_model_is_seldom_called_and_survival_is_covered():
    found = trials("Beta(0.3, 0.7)", "none", problems=200, n=32, count=150)
    assert found["survival"] >= 0.87
    assert max(found[f"called {what} {null}"] for what in ("rare", "new") for null in ("run", "half")) <= 0.13
    changed = trials("Beta(1, 4)", "shaken", problems=1000, n=32, count=25)
    assert changed["called rare run"] > 0.3
