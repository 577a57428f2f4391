"""Candidate answers along a trace, and what becomes of them after a mark."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.candidates import as_completion, find_candidates
from behavior.consequence import (
    CHANGES,
    NO_MARK,
    NONE_AFTER,
    NONE_BEFORE,
    WHOLE,
    Judged,
    Passage,
    consequence,
    follow,
    passages,
)
from behavior.consequence_table import render_consequence
from behavior.finding import Mark
from prerl_eval.errors import UserError
from prerl_eval.grading.extract import boxed_answer, boxed_answers
from tests.conftest import REPO
from tests.runs import sample, write_run

CASES = json.loads((REPO / "tests/cases/behavior_candidates.json").read_text())["cases"]

PIECES = [
    "\\boxed{2}", "\\boxed{\\frac{1}{2}}", " or ", ", ", ". ", "\n\n", "the answer is ", "7", "$x$",
    "Answer: ", "try ", "check ", "3 + 4 = 7", " * 2", " no", " yes", "answer : 3 + 4",
    "{", "}", "\\(", "\\)", "#### 5",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:40])
def test_candidates_of_cases(case):
    found = find_candidates(case["text"], case["grader"])
    assert [candidate.answer for candidate in found] == case["answers"]
    assert [candidate.answer for candidate in found if candidate.rejected] == case.get("no", [])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.sampled_from(["math", "countdown"]))
def test_candidates_stand_in_order_and_apart(text, grader):
    found = find_candidates(text, grader)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_the_last_boxed_answer_is_the_graders(text):
    answers = boxed_answers(text)
    assert boxed_answer(text) == (answers[-1][2] if answers else None)


def test_candidates_of_a_long_loop_take_linear_time():
    """Babble of a megabyte must not hang a run; a quadratic pattern would take hours."""
    for grader, loop in (("math", "the answer is $"), ("math", "answer: \\("), ("countdown", "try 3 + 4 = ")):
        assert isinstance(find_candidates(loop * 40_000, grader), list)


def answers(*stated):
    """Candidates at their places: (start, "right"), or (start, key of a wrong answer)."""
    return [Judged(start, start + 1, key == "right", key, False) for start, key in stated]


MADE_BY_HAND = [
    ("a wrong answer is mended", [(0, "x"), (20, "right")], [10], {"r": "wrong->right"}),
    ("a right answer is spoilt", [(0, "right"), (20, "x")], [10], {"r": "right->wrong"}),
    ("one wrong answer for another", [(0, "x"), (20, "y")], [10], {"r": "wrong->other"}),
    ("confirmed, wrong", [(0, "x"), (20, "x")], [10], {"r": "wrong kept"}),
    ("confirmed, right", [(0, "right"), (20, "right")], [10], {"r": "right kept"}),
    ("no answer yet", [(20, "right")], [10], {"r": NONE_BEFORE}),
    ("no answer at all", [], [10], {"r": NONE_BEFORE}),
    ("no answer after", [(0, "right")], [10], {"r": NONE_AFTER}),
    ("a step without a mark", [(0, "x"), (20, "right")], [], {NO_MARK: "wrong->right"}),
    ("one answer, no mark", [(0, "x")], [], {}),
]


@pytest.mark.parametrize(("name", "stated", "marks", "wanted"), MADE_BY_HAND)
def test_follow_by_hand(name, stated, marks, wanted):
    found = [Passage("r", start, start + 4) for start in marks]
    assert {label: outcome for label, outcome, _ in follow(found, answers(*stated))} == wanted


def test_each_step_between_answers_belongs_to_one_mark_or_to_none():
    # x . mark a . mark b . y . z . mark c . right
    found = [Passage("a", 10, 14), Passage("b", 20, 24), Passage("c", 50, 54)]
    steps = list(follow(found, answers((0, "x"), (30, "y"), (40, "z"), (60, "right"))))
    assert steps == [
        ("a", NONE_AFTER, False),
        ("b", "wrong->other", False),
        ("c", "wrong->right", False),
        (NO_MARK, "wrong->other", False),
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["right", "x", "y"])), max_size=12),
    st.lists(st.integers(0, 300), max_size=12),
)
def test_steps_and_passages_are_all_counted_once(stated, places):
    stated = sorted({2 * at: key for at, key in stated}.items())
    found = [Passage("r", 2 * at + 1, 2 * at + 2) for at in sorted(set(places))]
    outcomes = [(label, outcome) for label, outcome, _ in follow(found, answers(*stated))]
    assert sum(label == "r" for label, _ in outcomes) == len(found)
    assert sum(outcome in CHANGES for _, outcome in outcomes) == max(len(stated) - 1, 0)


def mark(text, words, label="r"):
    start = text.index(words)
    return Mark(label, words, start, start + len(words), False)


def test_marks_of_one_sentence_are_one_passage():
    text = "Wait, let me check this. Wait again"
    marks = [mark(text, "Wait,"), mark(text, "let me check"), mark(text, "Wait again")]
    assert passages(text, marks, []) == [Passage("r", 0, 18), Passage("r", 25, 35)]
    stated = "Wait, the answer is 5, let me check"
    marks = [mark(stated, "Wait"), mark(stated, "let me check")]
    assert len(passages(stated, marks, [])) == 1
    assert len(passages(stated, marks, answers((6, "x")))) == 2


COUNTDOWN = {"numbers": [3, 4, 5], "target": 35}


def countdown(problem_id, index, completion, **changes):
    facts = json.dumps(COUNTDOWN)
    return sample(
        problem_id, index, "wrong", benchmark="countdown", completion=completion, extra=facts, gold="",
        prompt="use 3 4 5 to reach 35 .", grader="countdown/1", **changes,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    mended = "try 3 + 4 = 7 + 5 = 12 no wait , try 3 + 4 = 7 * 5 = 35 yes answer : 3 + 4 * 5"
    spoilt = "try 3 + 4 = 7 * 5 = 30 no alternatively , try 3 + 5 = 8 + 4 = 12 no answer : 3 + 5 + 4"
    plain = "try 3 + 5 = 8 no then try 4 + 3 = 7 * 5 = 35 yes answer : 4 + 3 * 5"
    cut = "try 3 + 4 = 7 no wait , try 3 + 4 = 7 * 5"
    rows = [
        countdown("a", 0, mended), countdown("a", 1, plain), countdown("b", 0, spoilt),
        countdown("b", 1, cut, finish_reason="length"), countdown("b", 2, "no answer here"),
    ]  # fmt: skip
    return write_run(tmp_path / "run", rows)


def test_consequence_of_a_countdown_run(run):
    """Worked out by hand over the five responses above."""
    found = consequence(run, "simplerl")
    numbers = found["benchmarks"]["countdown"]
    assert (numbers["responses"], numbers["with_candidates"], numbers["candidates"]) == (5, 4, 10)
    (label,) = set(numbers["labels"]) - {NO_MARK, WHOLE}
    row = numbers["labels"][label]
    assert {name: count for name, count in row["outcomes"].items() if count} == {
        "wrong->right": 1,
        "right->wrong": 1,
        NONE_AFTER: 1,
    }
    assert row["rejected"] == 3
    assert (row["rates"]["fixed"]["value"], row["rates"]["fixed"]["of"]) == (1.0, 1)
    assert row["rates"]["changed"]["of"] == 2
    plain = numbers["labels"][NO_MARK]["outcomes"]
    assert {name: count for name, count in plain.items() if count} == {
        "right kept": 2, "wrong->right": 1, "wrong kept": 1
    }  # fmt: skip
    whole = numbers["labels"][WHOLE]["outcomes"]
    assert {name: count for name, count in whole.items() if count} == {"wrong->right": 2, "right->wrong": 1}
    table = render_consequence(found)
    assert max(map(len, table.splitlines())) <= 100
    assert "first to last" in table


def test_consequence_of_a_math_run_asks_the_one_grader(tmp_path):
    completion = (
        "<think>\nSo the answer is 0.5.\n\nWait, I forgot a factor. The answer is $\\frac{3}{4}$.\n\n"
        "Wait, that is $0.75$, yes.</think>\nThe answer is \\boxed{0.75}."
    )
    row = sample("p", 0, "correct", completion=completion, gold="\\frac{3}{4}", opens_thinking=False)
    found = consequence(write_run(tmp_path / "run", [row]), "simplerl")["benchmarks"]["aime24"]
    (label,) = set(found["labels"]) - {NO_MARK, WHOLE}
    outcomes = {name: count for name, count in found["labels"][label]["outcomes"].items() if count}
    assert outcomes == {"wrong->right": 1, "right kept": 1}


def test_every_candidate_is_what_its_grader_reads():
    assert as_completion("3 + 4", "countdown") == "answer : 3 + 4"
    assert boxed_answer(as_completion("\\frac{1}{2}", "math")) == "\\frac{1}{2}"


def test_bad_input_is_one_line(tmp_path, run):
    with pytest.raises(UserError, match="is not a prerl run"):
        consequence(tmp_path)
    with pytest.raises(UserError, match="no lexicon 'sael'"):
        consequence(run, "sael")
    with pytest.raises(UserError, match="holds no samples"):
        consequence(write_run(tmp_path / "empty", []))
    with pytest.raises(UserError, match="no samples of step 7"):
        consequence(run, step=7)
