"""What is found: equal to one `re` pass per phrase on any text and on published traces; masks; counts."""

import gzip
import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from behavior.finding import Finder
from behavior.lexicon import Lexicon, Phrase, load_lexicon, preset_names
from behavior.text import normalise
from tests.conftest import REPO

CASES = json.loads((REPO / "tests/cases/behavior_finding.json").read_text())
FINDERS = {name: Finder(load_lexicon(name)) for name in preset_names()}

# Phrases that overlap themselves and each other, with and without boundaries, in and outside ASCII.
AWKWARD = ("wait", "wait wait", "'s it", "it's", "a a a", "let me", "me let", "me", "a-a", "(a)")
BEYOND = (*AWKWARD, "really?", "naïve", "检查", "查查")
PIECES = [
    "wait",
    "Wait",
    "a",
    " ",
    "  ",
    "\n",
    "\n\n",
    "'",
    "’",
    "s",
    "it",
    "let",
    "me",
    "-",
    "‑",
    "(",
    ")",
    "_",
]
PIECES += [
    "é",
    "\u0301",
    "\u00ad",
    "…",
    "ß",
    "really",
    "?",
    "nai\u0308ve",
    "检",
    "查",
    "$",
    "`",
    "\ud83d",
    "9",
]


def lexicon_of(texts):
    """Boundaries at letters, but not at Han: as behavior.lexicon sets them."""
    phrases = [
        Phrase(t, "anywhere", *(bool(re.match(r"[a-zï_]", end)) for end in (t[0], t[-1]))) for t in texts
    ]
    return Lexicon("awkward", "1", "tests", "occurrences", "occurrences", {"any": tuple(phrases)})


def one_pass_each(lexicon, text):
    """[(start, end, phrase)] by `re`, on the normalised text, sorted: the plain way."""
    normal = normalise(text)
    rows = []
    for _, phrase in lexicon.entries():
        before, after = r"(?<!\w)" if phrase.before else "", r"(?!\w)" if phrase.after else ""
        for match in re.finditer(before + re.escape(phrase.text) + after, normal.text):
            rows.append((*normal.raw_span(*match.span()), phrase.text))
    return sorted(rows)


def assert_equal_to_re(finder, text, prompt=""):
    expected = one_pass_each(finder.lexicon, text)
    found = finder.find(text, prompt)
    assert sorted((mark.start, mark.end, mark.phrase) for mark in found.marks) == expected
    counts = {phrase.text: 0 for _, phrase in finder.lexicon.entries()}
    for _, _, phrase in expected:
        counts[phrase] += 1
    assert found.phrases == counts
    assert finder.count(text) == counts
    return len(expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["source"] + ": " + case["text"][:20])
def test_cases(case):
    finder = FINDERS[case["lexicon"]]
    found = finder.find(case["text"], case.get("prompt", ""))
    assert {phrase: count for phrase, count in found.phrases.items() if count} == case["phrases"]
    unmasked = [mark.phrase for mark in found.marks if not mark.masked]
    assert {phrase: unmasked.count(phrase) for phrase in unmasked} == case.get("unmasked", case["phrases"])
    assert_equal_to_re(finder, case["text"], case.get("prompt", ""))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join), st.sampled_from([AWKWARD, BEYOND]))
@example("wait wait wait", AWKWARD)
@example("a  a a a a", AWKWARD)
@example("检查查查查", BEYOND)
@example("really\ud83d", BEYOND)
def test_any_text_is_found_as_re_finds_it(text, phrases):
    assert_equal_to_re(Finder(lexicon_of(phrases)), text)


def test_a_phrase_that_overlaps_itself_counts_as_for_re():
    counts = Finder(lexicon_of(AWKWARD)).count("wait wait wait wait")
    assert (counts["wait"], counts["wait wait"]) == (4, 2)


def test_marks_carry_label_raw_offsets_and_mask():
    text = "Hmm… think\nagain.\n\nAlternatively, `verify`"
    marks = FINDERS["seal"].find(text).marks
    assert [(mark.label, mark.phrase, text[mark.start : mark.end], mark.masked) for mark in marks] == [
        ("reflection", "think again", "think\nagain", False),
        ("transition", "alternatively", "Alternatively", False),
        ("reflection", "verify", "verify", True),
    ]
    assert FINDERS["seal"].find(text).labels() == {"reflection": 1, "transition": 1}
    assert FINDERS["seal"].find(text, mask=False).labels() == {"reflection": 2, "transition": 1}


def test_masked_share_is_of_all_characters():
    found = FINDERS["seal"].find("ab $x$ é…")
    assert found.masked_share == 3 / 9
    assert FINDERS["seal"].find("ab $x$", mask=False).masked_share == 0
    assert FINDERS["seal"].find("").masked_share == 0


def test_counts_of_many_texts_are_sums():
    texts = [case["text"] for case in CASES]
    total = FINDERS["seal"].count_many(iter(texts))
    assert total == {phrase: sum(FINDERS["seal"].count(text)[phrase] for text in texts) for phrase in total}
    assert total["wait"] > 9


def published_traces(outputs):
    for file in sorted((outputs / "math_runs").glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                yield from ((text, row["question"]) for text in row["code"])
    with gzip.open(
        outputs / "thought_anchors_labelled_cot" / "traces.jsonl.gz", "rt", encoding="utf-8"
    ) as lines:
        for row in map(json.loads, lines):
            yield row["base_solution"]["solution"], row["base_solution"]["prompt"]


@pytest.mark.parametrize("name", preset_names())
def test_published_traces_are_found_as_re_finds_them(outputs, name):
    occurrences = 0
    for number, (text, prompt) in enumerate(published_traces(outputs)):
        if number % 25 == 0:
            occurrences += assert_equal_to_re(FINDERS[name], text, prompt)
    assert occurrences > 0
