"""Multiple choice: which letter a response chooses, by cases, on any text, and on published outputs."""

import json
import time
from collections import Counter
from dataclasses import replace
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval import store
from prerl_eval.generations import read_rows
from prerl_eval.grade_file import grade_file
from prerl_eval.grading import GradingPool
from prerl_eval.grading.choice import chosen_letter, grade_choice
from prerl_eval.problems import Problem
from prerl_eval.regrade import stored_problem
from prerl_eval.summary import summarize
from tests.conftest import REPO

CASES = json.loads((REPO / "tests" / "cases" / "choice.json").read_text(encoding="utf-8"))
WORDS = "the answer is |Answer: |(|)|A|B|J|a| or |.|\n|**|\\boxed{|}|<think>|</think>|\nQuestion:|option "
PIECES = st.sampled_from([*WORDS.split("|"), " is the correct answer"])
TEXT = st.one_of(st.text(), st.lists(PIECES).map("".join))


def problem(gold="A", letters="ABCD", text="Which?", **facts):
    return Problem("mine", "1", text, gold, "choice", {"letters": letters, **facts})


def grade(asked, text, finish_reason="stop", **options):
    with GradingPool(**options) as pool:
        return pool.submit(asked, text, finish_reason=finish_reason).result()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:40])
def test_the_letter_is_the_one_stated_last(case):
    letters = case["letters"]
    asked = problem("A", letters, case.get("prompt", "Which?"), stop=case.get("stop", []))
    verdict = grade_choice(asked, case["text"], "stop", False, False)
    assert (verdict.answer or None) == case["letter"]
    expected = "unparsed" if case["letter"] is None else "correct" if case["letter"] == "A" else "wrong"
    assert verdict.status == expected


@given(TEXT, st.integers(2, 10), st.sampled_from(["stop", "length", ""]), st.booleans())
def test_any_text_gets_a_verdict_of_the_problem_s_own_letters(text, count, finish_reason, thinking):
    letters = ascii_uppercase[:count]
    asked = problem("B", letters, stop=["\nQuestion:"])
    verdict = grade_choice(asked, text, finish_reason, thinking, False)
    assert verdict.status in ("correct", "wrong", "unparsed", "truncated")
    assert (verdict.status == "correct") == (verdict.answer == "B")
    assert set(verdict.answer.split(", ")) <= {"", *letters}
    assert (verdict.answer == "") == (verdict.status in ("unparsed", "truncated"))


@given(st.text(), st.sampled_from("ABCD"))
def test_an_answer_line_at_the_end_decides(text, letter):
    assert chosen_letter(f"{text}\n\nAnswer: {letter}", "ABCD") == letter


def test_statuses_where_nothing_is_stated():
    assert grade(problem(), "I wonder", "length").status == "truncated"
    assert grade(problem(), "I wonder", "stop").status == "unparsed"
    assert grade(problem(), "<think>the answer is A", "").status == "truncated"
    assert grade(problem(), "<think>the answer is A", "", accept_box_in_thinking=True).status == "correct"
    assert grade(problem("E"), "Answer: A").status == "unscored"
    assert grade(problem(""), "Answer: A").status == "unscored"


def test_wrong_answers_vote_by_letter_and_right_ones_together():
    classes = [grade(problem("C"), f"Answer: {letter}").answer_class for letter in "ABCA"]
    assert classes[0] == classes[3] != classes[1]
    assert len(set(classes)) == 3
    assert grade(problem("A"), "Answer: A").answer_class == classes[2]


def test_the_published_rule_takes_the_first_statement_whatever_follows():
    asked = problem("B", "ABCD", answer_format="answer-is", stop=["\nQuestion:"])
    assert grade(asked, "The answer is Beijing").status == "correct"
    assert grade(asked, "the answer is (B). No, the answer is (A).").status == "correct"
    assert grade(asked, "Well.\nQuestion: x\nthe answer is (B)").status == "correct"
    assert grade(asked, "Answer: B").status == "unparsed"


@pytest.mark.parametrize(
    "babble", ["answer ", "the answer is ", "answer: (", "A) is ", "\\boxed{", " ", "A.\n"]
)
def test_babble_costs_time_in_proportion(babble):
    # Quadratic work on a megabyte would take hours.
    start = time.process_time()
    grade_choice(problem(stop=["\nQuestion:"]), babble * (1_000_000 // len(babble)), "stop", False, False)
    assert time.process_time() - start < 10


@pytest.fixture(scope="module")
def llama(outputs, hub, tmp_path_factory):
    """The graded answers of Llama-3-8B to MMLU-Pro, each row against its own gold: run, published letters."""
    file = outputs / "mmlu_pro" / "Meta-Llama-3-8B.jsonl.gz"
    run = grade_file(
        file,
        "mmlu-pro",
        response_field="generated_text",
        gold_field="answer",
        problem_field="question_id",
        data_root=hub,
        out=tmp_path_factory.mktemp("mmlu-pro") / "run",
    )
    return run, {str(row["question_id"]): row["pred"] for row in read_rows(file)}


def test_published_letters_of_mmlu_pro(llama):
    run, pred = llama
    rows = store.read_samples(run).to_pylist()
    kinds = Counter(
        difference(row["answer"], pred[row["problem_id"]])
        for row in rows
        if row["answer"] != (pred[row["problem_id"]] or "")
    )
    # docs/benchmarks.md names these classes; 10,742 rows have a published letter.
    assert kinds == {"no option, or a next question's": 10, "two letters": 6, "revised": 2, "found": 1}
    assert sum(value is not None for value in pred.values()) == 10742
    numbers = summarize(run)["benchmarks"]["mmlu-pro"]
    assert numbers["statuses"]["correct"] == 4110
    assert len(numbers["tasks"]) == 14


def difference(ours, theirs):
    if theirs is None:
        return "found"
    if not ours:
        return "no option, or a next question's"
    return "two letters" if ", " in ours else "revised"


def test_the_published_rule_gives_the_published_letters(llama):
    run, pred = llama
    correct = 0
    for row in store.read_samples(run).to_pylist():
        asked = stored_problem(row)
        asked = replace(asked, extra={**asked.extra, "answer_format": "answer-is"})
        verdict = grade_choice(asked, row["completion"], row["finish_reason"], False, False)
        assert (verdict.answer or None) == pred[row["problem_id"]]
        correct += verdict.status == "correct"
    assert correct == 4112
