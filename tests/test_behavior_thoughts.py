"""Thoughts: split at blank lines, SEAL's labels, and equal to SEAL's rule on published traces."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.finding import Finder
from behavior.lexicon import load_lexicon
from behavior.thoughts import split_thoughts
from tests.conftest import REPO

CASES = json.loads((REPO / "tests/cases/behavior_thoughts.json").read_text())
SEAL = Finder(load_lexicon("seal"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["source"] + ": " + case["text"][:20])
def test_cases(case):
    found = SEAL.find(case["text"], case.get("prompt", ""))
    thoughts = [[case["text"][thought.start : thought.end], thought.label] for thought in found.thoughts]
    assert thoughts == case["thoughts"]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab \t\r\n\u00a0"), max_size=30))
def test_thoughts_are_what_stands_between_blank_lines(text):
    pieces = [text[start:end] for start, end in split_thoughts(text)]
    lines, expected = [], []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            expected.append("\n".join(lines).strip())
            lines = []
    assert pieces == expected


def test_without_masking_all_marks_label_thoughts():
    text = "x\n\n`verify`"
    assert [thought.label for thought in SEAL.find(text, mask=False).thoughts] == [None, "reflection"]


def seal_rule(thought: str) -> str | None:
    """As released: substrings of the lower-cased thought (its "differenly" spelled out)."""
    thought = thought.lower()
    reflecting = "verify,make sure,hold on,think again,'s correct,'s incorrect,let me check,seems right"
    if thought.startswith("wait") or any(words in thought for words in reflecting.split(",")):
        return "reflection"
    others = ("way", "approach", "method", "solution", "strategy", "technique")
    turning = ("think differently", *(f"another {other}" for other in others))
    if thought.startswith("alternatively") or any(words in thought for words in turning):
        return "transition"
    return None


def test_labels_of_published_traces_are_seals_but_for_parts_of_words(outputs):
    file = outputs / "math_runs" / "Sky-T1-math-reflection-1.0-32B--aime24.jsonl.gz"
    differing, thoughts = [], 0
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            for text in json.loads(line)["code"]:
                found = SEAL.find(text, mask=False)
                thoughts += len(found.thoughts)
                for thought in found.thoughts:
                    words = text[thought.start : thought.end]
                    if thought.label != seal_rule(words):
                        differing.append(words)
    assert thoughts > 5000
    assert len(differing) <= 5
    assert all("verifying" in words.lower() or words.startswith("-") for words in differing), differing
