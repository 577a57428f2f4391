"""`prerl-eval power`: where its population comes from, and what it says of too little."""

import json
import re

import numpy as np
import pytest

from prerl_eval.comparison.planning import PowerOptions, plan_power, render_power
from prerl_eval.errors import UserError
from tests.compared import make_run


def evaluation(folder, seed, shift=0.0):
    source = np.random.default_rng(0)
    chances = np.clip(source.beta(1, 2, 40) + shift, 0, 1)
    return make_run(folder, np.random.default_rng(seed).binomial(16, chances).tolist(), n=16)


def test_without_runs_the_card_and_an_assumed_population_answer():
    facts = plan_power(PowerOptions("aime24", 32))
    assert facts["problems"] == 30
    assert facts["population"]["source"] == "assumed"
    assert sorted({row["n"] for row in facts["rows"]}) == [8, 16, 32, 64, 128]
    here = {row["k"]: row["difference"] for row in facts["rows"] if row["n"] == 32}
    assert sorted(here) == [1, 8, 32]
    # What is known of AIME24 at n = 32: 5 to 8 points.
    assert 0.05 < here[1] < 0.08
    lines = render_power(facts)
    assert lines[0].startswith(
        f"aime24, 30 problems × 32 samples: a difference in Avg of {100 * here[1]:.1f}"
    )
    assert max(map(len, lines)) <= 100
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_more_problems_and_more_samples_see_smaller_differences():
    def smallest(n, problems):
        rows = plan_power(PowerOptions("aime24", n, problems))["rows"]
        return next(row["difference"] for row in rows if (row["n"], row["k"]) == (n, 1))

    assert smallest(32, 120) == pytest.approx(smallest(32, 30) / 2, rel=0.05)
    assert smallest(64, 30) < smallest(32, 30)


def test_runs_give_problems_spread_and_correlation(tmp_path):
    base = evaluation(tmp_path / "base", 1)
    one = plan_power(PowerOptions("aime24", 16, runs=[str(base)]))
    assert (one["problems"], one["population"]["source"]) == (40, str(base))
    assert one["population"]["correlation"] == 0.95
    seeds = ",".join(str(evaluation(tmp_path / f"s{seed}", seed, 0.03 * seed)) for seed in (2, 3, 4))
    both = plan_power(PowerOptions("aime24", 16, seeds=3, runs=[str(base), f"M={seeds}"]))
    assert both["population"]["correlation"] > 0.9
    assert both["population"]["seed_sd"] > 0.01
    here = next(row for row in both["rows"] if (row["n"], row["k"]) == (16, 1))
    assert here["from_seeds"] > 0


def test_what_is_given_replaces_what_runs_show(tmp_path):
    base = evaluation(tmp_path / "base", 1)
    options = PowerOptions("aime24", 16, 200, 3, [str(base)], correlation=0.5, seed_sd=0.02)
    facts = plan_power(options)
    assert facts["problems"] == 200
    assert facts["population"]["correlation"] == 0.5
    assert facts["population"]["seed_sd"] == 0.02


def test_no_spread_between_seeds_is_doubted_aloud():
    def text(**changes):
        return " ".join(render_power(plan_power(PowerOptions("aime24", 32, **changes))))

    assert re.search("spread of 0 between +seeds is rarely true", text(seeds=3))
    assert "rarely true" not in text(seeds=3, seed_sd=0.01)
    assert re.search("about two +checkpoints, not about methods", text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PowerOptions("aime24", 0), "--n 0 is too small; give 1 or more"),
        (PowerOptions("aime24", 8, seeds=0), "--seeds 0 is too small; give 1 or more"),
        (PowerOptions("aime", 8), "unknown benchmark 'aime'"),
        (PowerOptions("aime24", 8, runs=["a", "b", "c"]), "--from takes a run of the base and one of a"),
        (PowerOptions("aime24", 8, runs=["nowhere"]), "nowhere is not a prerl run"),
    ],
)
def test_what_cannot_be_planned_is_one_line(options, message):
    with pytest.raises(UserError, match=message):
        plan_power(options)
