"""One spelling for text, and the way back: equal to the rule applied to the whole text, offsets exact."""

import json
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from behavior.text import HYPHENS, INVISIBLE, QUOTES, fold, normalise, spell
from tests.conftest import REPO

CASES = json.loads((REPO / "tests/cases/behavior_text.json").read_text())

# Characters that change length, combine, compose, vanish or cannot be encoded.
ODD = "aEeş ’‑—–\u00ad\u0301\u0308\u0327\u0345\u200dßİ½…ﬁ\u1100\u1161\u11a8가ｶﾞ\ufe0fΩΐᾳ\n\t\r?"
ODD += "\u0bc6\u0bbe\u09c7\u09be\ud83d\u2028"
texts = st.text(st.one_of(st.sampled_from(ODD), st.characters()), max_size=14)


def whole_text_rule(text: str) -> str:
    """The definition, applied to a text as a whole: what `fold` does in pieces."""

    def plain(text: str) -> str:
        for kind, odd in QUOTES.items():
            text = re.sub(f"[{odd}]", kind, text)
        return re.sub(f"[{INVISIBLE}]", "", re.sub(f"[{HYPHENS}]", "-", text))

    text = unicodedata.normalize("NFKC", plain(text)).casefold()
    return re.sub(r"\s", " ", plain(unicodedata.normalize("NFKC", text)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["raw"]))
def test_cases(case):
    assert normalise(case["raw"]).text == case["normal"]


@settings(max_examples=200, deadline=None)
@given(texts)
@example("e\u00ad\u0301")
@example("\u00ad\u0301…\u0301")
def test_folding_in_pieces_is_folding_as_a_whole(text):
    assert fold(text).text == whole_text_rule(text)
    assert normalise(text).text == re.sub(" +", " ", whole_text_rule(text))


@settings(max_examples=200, deadline=None)
@given(texts)
def test_each_character_leads_back_to_what_it_came_from(text):
    normal = normalise(text)
    reached = 0
    for at in range(len(normal.text)):
        start, end = normal.raw_span(at, at + 1)
        # In order, and nothing is skipped but what became nothing.
        assert start < end <= len(text)
        assert fold(text[min(reached, start) : start]).text.strip() == ""
        assert normalise(text[start:end]).text.find(normal.text[at]) >= 0
        reached = end
    assert fold(text[reached:]).text == ""


@settings(max_examples=200, deadline=None)
@given(texts, st.data())
def test_a_span_is_the_characters_between_its_ends(text, data):
    normal = normalise(text)
    start = data.draw(st.integers(0, len(normal.text)))
    end = data.draw(st.integers(start, len(normal.text)))
    if start < end:
        first, last = normal.raw_span(start, start + 1), normal.raw_span(end - 1, end)
        assert normal.raw_span(start, end) == (first[0], last[1])
        assert normal.text[start:end] in normalise(text[first[0] : last[1]]).text
    else:
        assert len(set(normal.raw_span(start, end))) == 1


def test_spans_of_a_known_text():
    raw = "So… Let\u2019s  think \n again, ﬁne."
    normal = normalise(raw)
    assert normal.text == "so... let's think again, fine."
    found = normal.text.index("think again")
    assert raw[slice(*normal.raw_span(found, found + len("think again")))] == "think \n again"
    found = normal.text.index("let's")
    assert raw[slice(*normal.raw_span(found, found + 5))] == "Let\u2019s"
    # The middle of what one character became leads to that character.
    assert raw[slice(*normal.raw_span(3, 4))] == "…"


def test_ascii_keeps_every_place():
    raw = "".join(map(chr, range(128)))
    assert fold(raw).maps == ()
    assert fold(raw).text == raw.lower().translate({i: " " for i in range(128) if chr(i).isspace()})
    assert spell(raw) == (raw, ())
