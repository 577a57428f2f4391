"""Where a completion states its answer: after the thinking, in the last complete box.

Covers thinking blocks, `\\boxed`/`\\fbox`, answers spread over several boxes, and the final line of
GSM8K. Every function is linear in the length of the text, whatever the text is. Does not judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

THINKING = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
)
"""Opening and closing marks of the thinking block: Qwen/DeepSeek, older tunes, Sky-T1, Magistral."""

_MARK = re.compile("|".join(re.escape(mark) for pair in THINKING for mark in pair))
_OPENING = frozenset(opening for opening, _ in THINKING)
_TOKEN = re.compile(r"\\{1,2}(?:boxed|fbox)(?![A-Za-z])\s{0,4}(?P<brace>\{)?|\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"[^\s{}$\\]{1,100}")
_JOIN = re.compile(
    r"(?:[\s,;:.$*]|\\[()\[\],;!]|\\q?quad|\\text|\\mathrm|[{}]"
    r"|\b(?:and|or|either|maybe|perhaps|possibly|alternatively|also|else)\b){1,60}",
    re.IGNORECASE,
)
_CONNECTIVE = re.compile(r"[,;]|\b(?:and|or|maybe|perhaps|possibly|alternatively|else)\b", re.IGNORECASE)
_FINAL_LINE = re.compile(r"(?:####|(?:A|Answer)\s*:)\s*(?P<answer>\S.{0,199})", re.IGNORECASE)

MAX_BOXES = 64
"""Boxes that can be one answer together."""

MAX_GAP = 80
"""Characters between two boxes beyond which they are never one answer."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a completion says outside its thinking.

    text: everything after the last closed thinking block, up to one that opens after it.
    thinking: the completion ends inside an open thinking block.
    """

    text: str
    thinking: bool


def spoken(completion: str, opens_thinking: bool = False) -> Spoken:
    """Split the thinking off. `opens_thinking`: the prompt ended inside an open thinking block.

    A closing mark counts even where no opening one is seen: the prompt may have held it. Text before
    an unclosed opening mark was said outside the thinking and is kept.
    """
    start, inside, opened_at = 0, opens_thinking, 0
    for mark in _MARK.finditer(completion):
        if mark.group() not in _OPENING:
            start, inside = mark.end(), False
        elif not inside:
            inside, opened_at = True, mark.start()
    return Spoken(completion[start : opened_at if inside else len(completion)], inside)


@dataclass(frozen=True, slots=True)
class _Box:
    start: int
    end: int
    content: str


def _boxes(text: str) -> list[_Box]:
    """Every complete, non-empty box in order of its start; a box around boxes gives way to them."""
    found: list[_Box] = []
    open_braces: list[tuple[int, int] | None] = []
    for token in _TOKEN.finditer(text):
        symbol = token.group()
        if symbol == "{":
            open_braces.append(None)
        elif symbol == "}":
            box = open_braces.pop() if open_braces else None
            if box is not None and not (found and found[-1].start > box[0]):
                _keep(found, box[0], token.end(), text[box[1] : token.start()])
        elif token["brace"]:
            open_braces.append((token.start(), token.end()))
        elif symbol.lstrip("\\").startswith(("boxed", "fbox")):
            bare = _BARE.match(text, token.end())
            if bare:
                _keep(found, token.start(), bare.end(), bare.group().rstrip(".,;:)"))
    return found


def _keep(found: list[_Box], start: int, end: int, content: str) -> None:
    if content.strip():
        found.append(_Box(start, end, content.strip()))


def boxed_answer(text: str) -> str | None:
    """The content of the last complete box, or None.

    Boxes of one sentence that only a comma, "and", "or" or a hedge joins are one answer, a list:
    `\\boxed{2} or \\boxed{-2}` answers "2, -2", and so `\\boxed{3} or maybe \\boxed{4}` is the list
    "3, 4", which equals neither 3 nor 4. Repeats of one box count once.
    """
    if "boxed" not in text and "fbox" not in text:
        return None
    found = _boxes(text)
    return _answer(text, found) if found else None


def boxed_answers(text: str) -> list[tuple[int, int, str]]:
    """Every boxed answer as (start, end, answer) of its boxes in the text, boxes joined as above."""
    answers: list[tuple[int, int, str]] = []
    joined: list[_Box] = []
    for box in _boxes(text):
        if joined and not _one_answer(text, joined[-1], box):
            answers.append((joined[0].start, joined[-1].end, _answer(text, joined)))
            joined = []
        joined.append(box)
    if joined:
        answers.append((joined[0].start, joined[-1].end, _answer(text, joined)))
    return answers


def _answer(text: str, found: list[_Box]) -> str:
    """What the last of the boxes answers, with those before it that belong to it."""
    answer = [found[-1].content]
    found = found[-MAX_BOXES:]
    for before, after in zip(reversed(found[:-1]), reversed(found[1:]), strict=True):
        if not _one_answer(text, before, after):
            break
        if before.content not in answer:
            answer.insert(0, before.content)
    return ", ".join(answer)


def _one_answer(text: str, before: _Box, after: _Box) -> bool:
    gap = text[before.end : after.start]
    return bool(
        0 < len(gap) <= MAX_GAP and _JOIN.fullmatch(gap) and _CONNECTIVE.search(gap) and ". " not in gap
    )


def final_line_answer(text: str) -> str | None:
    """The answer of a last line "#### N", "A: N" or "Answer: N" (GSM8K's own forms), or None."""
    line = text.rstrip()[-400:].rsplit("\n", 1)[-1].strip()
    match = _FINAL_LINE.search(line) if "####" in line else _FINAL_LINE.match(line)
    return match["answer"].strip() if match else None
