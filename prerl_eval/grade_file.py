"""`prerl-eval grade`: generations of any tool -> a graded run that every other command reads.

The file is read twice: once to check every row, so that bad input writes nothing, and once to
grade. Both passes stream. A killed import goes on where it stopped when the same command is given
again. Does not cover reading files (prerl_eval.generations) or finding problems
(prerl_eval.matching).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerl_eval import provenance, store
from prerl_eval.cards import Card, load_card
from prerl_eval.console import progress
from prerl_eval.errors import UserError
from prerl_eval.generations import field_names, file_hash, find, finish_reasons, read_rows
from prerl_eval.grading import GradingPool, Verdict
from prerl_eval.grading.code import code_execution, isolation_notes, unisolated
from prerl_eval.grading.math import CUT_OFF
from prerl_eval.matching import Matcher
from prerl_eval.problems import Problem, load_problems
from prerl_eval.rows import graded_row
from prerl_eval.run_lock import RunLock
from prerl_eval.run_record import SCHEMA_VERSION, differing_keys, holds_other_files, read_record, write_record
from prerl_eval.store import SampleRow

IN_FLIGHT = 2048
"""Samples that may wait for their verdicts: bounds memory."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One response of the file. finish_reason: "" where the file does not say how it ended."""

    problem: Problem
    sample_index: int
    text: str
    finish_reason: str


def grade_file(
    file: Path,
    bench: str,
    *,
    response_field: str,
    out: Path,
    gold_field: str | None = None,
    problem_field: str | None = None,
    data_root: Path | None = None,
    accept_box_in_thinking: bool = False,
    unsafe_code_execution: bool = False,
    workers: int | None = None,
) -> Path:
    """Grade a file of generations into the run folder `out`; returns `out`.

    bench: card name or path; its grader judges. response_field: dotted path of the response or of a
    list of them. gold_field: the rows' own golds, else the card's. problem_field: the card's
    problem id or text, found by name where not given (see Matcher). A field `finish_reason`, beside
    the response or at the top of the row, is taken over. Token counts are unknown and stored as 0.
    Raises UserError for bad input, before anything is written.
    """
    card = load_card(bench)
    execution = code_execution([card.grader], unsafe_code_execution)
    matcher = Matcher(card, load_problems(card, data_root, shots=False), file, gold_field, problem_field)
    counts = Counter(item.problem.problem_id for item in _generations(file, response_field, matcher))
    settings = {
        "engine": "import",
        "file": file.name,
        "sha256": file_hash(file),
        "response_field": response_field,
        "gold_field": gold_field,
        "problem_field": matcher.problem_field,
        "accept_box_in_thinking": accept_box_in_thinking,
        **unisolated(execution),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    run_id = f"{file.name.split('.')[0]}-{digest}"
    _check_out(out, settings, card)
    rules = {"accept_box_in_thinking": accept_box_in_thinking, "unsafe_code": unsafe_code_execution}
    with RunLock(out), GradingPool(workers, **rules) as pool:
        _check_out(out, settings, card)  # again: another import may just have ended there
        stored = _begin(out, run_id, settings, card, counts, execution)
        for note in matcher.notes(len(counts)) + isolation_notes(execution):
            print(f"note: {note}", file=sys.stderr)
        with progress(file.name, counts.total(), len(stored)) as advance:
            writer = store.PartWriter(out, time.monotonic)
            for row in _graded(file, response_field, matcher.again(), stored, pool, run_id):
                writer.append([row])
                advance()
            writer.flush()
    return out


def _check_out(out: Path, settings: dict[str, Any], card: Card) -> None:
    if (out / "run.json").exists():
        record = read_record(out)
        cards = {f"card {name}": facts["card_hash"][:8] for name, facts in record["benchmarks"].items()}
        different = differing_keys(
            record["settings"] | cards, settings | {f"card {card.name}": card.hash[:8]}
        )
        if different:
            raise UserError(f"{out} holds another run ({'; '.join(different)}); give another --out")
    elif out.exists() and (not out.is_dir() or holds_other_files(out)):
        raise UserError(f"{out} holds files but no prerl run; give an empty or new --out")


def _begin(
    out: Path, run_id: str, settings: dict[str, Any], card: Card, counts: Counter[str], execution: str
) -> set[tuple[str, int]]:
    """Write run.json where there is none; returns the (problem id, sample index) that are stored."""
    if (out / "run.json").exists():
        return {(problem, index) for _, problem, index, _ in store.stored_keys(out)}
    benchmark = {
        **card.describe(),
        "card_hash": card.hash,
        # Uneven numbers of samples are the file's own: nothing is missing.
        "n": max(counts.values()) if len(set(counts.values())) == 1 else None,
        "limit": None,
        "problems": len(counts),
        "max_tokens": None,
    }
    code = {"code_execution": execution} if execution else {}
    record = {
        "schema": SCHEMA_VERSION,
        "run_id": run_id,
        "created": provenance.now(),
        "settings": settings,
        "benchmarks": {card.name: benchmark},
        "sessions": [provenance.session({"name": "import"}) | code],
    }
    write_record(out, record)
    return set()


def _generations(file: Path, response_field: str, matcher: Matcher) -> Iterator[Generation]:
    """Every response of the file in order; raises UserError at the first row that is wrong."""
    indices: Counter[str] = Counter()
    for number, row in enumerate(read_rows(file)):
        responses = _responses(file, number, row, response_field)
        reasons = _finish_reasons(row, response_field, len(responses))
        problem = matcher.problem(number, row)
        for text, reason in zip(responses, reasons, strict=True):
            yield Generation(problem, indices[problem.problem_id], text, reason)
            indices[problem.problem_id] += 1


def _responses(file: Path, number: int, row: dict[str, Any], field: str) -> list[str]:
    value = find(row, field)
    if value is None and field in field_names(row):
        raise UserError(
            f'{file} row {number}: field {field!r} (--response-field) is null; drop the row, or write "" '
            "where the model answered nothing"
        )
    if value is None:
        names = ", ".join(field_names(row))
        raise UserError(f"{file} row {number}: no field {field!r} (--response-field); it has: {names}")
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        kinds = ", ".join(sorted({type(text).__name__ for text in texts})) or "an empty list"
        raise UserError(
            f"{file} row {number}: field {field!r} holds {kinds}; name a field of text or a list of texts"
        )
    return list(texts)


def _finish_reasons(row: dict[str, Any], field: str, count: int) -> list[str]:
    # Other tools' words for a cut response ("MAX_TOKENS") are stored as ours, which the summary counts.
    reasons = finish_reasons(row, field, count)
    return ["length" if reason.lower() in CUT_OFF else reason for reason in reasons]


def _graded(
    file: Path, field: str, matcher: Matcher, stored: set[tuple[str, int]], pool: GradingPool, run_id: str
) -> Iterator[SampleRow]:
    waiting: deque[tuple[Generation, Future[Verdict]]] = deque()
    for item in _generations(file, field, matcher):
        if (item.problem.problem_id, item.sample_index) in stored:
            continue
        waiting.append((item, pool.submit(item.problem, item.text, finish_reason=item.finish_reason)))
        while waiting and (len(waiting) >= IN_FLIGHT or waiting[0][1].done()):
            yield _row(run_id, *_pop(waiting))
    while waiting:
        yield _row(run_id, *_pop(waiting))


def _pop(waiting: deque[tuple[Generation, Future[Verdict]]]) -> tuple[Generation, Verdict]:
    item, future = waiting.popleft()
    return item, future.result()


def _row(run_id: str, item: Generation, verdict: Verdict) -> SampleRow:
    return graded_row(
        run_id,
        item.problem,
        verdict,
        sample_index=item.sample_index,
        prompt=item.problem.text,
        completion=item.text,
        finish_reason=item.finish_reason,
    )
