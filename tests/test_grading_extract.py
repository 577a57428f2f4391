import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval.grading.extract import boxed_answer, final_line_answer, spoken

CASES = json.loads((Path(__file__).parent / "cases" / "boxes.json").read_text(encoding="utf-8"))
PIECES = st.sampled_from(
    [
        "\\boxed",
        "\\boxed{",
        "\\fbox{",
        "{",
        "}",
        "\\",
        "\\{",
        "3",
        " or ",
        ", ",
        "<think>",
        "</think>",
        "\n",
        "####",
        "A: ",
    ]
)
TEXT = st.one_of(st.text(), st.lists(PIECES).map("".join))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:40])
def test_the_answer_is_where_the_rule_says(case):
    assert boxed_answer(spoken(case["text"], case.get("opens_thinking", False)).text) == case["answer"]


@given(TEXT, st.booleans())
def test_any_text_has_an_answer_or_none(text, opens_thinking):
    outside = spoken(text, opens_thinking)
    assert outside.text in text
    answer = boxed_answer(outside.text)
    assert answer is None or answer.strip()


@given(TEXT)
def test_a_box_at_the_end_is_the_answer(text):
    closed = text.replace("\\", "").replace("{", "").replace("}", "")
    assert boxed_answer(closed + "\n\nSo: \\boxed{17}") == "17"


@given(TEXT)
def test_a_box_inside_unfinished_thinking_is_never_found(text):
    assert boxed_answer(spoken("<think>" + text.replace("</", "") + "\\boxed{17}").text) is None


@given(st.text(alphabet="ab12+- ", min_size=1).filter(str.strip))
def test_extraction_inverts_boxing(answer):
    assert boxed_answer(f"\\boxed{{{answer}}}") == answer.strip()
    assert boxed_answer(f"\\boxed{{{boxed_answer(f'$$ {chr(92)}boxed{{{answer}}} $$')}}}") == answer.strip()


@pytest.mark.parametrize(
    "piece",
    ["\\boxed{", "{", "}", "\\", "\\boxed{1} or ", "<think>", "</think>", "\\boxed 1", " ", "#", "\\boxed{{"],
)
def test_a_megabyte_of_babble_is_read(piece):
    """Quadratic work here would run into the suite's timeout: 10^12 steps."""
    babble = piece * (1_000_000 // len(piece))
    assert boxed_answer(spoken(babble).text + "\n. \\boxed{5}") in ("5", "1, 5")
    final_line_answer(babble)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("work\n#### 18", "18"),
        ("work\nA: 1,000", "1,000"),
        ("work\nAnswer: $5", "$5"),
        ("work\nA: 5\nmore", None),
        ("so the answer is 5", None),
        ("", None),
    ],
)
def test_final_lines(text, answer):
    assert final_line_answer(text) == answer
