"""The judge's parts that handle text: prompt, replies, chunks, quotes."""

import gzip
import json
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.judge import prompt
from behavior.judge.chunks import Chunk, split
from behavior.judge.locate import Located, locate, without_repeats
from behavior.judge.prompt import DEFINITIONS, LABELS, SYSTEM, messages
from behavior.judge.schema import MAX_FINDINGS, SCHEMA, Finding, read_reply, usage
from tests.conftest import REPO

CASES = REPO / "tests" / "cases"
REPLIES = json.loads((CASES / "behavior_replies.json").read_text())
QUOTES = json.loads((CASES / "behavior_quotes.json").read_text())


def body(content, finish_reason="stop", **message):
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case["name"])
def test_replies(case):
    content = "[" * 100_000 if case["content"] == "NESTED" else case["content"]
    message = {"refusal": case["refusal"]} if "refusal" in case else {}
    reply = read_reply(body(content, case.get("finish_reason", "stop"), **message))
    assert reply.status == case["status"]
    assert [[finding.label, finding.quote] for finding in reply.findings] == case.get("findings", [])
    assert bool(reply.detail) == (reply.status != "ok")
    assert len(reply.detail) <= 200


def test_a_full_list_is_told_and_a_longer_one_invalid():
    entry = {"label": "verification", "quote": "so it is"}
    full = read_reply(body(json.dumps({"findings": [entry] * MAX_FINDINGS})))
    assert full.status == "ok"
    assert full.full
    assert read_reply(body(json.dumps({"findings": [entry] * (MAX_FINDINGS + 1)}))).status == "invalid"


BODIES = ["", "<html>", "null", "[]", "3", '{"choices": []}', '{"choices": [3]}', '{"choices": {"0": 1}}']
BODIES += ['{"choices": [{"message": null}]}', '{"error": {"message": "overloaded"}}', "[" * 100_000]


@pytest.mark.parametrize("raw", BODIES, ids=lambda raw: raw[:30])
def test_a_body_that_is_no_completion_is_invalid_and_bills_nothing_known(raw):
    assert read_reply(raw).status == "invalid"
    assert usage(raw) is None


@given(
    st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps)
)
@settings(max_examples=100, deadline=None)
def test_no_body_raises(raw):
    assert read_reply(raw).status in ("invalid", "ok")
    assert read_reply(body(raw)).status in ("invalid", "ok")
    usage(raw)


def test_usage_is_what_the_server_states_or_nothing():
    assert usage(body("")) == (7, 2)
    for stated in ({}, {"prompt_tokens": 7}, {"prompt_tokens": 7, "completion_tokens": None}):
        assert usage(json.dumps({"usage": stated})) is None
    assert usage('{"usage": {"prompt_tokens": -1, "completion_tokens": 2}}') is None
    assert usage('{"usage": {"prompt_tokens": true, "completion_tokens": 2}}') is None


def test_schema_and_prompt_name_the_same_labels():
    assert SCHEMA["properties"]["findings"]["items"]["properties"]["label"]["enum"] == list(LABELS)
    assert LABELS == ("subgoal_setting", "enumeration", "verification", "backtracking")
    assert all(meaning in SYSTEM for meaning in DEFINITIONS.values())


def test_definitions_are_neutral():
    hopes = r"\b(good|better|should|healthy|desirable|aha|GRPO|RL|trained|correct answer|effective)\b"
    assert [re.findall(hopes, meaning) for meaning in DEFINITIONS.values()] == [[]] * 4


def test_the_prompt_hash_covers_every_word_that_is_asked(monkeypatch):
    before = prompt.prompt_hash()
    assert re.fullmatch("[0-9a-f]{16}", before)
    for name in ("SYSTEM", "USER", "PROMPT_VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(prompt, name, getattr(prompt, name) + " ")
            assert prompt.prompt_hash() != before


@given(st.text(), st.text(min_size=1))
@settings(max_examples=50, deadline=None)
def test_the_trace_stands_alone_between_lines_that_it_cannot_forge(problem, text):
    system, user = messages(problem, text, Chunk(0, 1, 0, len(text)))
    assert system["content"] == SYSTEM
    nonce = re.match(r"The marker of this request is (\w{16})\.\n", user["content"])[1]
    assert user["content"].count(nonce) == 5
    inside = user["content"].split(f"[{nonce} trace, part 1 of 1]\n")[1].split(f"\n[{nonce} end of trace]")[0]
    assert inside == text


def test_markers_differ_between_traces_and_parts():
    def marker(text, index):
        return messages("p", text, Chunk(index, 2, 0, len(text)))[1]["content"].split("\n")[0]

    assert len({marker("a", 0), marker("a", 1), marker("b", 0)}) == 3
    assert marker("a", 0) == marker("a", 0)


STEPS = st.lists(
    st.sampled_from(["a b c. d e", "\n", "\n\n", "word ", "x" * 30, "答案是", "\n \n", ". "])
).map("".join)


@given(STEPS, st.integers(10, 60), st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_chunks_cover_the_trace_within_their_size_and_overlap(text, size, overlap):
    chunks = split(text, size, overlap)
    if not text.strip():
        assert chunks == ()
        return
    assert chunks[0].start == 0
    assert chunks[-1].end == len(text)
    assert [(chunk.index, chunk.count) for chunk in chunks] == [(i, len(chunks)) for i in range(len(chunks))]
    assert all(0 < chunk.end - chunk.start <= size for chunk in chunks)
    for one, other in pairwise(chunks):
        assert one.start < other.start <= one.end < other.end
        assert one.end - other.start <= overlap


def test_chunks_are_cut_where_steps_end():
    text = "step one is here.\n\nstep two is longer. It goes on.\n\nstep three."
    spans = [text[chunk.start : chunk.end] for chunk in split(text, 52, 34)]
    assert spans == [
        "step one is here.\n\nstep two is longer. It goes on.\n\n",
        "step two is longer. It goes on.\n\nstep three.",
    ]
    overlapping = "one two three four five six seven eight nine ten"
    spans = [overlapping[chunk.start : chunk.end] for chunk in split(overlapping, 30, 9)]
    assert spans == ["one two three four five six ", "five six seven eight nine ten"]
    assert len(split("word " * 5000)) == 3


@pytest.mark.parametrize("case", QUOTES, ids=lambda case: case["name"])
def test_quotes(case):
    text = case["text"]
    start, end = case.get("chunk", (0, len(text)))
    found, lost = locate([Finding("verification", case["quote"])], text, Chunk(0, 1, start, end))
    if case["place"] is None:
        assert found == []
        assert [finding.quote for finding in lost] == [case["quote"]]
    else:
        first, last = case["place"]
        assert found == [Located("verification", first, last, text[first:last])]
        assert lost == []


@given(st.text(min_size=1, max_size=80), st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_copied_from_a_trace_is_found_where_it_says_so(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    found, _ = locate([Finding("verification", text[start:end])], text, Chunk(0, 1, 0, len(text)))
    for mark in found:
        assert mark.quote == text[mark.start : mark.end] == text[start:end].strip()


def test_a_repeated_quote_takes_the_next_place_and_no_more_than_there_are():
    text = "Check it. No. Check it. No."
    claims = [Finding("verification", "Check it")] * 3 + [Finding("backtracking", "Check it")]
    found, lost = locate(claims, text, Chunk(0, 1, 0, len(text)))
    assert [(mark.label, mark.start) for mark in found] == [
        ("verification", 0),
        ("verification", 14),
        ("backtracking", 0),
    ]
    assert lost == []


def test_what_two_chunks_both_found_counts_once():
    text = "0123456789" * 3

    def mark(label, start, end):
        return Located(label, start, end, text[start:end])

    same = [mark("verification", 4, 10), mark("verification", 4, 10), mark("verification", 6, 11)]
    apart = [mark("verification", 10, 20), mark("backtracking", 4, 10), mark("verification", 18, 30)]
    assert without_repeats(same + apart) == [
        mark("backtracking", 4, 10),
        mark("verification", 4, 10),
        mark("verification", 10, 20),
        mark("verification", 18, 30),
    ]


DISTORTED = {
    "verbatim": (True, lambda quote: quote),
    "white space joined": (True, lambda quote: " ".join(quote.split())),
    "typographic": (True, lambda quote: quote.replace("'", "’").replace("-", "‑")),
    "lower case": (True, str.lower),
    "a word changed": (False, lambda quote: re.sub(r"\b(the|is|a|we|of)\b", "that", quote, count=1)),
    "dots": (False, lambda quote: f"{quote[: len(quote) // 3]}...{quote[2 * len(quote) // 3 :]}"),
}


def test_sentences_of_real_traces_are_found_in_place_and_changed_ones_nowhere(outputs):
    file = outputs / "math_runs" / "Sky-T1-math-reflection-0.2-32B--aime24.jsonl.gz"
    with gzip.open(file, "rt") as lines:
        texts = [json.loads(line)["code"][0] for line in lines]
    tried = Counter()
    for number, text in enumerate(texts):
        chunks = split(text)
        chunk = chunks[number % len(chunks)]
        sentences = re.finditer(r"(?<!\w)[^.!?\n][^.!?]{20,180}[.!?]", text[chunk.start : chunk.end])
        for match in list(sentences)[:5]:
            for name, (is_there, distort) in DISTORTED.items():
                quote = distort(match[0])
                if quote == match[0] and name != "verbatim":
                    continue
                tried[name] += 1
                found, _ = locate([Finding("verification", quote)], text, chunk)
                assert [mark.quote.split() for mark in found] == [match[0].split()] * is_there
    assert min(tried[name] for name in DISTORTED) >= 20
