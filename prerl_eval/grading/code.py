"""The code grader: which program a completion answers with, and what its tests say of it.

A chat's program is its last fenced block that defines the function, or its last block; the task's
prompt goes before one that lacks the definition. Text without any block is a base model's
completion of the prompt, up to the first stop string, or a whole program where it defines the
function. Covers the choice and the verdict; programs are run in prerl_eval.sandbox.

A problem of this grader has its tests as gold (Python that defines `check(candidate)`, or calls
the function by its name) and in `extra` an `entry_point` and a `prompt` of Python code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from prerl_eval.grading.extract import spoken
from prerl_eval.grading.math import CUT_OFF, GOLD_CLASS
from prerl_eval.grading.verdict import UNSCORED, Verdict
from prerl_eval.problems import Problem
from prerl_eval.sandbox import Job, Outcome, find_isolation

NAME = "code"
GRADER = "code/1"
"""Name and version, as sample rows record them."""

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n```")
"""Where a base model's completion of a function ends: the five of Chen et al. 2021 (arXiv 2107.03374,
section 2.1), and a fence, which later models write."""

MAX_PROGRAM = 100_000
"""Characters of a program beyond which it is no answer."""

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)

_BODY = re.compile(r"(?:[ \t]*\n)*(?:\t|  )[ \t]*[^\s`~]")
"""The beginning of a text that goes on with a function's body, whatever follows it: an indented line."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was found; what is left is to run it.

    answer: as the completion has it. fenced: it stood in a block, so it was meant as Python. cut:
    the completion was cut off inside it.
    """

    job: Job
    answer: str
    fenced: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. closed: False where the text ended inside it."""

    code: str
    language: str
    closed: bool


def read_program(problem: Problem, text: str, finish_reason: str, opens_thinking: bool) -> Verdict | Program:
    """The program to run, or the verdict of a completion without one."""
    name, prompt = problem.extra.get("entry_point"), str(problem.extra.get("prompt") or "")
    if not isinstance(name, str) or not name.isidentifier():
        return Verdict(UNSCORED, detail="the problem names no entry_point")
    if not problem.gold.strip():
        return Verdict(UNSCORED, detail="the problem has no tests")
    outside = spoken(text, opens_thinking)
    cut_off = finish_reason in CUT_OFF
    defines = re.compile(rf"^(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b|^{name}[ \t]*[:=]", re.MULTILINE)
    goes_on = bool(_BODY.match(outside.text))
    block = None if goes_on else _chosen(python_blocks(outside.text), defines)
    if block is not None:
        answer, cut = block.code, cut_off and not block.closed
        whole = bool(defines.search(answer))
    elif outside.thinking or not outside.text.strip():
        unfinished = cut_off or (outside.thinking and not finish_reason)
        return Verdict("truncated" if unfinished else "unparsed")
    else:
        whole = not goes_on and bool(defines.search(outside.text))
        answer, cut = (outside.text, cut_off) if whole else completed(outside.text, cut_off)
    if len(answer) > MAX_PROGRAM:
        return Verdict("unparsed", detail=f"a program of {len(answer)} characters")
    source = answer if whole else prompt + answer
    return Program(Job(source, name, problem.gold, prompt), answer, block is not None, cut)


def _chosen(blocks: list[Block], defines: re.Pattern[str]) -> Block | None:
    with_function = [block for block in blocks if defines.search(block.code)]
    found = with_function or blocks
    return found[-1] if found else None


def python_blocks(text: str) -> list[Block]:
    """The fenced blocks that name Python or no language; the last may be open at the end of the text."""
    return [block for block in fenced_blocks(text) if not block.language or block.language.startswith("py")]


def fenced_blocks(text: str) -> list[Block]:
    """Every fenced block (CommonMark 0.31, section 4.5; any indent, as models indent them in lists)."""
    blocks: list[Block] = []
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif fence[2].startswith(opening[2]) and not fence[3].strip():
            blocks.append(_block(opening, text[opening.end() + 1 : fence.start()], closed=True))
            opening = None
    if opening is not None:
        blocks.append(_block(opening, text[opening.end() + 1 :], closed=False))
    return blocks


def _block(opening: re.Match[str], code: str, closed: bool) -> Block:
    if opening[1]:
        code = re.sub(rf"^{opening[1]}", "", code, flags=re.MULTILINE)
    language = opening[3].strip().lstrip("{.").lower()
    return Block(code, language, closed)


def completed(text: str, cut_off: bool) -> tuple[str, bool]:
    """A base model's text up to the first stop string, and whether it was cut off before one."""
    ends = [place for place in (text.find(stop) for stop in STOPS) if place >= 0]
    return (text[: min(ends)], False) if ends else (text, cut_off)


def verdict_of(program: Program, outcome: Outcome) -> Verdict:
    """The verdict on a program that was run.

    Text without a fence that is no Python is no answer. A program that was cut off and fails is
    `truncated`: nobody knows how it would have gone on.
    """
    key = _class_of(program.answer)
    match outcome.said:
        case "pass":
            return Verdict("correct", program.answer, GOLD_CLASS)
        case "timeout":
            return Verdict("timeout", program.answer, key, outcome.detail)
        case "error":
            return Verdict("error", program.answer, key, outcome.detail)
        case "bad tests":
            return Verdict(UNSCORED, program.answer, detail="the tests are no Python or call no function")
    if program.cut:
        return Verdict("truncated")
    if outcome.said == "syntax" and not program.fenced:
        return Verdict("unparsed")
    return Verdict("wrong", program.answer, key)


def _class_of(code: str) -> str:
    """Programs that differ in blank lines and trailing blanks alone are one answer to a vote."""
    lines = "\n".join(line.rstrip() for line in code.splitlines() if line.strip())
    return hashlib.blake2b(lines.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def code_execution(graders: Iterable[str], unsafe: bool) -> str:
    """How model-written code will be run: "bubblewrap 0.8.0, numpy 2.4.6", "none (why), no numpy"; "" where
    none will be.

    graders: of all problems to come. Call it before anything is sampled: it raises UserError where
    code would be run, cannot be isolated, and `unsafe` does not allow that.
    """
    if NAME not in graders:
        return ""
    isolation = find_isolation(unsafe)
    numpy = f"numpy {metadata.version('numpy')}" if isolation.packages else "no numpy"
    return f"{isolation.name}, {numpy}"


def unisolated(execution: str) -> dict[str, bool]:
    """The setting that marks a run whose code was not isolated; {} for every other run."""
    return {"unisolated_code": True} if execution.startswith("none") else {}


def isolation_notes(execution: str) -> list[str]:
    """What a reader of the run should know of `code_execution`; [] where all is as it should be."""
    if not execution.startswith("none"):
        return []
    return [f"model-written code runs with this user's rights, within limits alone: isolation {execution}"]
