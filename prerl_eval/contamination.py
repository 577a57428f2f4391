"""`prerl-eval contamination`: does a checkpoint know the problems by heart?

Each problem is cut after the first 60% of its words, the checkpoint goes on from there greedily, and what
it writes is compared with the rest of the problem: the partial-prompt completion of Wu et al., "Reasoning
or Memorization?" (arXiv 2507.10532). Covers planning, the loop (an ordinary run, so it is stored and goes
on as runs do) and the figures. Does not cover comparing texts (prerl_eval.overlap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prerl_eval.cards import Card, load_card, resolve_benchmarks
from prerl_eval.checkpoint import expand_checkpoints, remote_checkpoint
from prerl_eval.contamination_facts import REST, measure_audit
from prerl_eval.engines import make_engine
from prerl_eval.errors import UserError
from prerl_eval.grading import GradingPool, stored_facts
from prerl_eval.overlap import cut_text
from prerl_eval.plan import RunOptions, check_against_store, check_numbers, plan_run
from prerl_eval.problems import Problem, load_problems
from prerl_eval.run import execute
from prerl_eval.run_record import read_record

PREFIX = 0.6
"""Share of a problem's words that the model is given; 0.4, 0.6 and 0.8 in the paper."""

MAX_TOKENS = 2048
"""Room for the rest of a problem and, for most, an answer."""


@dataclass(frozen=True)
class AuditOptions:
    """What `prerl-eval contamination` was asked for; names are the flags'.

    target: a benchmark, group or card, or the folder of a run whose problems are audited. ckpt:
    checkpoints as in RunOptions. prefix: share of each problem's words that is given. limit: first
    problems of each benchmark.
    """

    target: str
    ckpt: Sequence[str]
    prefix: float = PREFIX
    limit: int | None = None
    max_tokens: int = MAX_TOKENS
    engine: str = "auto"
    tp: int = 1
    dp: int = 1
    batch_size: int | None = None
    base_url: str | None = None
    dtype: str = "auto"
    data_root: Path | None = None
    out: Path | None = None
    workers: int | None = None


@dataclass(frozen=True)
class _Set:
    """A benchmark to audit: its card and problems as they are asked here, and how many have one word."""

    name: str
    card: Card
    problems: list[Problem]
    skipped: int


def audit(options: AuditOptions) -> list[dict[str, Any]]:
    """Audit each checkpoint on each benchmark; returns the facts of each pair, JSON-able.

    Raises UserError for bad input, before anything is written, and RunStopped where it could not go
    on; what is stored stays, and the same call goes on from there.
    """
    asked = _run_options(options)
    sets = _sets(options)
    engine = make_engine(
        options.engine,
        tp=options.tp,
        dp=options.dp,
        batch_size=options.batch_size,
        base_url=options.base_url,
        dtype=options.dtype,
    )
    names = asked.ckpt
    checkpoints = (
        [remote_checkpoint(name) for name in names] if engine.name == "openai" else expand_checkpoints(names)
    )
    cards, problems = [entry.card for entry in sets], [entry.problems for entry in sets]
    plans = [
        plan_run(
            asked, engine.name, checkpoint, cards, problems, len(checkpoints), {"prefix": options.prefix}
        )
        for checkpoint in checkpoints
    ]
    for plan in plans:
        check_against_store(plan)
    try:
        with GradingPool(options.workers) as pool:
            for plan in plans:
                execute(plan, engine, pool)
    finally:
        engine.close()
    run = Path(options.target) if _is_run(options.target) else None
    return [
        measure_audit(plan, part, entry.name, run, skipped=entry.skipped)
        for plan in plans
        for entry, part in zip(sets, plan.benchmarks, strict=True)
    ]


def _run_options(options: AuditOptions) -> RunOptions:
    if not 0 < options.prefix < 1:
        raise UserError(f"--prefix {options.prefix} is not between 0 and 1; give 0.6 for the first 60%")
    asked = RunOptions(
        ckpt=options.ckpt,
        bench=[options.target],
        n=1,
        limit=options.limit,
        temperature=0.0,
        max_tokens=options.max_tokens,
        # Plain text even for chat models: a chat answers a fragment, it does not complete it.
        template="plain",
        engine=options.engine,
        tp=options.tp,
        dp=options.dp,
        batch_size=options.batch_size,
        base_url=options.base_url,
        dtype=options.dtype,
        data_root=options.data_root,
        out=options.out,
        workers=options.workers,
    )
    check_numbers(asked)
    return asked


def _sets(options: AuditOptions) -> list[_Set]:
    """The benchmarks to audit, cut. Raises UserError where one has no problem that can be cut."""
    sets = []
    for card, limit in _chosen(options):
        limits = [number for number in (limit, options.limit) if number is not None]
        problems = load_problems(card, options.data_root, min(limits, default=None), shots=False)
        name = f"{card.name}-first{round(100 * options.prefix)}"
        title = f"{card.title or card.name}, first {options.prefix:.0%}"
        parts = [(problem, cut_text(problem.text, options.prefix)) for problem in problems]
        asked = [_asked(problem, name, *part) for problem, part in parts if part]
        if not asked:
            raise UserError(f"{card.name}: no problem has two words, nothing can be cut; audit another set")
        # Only the text is asked: no instruction, options or examples, and nothing ends a completion.
        shown = replace(
            card, name=name, title=title, prompt="{problem}", plain_prompt="", stop=(), choices=(), shots={}
        )
        sets.append(_Set(card.name, shown, asked, len(problems) - len(asked)))
    return sets


def _asked(problem: Problem, benchmark: str, given: str, rest: str) -> Problem:
    """The problem as it is asked here. Only mathematics is graded: other answers need the whole prompt."""
    is_math = problem.grader == "math"
    return Problem(
        benchmark=benchmark,
        problem_id=problem.problem_id,
        text=given,
        gold=problem.gold if is_math else "",
        grader="math",
        extra={**(stored_facts(problem) if is_math else {}), REST: rest},
    )


def _chosen(options: AuditOptions) -> list[tuple[Card, int | None]]:
    """Cards to audit and the limits of the run that names them. Raises UserError for a run of other cards."""
    if not _is_run(options.target):
        return [(card, None) for card in resolve_benchmarks([options.target])]
    record = read_record(Path(options.target))
    if record.get("kind") == "training":
        raise UserError(f"{options.target} is a training run; name the benchmark that its problems are from")
    chosen = []
    for name, facts in record["benchmarks"].items():
        try:
            card = load_card(name)
        except UserError:
            card = None
        if card is None or card.hash != facts["card_hash"]:
            raise UserError(
                f"{options.target} was made with a card {name} that does not come with prerl; give the "
                "card's path instead of the run"
            )
        chosen.append((card, facts.get("limit")))
    return chosen


def _is_run(target: str) -> bool:
    return (Path(target) / "run.json").is_file()
