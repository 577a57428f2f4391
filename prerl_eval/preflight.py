"""`prerl-eval list` and `prerl-eval check`: what is known before a run, and whether it holds.

Covers golds that must grade themselves as right, empty and repeated problems, and for a checkpoint
the first prompt and the stop ids. Oddities are reported, failures make the check fail. Returns
dictionaries that are JSON as they stand, and renders them as plain text. Runs no model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prerl_eval.answer_positions import answer_positions, uneven_positions
from prerl_eval.cards import Card, resolve_benchmarks, shipped_cards
from prerl_eval.checkpoint import Checkpoint, open_checkpoint
from prerl_eval.data_rows import HubUnreachable, hub_unreachable
from prerl_eval.errors import UserError
from prerl_eval.grading import GradingPool
from prerl_eval.grading.code import code_execution, isolation_notes
from prerl_eval.layout import shorten
from prerl_eval.notations import ODDITIES, completions
from prerl_eval.problems import Problem, load_problems
from prerl_eval.prompts import PromptBuilder, check_lengths, fill

SHOWN = 5
"""Examples of a kind that the text report names; the JSON report has all."""


def list_cards() -> list[dict[str, Any]]:
    """One row per shipped card: where it comes from and what a run would use."""
    return [
        {
            "name": card.name,
            "title": card.title or card.name,
            "source": _source(card),
            "split": card.split,
            "problems": list(card.rows),
            "n": card.n,
            "max_tokens": card.max_tokens,
            "groups": [*card.groups, *(["all"] if card.in_all else [])],
            "grader": card.grader,
            "licence": card.licence,
            "citation": card.citation,
        }
        for card in shipped_cards()
    ]


def render_list(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of list_cards as a table."""
    header = ("name", "problems", "n", "max tokens", "groups", "source")
    cells = [
        (
            row["name"],
            "/".join(map(str, row["problems"])),
            str(row["n"]),
            str(row["max_tokens"]),
            " ".join(row["groups"]) or "(training)",
            f"{row['source']} {row['split']}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (header, *cells)) for column in range(len(header))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in (header, *cells)
    ]
    return "\n".join(line.rstrip() for line in lines)


def preflight(
    bench: Sequence[str],
    ckpt: str | None = None,
    data_root: Path | None = None,
    workers: int | None = None,
    unsafe_code_execution: bool = False,
) -> dict[str, Any]:
    """Check benchmarks, and with `ckpt` how that checkpoint would be asked.

    Returns {ok, benchmarks: {name: ...}, checkpoint}: `ok` is False exactly where some `failures`
    list is not empty. A set that cannot be read is a failure beside those that can; raises UserError
    where none of them can, or where the checkpoint cannot.
    """
    cards = resolve_benchmarks(bench)
    checkpoint = open_checkpoint(ckpt) if ckpt else None
    builder = PromptBuilder(checkpoint) if checkpoint else None
    report: dict[str, Any] = {"ok": True, "benchmarks": {}, "checkpoint": None}
    unread: list[UserError] = []
    with GradingPool(workers, unsafe_code=unsafe_code_execution) as pool:
        for card in cards:
            try:
                execution = code_execution([card.grader], unsafe_code_execution)
                problems = _load(card, data_root, unread)
            except UserError as error:
                unread.append(error)
                report["benchmarks"][card.name] = _not_read(card, error)
                continue
            entry = _check_problems(problems, pool)
            entry["source"] = f"{_source(card)} {card.split}"
            entry["notes"] += isolation_notes(execution)
            entry["first_prompt"] = {"text": fill(card.prompt, problems[0])}
            if builder:
                entry["first_prompt"] = _check_prompts(card, problems, builder, entry)
            report["benchmarks"][card.name] = entry
    if len(unread) == len(cards):
        raise unread[0]
    if checkpoint and builder:
        report["checkpoint"] = _describe(checkpoint, builder)
    report["ok"] = not any(entry["failures"] for entry in report["benchmarks"].values())
    return report


def render_report(report: dict[str, Any]) -> str:
    """The report of `preflight` as text, failures last."""
    lines: list[str] = []
    for name, entry in report["benchmarks"].items():
        verdict = "ok" if not entry["failures"] else f"{len(entry['failures'])} FAILURES"
        if not entry["problems"]:
            lines.append(f"{name}: NOT READ ({entry['source']}): {entry['failures'][0]}")
            continue
        lines.append(
            f"{name}: {entry['problems']} problems ({entry['source']}), "
            f"{entry['completions']} correct completions graded: {verdict}"
        )
        lines += [f"  {what}: {_some(ids)}" for what, ids in entry["oddities"].items()]
        lines += [f"  same text: {', '.join(ids)}" for ids in entry["duplicates"][:SHOWN]]
        if len(entry["duplicates"]) > SHOWN:
            lines.append(f"  same text: ... ({len(entry['duplicates'])} such groups)")
        if entry["answer_positions"]:
            counts = ", ".join(f"{letter} {count}" for letter, count in entry["answer_positions"].items())
            lines.append(f"  answer positions: {counts}")
        lines += [f"  note: {note}" for note in entry["notes"]]
        lines += [f"  FAILED {failure}" for failure in entry["failures"]]
    if report["checkpoint"]:
        lines += _render_checkpoint(report)
    return "\n".join(lines)


def _load(card: Card, data_root: Path | None, unread: Sequence[UserError]) -> list[Problem]:
    # An unreachable hub costs half a minute of retries a set; without a data root every hub set is there.
    if card.hub_id and any(isinstance(error, HubUnreachable) for error in unread):
        raise hub_unreachable(card)
    return load_problems(card, data_root)


def _source(card: Card) -> str:
    return card.path or " ".join(filter(None, (card.hub_id, card.config)))


def _not_read(card: Card, error: UserError) -> dict[str, Any]:
    """The entry of a set that cannot be read: the keys of every entry, and the reason as its failure."""
    return {
        "problems": 0,
        "completions": 0,
        "failures": [str(error).removeprefix(f"{card.name}: ")],
        "notes": [],
        "oddities": {},
        "duplicates": [],
        "answer_positions": {},
        "source": f"{_source(card)} {card.split}",
        "first_prompt": None,
    }


def _check_problems(problems: Sequence[Problem], pool: GradingPool) -> dict[str, Any]:
    asked = [
        (problem, notation, pool.submit(problem, text, finish_reason="stop"))
        for problem in problems
        for notation, text in completions(problem).items()
    ]
    failures = []
    for problem, notation, future in asked:
        verdict = future.result()
        if verdict.status != "correct":
            gold = shorten(repr(problem.gold), 100)
            failures.append(
                f"{problem.problem_id}: gold {gold} {notation} is {verdict.status}"
                + (f" ({verdict.detail})" if verdict.detail else "")
            )
    odd = {what: [p.problem_id for p in problems if test(p)] for what, test in ODDITIES.items()}
    texts: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        texts[" ".join([*problem.text.split(), *problem.options])].append(problem.problem_id)
    positions = answer_positions(problems)
    return {
        "problems": len(problems),
        "completions": len(asked),
        "failures": failures,
        "notes": uneven_positions(problems, positions),
        "oddities": {what: ids for what, ids in odd.items() if ids},
        "duplicates": [ids for ids in texts.values() if len(ids) > 1],
        "answer_positions": positions,
    }


def _check_prompts(
    card: Card, problems: Sequence[Problem], builder: PromptBuilder, entry: dict[str, Any]
) -> dict[str, Any]:
    """The first prompt; adds a failure where it starts twice, a note where the card's limit does not fit."""
    prompts = [builder.render(problem, card) for problem in problems]
    try:
        check_lengths(card.name, problems, prompts, card.max_tokens, builder.checkpoint.context_length)
    except UserError as error:
        entry["notes"].append(str(error))
    ids = list(prompts[0].token_ids or ())
    start = builder.tokenizer.bos_token_id
    starts = ids.count(start) if start is not None else 0
    if starts > 1:
        entry["failures"].append(
            f"the first prompt holds {starts} start tokens ({builder.tokenizer.bos_token})"
        )
    return {
        "text": prompts[0].text,
        "token_ids": ids,
        "start_tokens": starts,
        "opens_thinking": prompts[0].opens_thinking,
        "stop_strings": list(builder.stops(card)),
        "longest": max(len(prompt.token_ids or ()) for prompt in prompts),
    }


def _describe(checkpoint: Checkpoint, builder: PromptBuilder) -> dict[str, Any]:
    stop = checkpoint.stop_ids()
    tokenizer = builder.tokenizer
    return {
        "name": checkpoint.name,
        "template": "chat" if builder.chat else "plain",
        "start_token": {"id": tokenizer.bos_token_id, "text": tokenizer.bos_token},
        "stop_ids": {source: list(ids) for source, ids in stop.sources.items()},
        "stop_ids_used": {str(number): tokenizer.convert_ids_to_tokens(number) for number in stop.used},
        "context_length": checkpoint.context_length,
        "generation_config": checkpoint.generation_defaults(),
        "notes": [*builder.notes, *stop.disagreements],
    }


def _render_checkpoint(report: dict[str, Any]) -> list[str]:
    about = report["checkpoint"]
    name, entry = next((name, entry) for name, entry in report["benchmarks"].items() if entry["problems"])
    first = entry["first_prompt"]
    start = about["start_token"]
    known = f"{start['text']} ({start['id']})" if start["text"] else "the tokenizer has none"
    used = ", ".join(f"{number} {text}" for number, text in about["stop_ids_used"].items())
    lines = [
        "",
        f"checkpoint {about['name']}: {about['template']} prompts, context {about['context_length']}",
        f"  first prompt of {name}, {len(first['token_ids'])} tokens, {first['start_tokens']} start token(s) "
        f"({known}), opens thinking: {first['opens_thinking']}",
        f"    text: {first['text']!r}",
        f"    token ids: {first['token_ids']}",
        *(f"  stop ids of {source}: {', '.join(map(str, ids))}" for source, ids in about["stop_ids"].items()),
        f"  stop ids in use: {used or 'none: completions end at the token limit'}; "
        f"stop strings: {_stops(report)}",
    ]
    if about["generation_config"]:
        suggested = ", ".join(f"{key}={value}" for key, value in about["generation_config"].items())
        lines.append(f"  generation_config.json suggests {suggested}; a run uses its flags")
    return lines + [f"  note: {note}" for note in about["notes"]]


def _stops(report: dict[str, Any]) -> str:
    """The stop strings of each benchmark that has any."""
    first = {name: entry["first_prompt"] for name, entry in report["benchmarks"].items() if entry["problems"]}
    stops = [
        f"{', '.join(map(repr, p['stop_strings']))} ({name})"
        for name, p in first.items()
        if p["stop_strings"]
    ]
    return "; ".join(stops) or "none"


def _some(ids: Sequence[str]) -> str:
    more = f", ... ({len(ids)})" if len(ids) > SHOWN else f" ({len(ids)})"
    return ", ".join(ids[:SHOWN]) + more
