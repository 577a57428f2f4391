"""Preflight: the real sets pass with their oddities named; broken sets and prompts are caught."""

import json
from pathlib import Path

import pytest

from prerl_eval.errors import UserError
from prerl_eval.notations import completions, rewritten
from prerl_eval.preflight import list_cards, preflight, render_list, render_report
from prerl_eval.problems import Problem
from tests.test_problems import make
from tests.test_prompts import CHATML, TWO_STARTS, checkpoint
from tests.tiny import save_model

READABLE = ["math", "gsm8k", "math-train", "countdown", "countdown-ood"]


@pytest.fixture(scope="module")
def report(hub: Path):
    return preflight(READABLE, data_root=hub, workers=1)


def test_every_set_passes_on_its_clone(report):
    failures = {name: entry["failures"] for name, entry in report["benchmarks"].items() if entry["failures"]}
    assert failures == {}
    assert report["ok"]
    for entry in report["benchmarks"].values():
        graded = entry["problems"] - len(entry["oddities"].get("empty gold", ()))
        assert entry["completions"] >= 2 * (graded - 1)


def test_oddities_of_the_real_sets_are_reported(report):
    def count(benchmark, what):
        return len(report["benchmarks"][benchmark]["oddities"].get(what, ()))

    assert count("aime24", "zero-padded gold") == 7
    assert count("aime25", "zero-padded gold") == 0
    assert count("amc23", "whole number written as a float") == 40
    assert count("amc23", "negative number") == 1
    assert count("minerva", "e-notation") == 58
    assert count("olympiadbench", "several answers") == 94
    assert count("olympiadbench", "unit") == 8
    assert count("olympiadbench", "tolerance") == 1
    assert report["benchmarks"]["math-train"]["oddities"]["empty gold"] == ["5341", "5343", "6627", "7301"]
    assert report["benchmarks"]["math-train"]["oddities"]["unreadable gold (unbalanced braces)"] == ["6811"]
    assert report["benchmarks"]["math-train"]["duplicates"] == [["925", "959"]]
    text = render_report(report)
    assert "aime24: 30 problems (HuggingFaceH4/aime_2024 train), 97 correct completions graded: ok" in text
    assert "  zero-padded gold: 67, 75, 78, 83, 84, ... (7)" in text
    assert "  empty gold: 5341, 5343, 6627, 7301 (4)" in text
    json.dumps(report)


def test_a_gold_that_does_not_grade_itself_fails_the_check(tmp_path):
    rows = [{"key": "a", "question": "?", "answer": "2"}, {"key": "b", "question": "?", "answer": "x" * 5000}]
    card = make(tmp_path, rows, fields={"id": "key", "problem": "question", "answer": "answer"})
    report = preflight([str(card.file)], workers=1)
    assert not report["ok"]
    entry = report["benchmarks"]["mine"]
    assert {failure.split(":")[0] for failure in entry["failures"]} == {"b"}
    assert entry["duplicates"] == [["a", "b"]]
    text = render_report(report)
    assert "FAILURES" in text
    assert "FAILED b: gold" in text


def test_a_choice_set_shows_where_its_answers_stand(tmp_path):
    rows = [{"key": str(i), "question": f"{i}?", "answer": letter} for i, letter in enumerate("ADDC")]
    card = make(tmp_path, rows, fields={"id": "key", "problem": "question", "answer": "answer"})
    report = preflight([str(card.file)], workers=1)
    assert report["benchmarks"]["mine"]["answer_positions"] == {"A": 1, "C": 1, "D": 2}
    assert "answer positions: A 1, C 1, D 2" in render_report(report)


@pytest.mark.parametrize(
    ("letters", "notes"),
    [
        (
            "B" * 40,
            ["right answers favour B: 40 stand there, 10 would by chance (chi-square 120, p = 8e-26)"],
        ),
        ("ABCD" * 10, []),
        ("ABCD" * 9 + "BBBB", []),  # 9, 13, 9, 9: chi-square 1.2
    ],
)
def test_answers_that_favour_a_letter_are_noted(tmp_path, letters, notes):
    rows = [
        {"key": str(number), "question": f"{number}?", "answer": letter, "options": ["w", "x", "y", "z"]}
        for number, letter in enumerate(letters)
    ]
    fields = {"id": "key", "problem": "question", "answer": "answer"}
    prompt = "{problem}\n{options}"
    card = make(tmp_path, rows, fields=fields, choices=["options"], grader="choice", prompt=prompt)
    report = preflight([str(card.file)], workers=1)
    assert report["benchmarks"]["mine"]["notes"] == notes


def test_with_a_checkpoint_the_first_prompt_and_stop_ids_are_shown(tmp_path):
    model = save_model(tmp_path / "tiny")
    report = preflight(["countdown"], str(model), workers=1)
    first = report["benchmarks"]["countdown"]["first_prompt"]
    assert first["text"].startswith("use ")
    assert first["start_tokens"] == 0
    assert first["longest"] >= len(first["token_ids"]) > 0
    about = report["checkpoint"]
    assert about["template"] == "plain"
    assert about["start_token"] == {"id": 1, "text": "<s>"}
    assert about["stop_ids"]["config.json"] == [2]
    assert about["stop_ids_used"] == {"2": "</s>"}
    text = render_report(report)
    assert f"token ids: {first['token_ids']}" in text
    assert f"text: {first['text']!r}" in text
    assert "stop ids in use: 2 </s>; stop strings: none" in text
    json.dumps(report)


def test_a_limit_that_does_not_fit_is_a_note(tmp_path):
    card = make(tmp_path)
    model = save_model(tmp_path / "tiny")
    report = preflight([str(card.file)], str(model), workers=1)
    assert report["ok"]
    (note,) = report["benchmarks"]["mine"]["notes"]
    assert "exceed the model's context of 512" in note
    assert note in render_report(report)


def test_a_checkpoint_s_disagreements_and_template_are_noted(tmp_path):
    model = save_model(tmp_path / "tiny")
    (model / "generation_config.json").write_text('{"eos_token_id": [4, 2], "top_k": 20}')
    report = preflight(["countdown"], str(model), workers=1)
    assert any(note.startswith("stop ids differ (config.json: 2") for note in report["checkpoint"]["notes"])
    text = render_report(report)
    assert "generation_config.json suggests top_k=20; a run uses its flags" in text
    assert "stop ids of generation_config.json: 4, 2" in text


def test_sets_that_cannot_be_read_are_failures_beside_those_that_can(tmp_path, monkeypatch):
    monkeypatch.delenv("PRERL_DATA_ROOT", raising=False)
    model = save_model(tmp_path / "tiny")
    report = preflight(["aime26", "countdown", "hmmt-feb-2025"], str(model), workers=1)
    assert not report["ok"]
    assert report["benchmarks"]["countdown"]["failures"] == []
    text = render_report(report)  # conftest switches the hub off
    for name, hub_id in (("aime26", "math-ai/aime26"), ("hmmt-feb-2025", "MathArena/hmmt_feb_2025")):
        (failure,) = report["benchmarks"][name]["failures"]
        assert failure.startswith("the hub cannot be reached; ")
        assert f"git clone https://huggingface.co/datasets/{hub_id} DIR/{hub_id}`, " in failure
        assert failure.endswith("pass --data-root DIR here")
        assert f"{name}: NOT READ ({hub_id} " in text
        assert failure in text
    assert "first prompt of countdown" in text
    json.dumps(report)


def test_nothing_readable_is_the_user_s_mistake(tmp_path):
    with pytest.raises(UserError, match=r"aime26: no clone at .*; run `git clone") as error:
        preflight(["aime26", "math5000"], data_root=tmp_path)
    assert "\n" not in str(error.value)


def test_unknown_sets_and_checkpoints_are_the_user_s_mistake(tmp_path):
    with pytest.raises(UserError, match="unknown benchmark"):
        preflight(["nope"])
    with pytest.raises(UserError, match="no checkpoint at"):
        preflight(["countdown"], str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("gold", "other"),
    [
        ("025", "25"),
        ("000", "0"),
        ("27.0", "27"),
        ("-1.0", "-1"),
        ("2,125", "2125"),
        ("1234567", "1{,}234{,}567"),
        ("4.5e33", "4.5 \\times 10^{33}"),
        ("2e-07", "2 \\times 10^{-7}"),
        ("\\frac{1}{2}", "\\dfrac{1}{2}"),
        ("204", "204"),
        ("(1,234)", "(1,234)"),
    ],
)
def test_golds_are_rewritten_as_a_model_would(gold, other):
    assert rewritten(gold) == other


def test_completions_follow_the_problem_s_facts():
    problem = Problem("x", "1", "?", "1,3", "math", {"is_multiple_answer": True, "unit": "cm"})
    found = completions(problem)
    assert found["other order"] == "\\boxed{3, 1}"
    assert found["unit outside the box"] == "It is \\boxed{1,3} cm."
    assert "in a final line" not in found
    lined = completions(Problem("x", "1", "?", "18", "math", {"answer_format": "final-line"}))
    assert lined["in a final line"].endswith("\n#### 18")
    assert completions(Problem("x", "1", "?", "", "math")) == {}
    assert completions(Problem("x", "1", "?", "\\frac{\\}{2}", "math")) == {}
    assert completions(Problem("x", "1", "?", "1 + 2", "countdown"))["as it stands"] == "answer : 1 + 2"


def test_the_list_shows_every_card():
    rows = list_cards()
    lines = render_list(rows).splitlines()
    assert len(lines) == 1 + len(rows) >= 11
    assert lines[0].split() == ["name", "problems", "n", "max", "tokens", "groups", "source"]
    row = next(line for line in lines if line.startswith("math-train"))
    assert "(training)" in row
    json.dumps(rows)


def test_prompts_that_start_twice_would_fail_the_check(tmp_path):
    """A card that writes the start token itself, beside a template that does too."""
    from prerl_eval.preflight import _check_prompts
    from prerl_eval.prompts import PromptBuilder

    card = make(tmp_path / "set", prompt="<s>{problem}")
    problems = [Problem("mine", "a", "?", "1", "math")]
    for name, template, starts, failed in (("two", TWO_STARTS, 2, 1), ("none", CHATML, 1, 0)):
        entry = {"failures": [], "notes": []}
        builder = PromptBuilder(checkpoint(tmp_path / name, template))
        assert _check_prompts(card, problems, builder, entry)["start_tokens"] == starts
        assert len(entry["failures"]) == failed
