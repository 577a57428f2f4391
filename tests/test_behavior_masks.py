"""Masks: what is copied, code or mathematics, and nothing besides; any text has ordered masks."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.masks import COPY_WORDS, copied, mask_spans, merged
from behavior.text import fold
from tests.conftest import REPO

CASES = json.loads((REPO / "tests/cases/behavior_masks.json").read_text())
PIECES = [
    "$",
    "$$",
    "`",
    "``",
    "```",
    "~~~",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "\\$",
    "\\\\",
    "wait",
    "x",
    '"',
    "“",
]
PIECES += ["\\begin{align}", "\\end{align}", "[asy]", "[/asy]", "链", "é"]
texts = st.lists(st.sampled_from([*PIECES, "\n", "\n\n", " ", "one two three four five six"]), max_size=20)


def masks_of(text, prompt=""):
    return mask_spans(text, fold(text), prompt)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["source"] + ": " + case["text"][:20])
def test_cases(case):
    spans = masks_of(case["text"], case.get("prompt", ""))
    assert [case["text"][start:end] for start, end in spans] == case["masked"]


@settings(max_examples=200, deadline=None)
@given(texts.map("".join), st.sampled_from(["", "one two three four five six", "x wait é 链 one two"]))
def test_masks_are_ordered_and_apart(text, prompt):
    ends = [at for span in masks_of(text, prompt) for at in span]
    assert all(0 <= at <= len(text) for at in ends)
    assert ends == sorted(set(ends))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["ja", "nein", "wait", "42", "é", "x_1"]), min_size=COPY_WORDS, max_size=12))
def test_a_whole_copy_is_masked_wherever_it_stands(words):
    prompt = "System: solve. " + ", ".join(words) + "!"
    copy = " ".join(words).upper()
    text = f"So: {copy}; done"
    (span,) = [span for span in masks_of(text, prompt) if span[0] <= 4]
    assert (span[0], span[1]) == (4, 4 + len(copy))


letters = st.lists(st.sampled_from("abcx"), max_size=40)


@settings(max_examples=300, deadline=None)
@given(letters, letters, st.integers(0, 40))
def test_copies_are_what_a_plain_search_finds(prompt, text, at):
    text = text[:at] + prompt[3:12] + text[at:]
    runs = [prompt[at : at + COPY_WORDS] for at in range(len(prompt) - COPY_WORDS + 1)]
    # Words of one letter: word number n begins at character 2n.
    expected = {
        char
        for at in range(len(text) - COPY_WORDS + 1)
        if text[at : at + COPY_WORDS] in runs
        for char in range(2 * at, 2 * (at + COPY_WORDS) - 1)
    }
    spans = copied(fold(" ".join(text)), " ".join(prompt))
    assert {char for start, end in spans for char in range(start, end)} == expected


def test_merged_spans_cover_the_same_ground():
    assert merged([(5, 7), (0, 3), (2, 4), (4, 4), (7, 9), (12, 12)]) == [(0, 4), (5, 9)]
