"""Short exact answers (BIG-Bench Hard): cases, any text, and the published outputs of code-davinci-002."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval import store
from prerl_eval.grade_file import grade_file
from prerl_eval.grading.exact import grade_exact, normal_form
from prerl_eval.grading.math import GOLD_CLASS
from prerl_eval.problems import Problem
from prerl_eval.regrade import stored_problem
from prerl_eval.summary import render_summary, summarize
from tests.conftest import REPO

CASES = json.loads((REPO / "tests" / "cases" / "exact.json").read_text(encoding="utf-8"))
GOLDS = st.sampled_from(["(B)", "Yes", "-12", "] } >", "oven phone", "valid"])
PIECES = st.sampled_from(
    ["the answer is ", "Answer: ", "(B)", "Yes", "-12", "] }", ">", "oven", "phone", ".", "\n", "**"]
)
TEXT = st.one_of(st.text(), st.lists(PIECES).map(" ".join))


def problem(gold, **facts):
    return Problem("mine", "1", "Which?", gold, "exact", facts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['gold']}-{case['text'][-30:]}")
def test_answers_are_equal_in_the_spelling_of_their_kind(case):
    facts = {key: case[key] for key in ("stop", "answer_format") if key in case}
    verdict = grade_exact(
        problem(case["gold"], **facts), case["text"], case.get("finish_reason", ""), False, False
    )
    assert verdict.status == case["status"]


@given(TEXT, GOLDS, st.sampled_from(["stop", "length", ""]), st.sampled_from(["stated", "answer-is"]))
def test_any_text_gets_a_verdict(text, gold, finish_reason, rule):
    verdict = grade_exact(problem(gold, answer_format=rule), text, finish_reason, False, False)
    assert verdict.status in ("correct", "wrong", "unparsed", "truncated")
    assert (verdict.status == "correct") == (verdict.answer_class == GOLD_CLASS)
    if verdict.status == "wrong" and rule == "stated":
        assert verdict.answer_class


@given(st.text(), GOLDS)
def test_a_last_statement_of_the_gold_is_correct(text, gold):
    said = f"{text}\nSo the answer is {gold}."
    assert grade_exact(problem(gold), said, "stop", False, False).status == "correct"


@given(GOLDS, st.sampled_from([str.upper, "**{}**".format, '"{}"'.format, " {} ".format, "{}.".format]))
def test_dress_does_not_matter(gold, dress):
    assert normal_form(dress(gold), gold) == normal_form(gold, gold)


@pytest.fixture(scope="module")
def davinci(outputs, hub, tmp_path_factory):
    """The graded answers of code-davinci-002."""
    return grade_file(
        outputs / "bbh_code_davinci_002" / "cot.jsonl.gz",
        "bbh",
        response_field="prediction",
        problem_field="{task}/{index}",
        data_root=hub,
        out=tmp_path_factory.mktemp("bbh") / "run",
    )


def test_published_averages_of_bbh(davinci):
    summary = summarize(davinci)
    numbers = summary["benchmarks"]["bbh"]
    assert numbers["macro"] == pytest.approx(0.7371, abs=0.00005)
    assert numbers["macro_merged"] == pytest.approx(0.7393, abs=0.00005)
    assert numbers["statuses"] | {"correct": 4816, "wrong": 1459, "unparsed": 236} == numbers["statuses"]
    assert len(numbers["tasks"]) == 27
    assert numbers["tasks"]["word_sorting"] == pytest.approx(101 / 250)
    note = re.search(r"macro .*", render_summary([summary]))
    assert note[0] == "macro 73.7 over 27 tasks, 73.9 over 23 with object variants as one"


def test_the_authors_rule_agrees_with_ours_on_every_row(davinci):
    rows = store.read_samples(davinci).to_pylist()
    assert len(rows) == 6511
    for row in rows:
        asked = stored_problem(row)
        asked = replace(asked, extra={**asked.extra, "answer_format": "answer-is"})
        verdict = grade_exact(asked, row["completion"], row["finish_reason"], False, False)
        assert (verdict.status == "correct") == (row["status"] == "correct"), row["problem_id"]
