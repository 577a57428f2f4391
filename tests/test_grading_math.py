import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval.grading import GradingPool
from prerl_eval.grading.math import (
    GOLD_CLASS,
    MAX_ANSWER,
    Pair,
    decide,
    read_completion,
    rules_of,
    stored_facts,
)
from prerl_eval.problems import Problem

CASES = json.loads((Path(__file__).parent / "cases" / "math_pairs.json").read_text(encoding="utf-8"))


def problem(gold, text="", **extra):
    return Problem("b", "0", text, gold, "math", extra)


@pytest.fixture(scope="module")
def pool():
    with GradingPool(2) as pool:
        yield pool


def grade(pool, gold, completion, finish_reason="stop", **extra):
    return pool.submit(problem(gold, **extra), completion, finish_reason=finish_reason).result()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['gold']} | {case['answer']}"[:70])
def test_pair(pool, case):
    posed = problem(case["gold"], case.get("text", ""), **case.get("extra", {}))
    verdict = pool.submit(posed, f"\\boxed{{{case['answer']}}}", finish_reason="stop").result()
    assert verdict.status == ("correct" if case["correct"] else "wrong")


@pytest.mark.parametrize(
    ("completion", "finish_reason", "status"),
    [
        ("\\boxed{5}", "stop", "correct"),
        ("\\boxed{6}", "stop", "wrong"),
        ("\\boxed{5}", "length", "correct"),
        ("the answer is 5", "stop", "unparsed"),
        ("the answer is 5", "length", "truncated"),
        ("<think> \\boxed{5}", "length", "truncated"),
        ("<think> \\boxed{5}", "stop", "unparsed"),
        ("<think> \\boxed{5}", "", "truncated"),
        ("no box", "", "unparsed"),
        ("\\boxed{" + "5" * (MAX_ANSWER + 1) + "}", "stop", "unparsed"),
        ("\\boxed{3} or maybe \\boxed{5}", "stop", "wrong"),
        ("\\boxed{5} or maybe \\boxed{3}", "stop", "wrong"),
    ],
)
def test_status(pool, completion, finish_reason, status):
    assert grade(pool, "5", completion, finish_reason).status == status


@pytest.mark.parametrize("gold", ["", "  ", "$$", "\\,", "\\frac{1}{2", "x" * 10_000])
def test_a_gold_that_cannot_judge_leaves_the_row_unscored(pool, gold):
    verdict = grade(pool, gold, "\\boxed{5}")
    assert verdict.status == "unscored"
    assert verdict.detail
    assert verdict.reward == 0.0


def test_the_looser_rule_takes_boxes_in_thinking():
    with GradingPool(accept_box_in_thinking=True) as loose:
        assert grade(loose, "5", "<think> \\boxed{5}", "length").status == "correct"
        assert grade(loose, "5", "<think> \\boxed{5} </think> \\boxed{6}").status == "wrong"


def test_a_final_line_counts_only_where_the_card_says_so(pool):
    assert grade(pool, "5", "A: 5").status == "unparsed"
    assert grade(pool, "5", "A: 5", answer_format="final-line").status == "correct"
    assert grade(pool, "1,000", "so\n#### 1000", answer_format="final-line").status == "correct"
    assert grade(pool, "5", "\\boxed{4}\nA: 5", answer_format="final-line").status == "wrong"


def test_equal_answers_share_a_class(pool):
    def key(answer):
        return grade(pool, "7", f"\\boxed{{{answer}}}").answer_class

    assert key("7") == key("7.0") == key("\\frac{14}{2}") == key("\\sqrt{49}") == GOLD_CLASS
    assert key("\\frac{1}{2}") == key("0.5") == key("\\frac{\\sqrt{4}}{4}") != GOLD_CLASS
    assert key("1, 2") == key("2, 1") != key("(1, 2)")
    assert key("x+1") != key("x+2")
    assert key("\\text{Friday}") == key("friday")


SIMPLE = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.fractions(max_denominator=10**6).map(lambda f: f"\\frac{{{f.numerator}}}{{{f.denominator}}}"),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**6), max_value=10**6, places=3).map(
        str
    ),
)
BABBLE = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "\\frac",
                "{",
                "}",
                "(",
                ")",
                "[",
                ",",
                "1",
                "\\text{",
                "\\pm",
                "=",
                "<",
                "\\cup",
                "%",
                "x",
                " ",
                "^",
                "_",
            ]
        )
    ).map("".join),
)


@given(SIMPLE)
def test_a_number_equals_itself_at_once(gold):
    assert (
        decide(
            Pair(gold, gold, read_completion(problem(gold), f"\\boxed{{{gold}}}", "stop", False, False).rules)
        ).status
        == "correct"
    )


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_integers_are_decided_at_once_and_exactly(gold, answer):
    pair = read_completion(problem(f"{gold:04d}"), f"\\boxed{{{answer:,}}}", "stop", False, False)
    assert decide(pair).status == ("correct" if gold == answer else "wrong")


@given(BABBLE)
def test_no_answer_makes_the_fast_path_raise(answer):
    found = read_completion(problem("\\frac{1}{2}"), f"\\boxed{{{answer}}}", "stop", False, False)
    if isinstance(found, Pair):
        verdict = decide(found)
        assert verdict is None or verdict.status in ("correct", "wrong")


def test_a_stored_row_keeps_whether_its_problem_speaks_of_percent():
    """Regrading sees the prompt, in which a system message may speak of percent."""
    problem = Problem("b", "1", "How many?", "18", "math")
    stored = Problem("b", "1", "Answer in percent or not. How many?", "18", "math", stored_facts(problem))
    assert not rules_of(problem).percent
    assert not rules_of(stored).percent
    asked = Problem("b", "2", "What percent?", "18", "math")
    assert rules_of(asked).percent
    assert rules_of(Problem("b", "2", "", "18", "math", stored_facts(asked))).percent
