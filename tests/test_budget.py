"""Accuracy against token budget: hand-computed truncation, refusals, table, CSV, picture."""

import csv

import numpy as np
import pytest

from prerl_eval.budget import Lengths, budget_curve, draw_budget, measure_budgets, spaced_budgets
from prerl_eval.errors import UserError
from tests.runs import sample, write_run

# Two problems, four samples each: (status, tokens).
RESPONSES = {
    "1": [("correct", 10), ("correct", 20), ("wrong", 5), ("truncated", 40)],
    "2": [("wrong", 10), ("correct", 40), ("correct", 40), ("wrong", 8)],
}


def make_run(folder, responses=RESPONSES, max_tokens=40):
    rows = [
        sample(problem, index, status, tokens=tokens)
        for problem, listed in responses.items()
        for index, (status, tokens) in enumerate(listed)
    ]
    return write_run(folder, rows, {"aime24": {"n": 4, "problems": len(responses), "max_tokens": max_tokens}})


def test_longer_responses_count_as_cut_and_not_correct(tmp_path):
    curve = measure_budgets(make_run(tmp_path / "run"), budgets=[40, 9, 10, 20])["aime24"]
    assert curve.budgets == (9, 10, 20, 40)
    assert curve.ks == (1, 2, 4)
    # Correct within the budget, problem by problem: (0, 0), (1, 0), (2, 0), (2, 2) of 4.
    assert curve.passed[:, 0].tolist() == [0.0, 1 / 8, 2 / 8, 4 / 8]
    # Pass@2 with 1 of 4 correct is 1/2, with 2 of 4 is 5/6.
    assert curve.passed[:, 1] == pytest.approx([0.0, 1 / 4, 5 / 12, 5 / 6])
    assert curve.passed[:, 2].tolist() == [0.0, 1 / 2, 1 / 2, 1.0]
    assert curve.ended.tolist() == [2 / 8, 4 / 8, 5 / 8, 1.0]
    # At 10 tokens: 5 + 8 and six responses of 10.
    assert curve.spent[1] == (5 + 8 + 6 * 10) / 8
    assert (curve.low <= curve.passed).all()
    assert (curve.passed <= curve.high).all()


def test_without_a_limit_that_binds_the_last_budget_is_the_run_itself(tmp_path):
    curve = measure_budgets(make_run(tmp_path / "run"))["aime24"]
    assert curve.budgets[-1] == 40
    assert curve.passed[-1, 0] == 0.5
    assert curve.ended[-1] == 1.0


@pytest.mark.parametrize("limit", [1, 7, 128, 32_768])
def test_spaced_budgets_rise_to_the_limit(limit):
    tokens = np.arange(1, 201) * limit // 200 + 1
    lengths = Lengths(np.minimum(tokens, limit), np.ones(200, bool), np.zeros(200, int), np.array([200]))
    budgets = spaced_budgets(lengths, limit)
    assert budgets == sorted(set(budgets))
    assert budgets[0] >= 1
    assert budgets[-1] == limit
    assert len(budgets) <= 13


def test_accuracy_never_falls_with_the_budget():
    source = np.random.default_rng(0)
    tokens, correct = source.integers(1, 500, 600), source.random(600) < 0.3
    lengths = Lengths(tokens, correct, np.repeat(np.arange(20), 30), np.full(20, 30))
    curve = budget_curve(lengths, range(1, 501, 20))
    assert (np.diff(curve.passed, axis=0) >= -1e-12).all()
    assert curve.passed[-1, 0] == pytest.approx(correct[tokens <= 481].sum() / 600)


@pytest.mark.parametrize("budget", [0, 41])
def test_a_budget_beyond_the_runs_own_limit_is_refused(tmp_path, budget):
    run = make_run(tmp_path / "run")
    with pytest.raises(
        UserError, match=f"--budget {budget} is not within 1 to 40, the token limit of aime24"
    ):
        draw_budget([run], budgets=[budget], csv_file=tmp_path / "budget.csv")
    assert not (tmp_path / "budget.csv").exists()


def test_a_run_that_does_not_know_its_tokens_is_refused(tmp_path):
    run = make_run(tmp_path / "imported", {"1": [("correct", 0)] * 4})
    with pytest.raises(UserError, match="does not know the tokens of 4 responses of aime24"):
        measure_budgets(run)


def test_a_benchmark_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--bench gsm8k is not in .*; it has: aime24"):
        measure_budgets(make_run(tmp_path / "run"), benchmarks=["gsm8k"])


def test_table_csv_json_and_picture_hold_the_same_numbers(tmp_path):
    run, file = make_run(tmp_path / "run"), tmp_path / "new" / "budget.csv"
    lines, facts = draw_budget([run], budgets=[10, 40], csv_file=file, out=tmp_path / "budget.png")
    assert lines[0] == "run  aime24, 2 problems, n = 4"
    assert lines[2].split()[:4] == ["10", "50.0", "9", "12.5"]
    assert max(map(len, lines[:-2])) <= 100
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["budget"], row["k"]) for row in rows] == [(b, k) for b in ("10", "40") for k in "124"]
    assert float(rows[0]["pass"]) == 1 / 8
    numbers = facts[0]["benchmarks"]["aime24"]
    assert numbers["budget"] == [10, 40]
    assert numbers["pass"]["4"] == [0.5, 1.0]
    assert (tmp_path / "budget.png").read_bytes().startswith(b"\x89PNG")
