"""`prerl-eval run`: checkpoints x benchmarks -> graded sample rows, resumable at any moment.

Fills each checkpoint's run directory: only missing rows are asked for. Does not cover planning
(plan.py), engines, grading or the store's format.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from prerl_eval import provenance, store
from prerl_eval.cards import resolve_benchmarks
from prerl_eval.checkpoint import expand_checkpoints, remote_checkpoint
from prerl_eval.console import Advance, progress
from prerl_eval.engines import make_engine
from prerl_eval.engines.base import Engine, Key, Request, Sampling
from prerl_eval.grading import GradingPool
from prerl_eval.plan import RunOptions, RunPlan, check_against_store, check_numbers, plan_run
from prerl_eval.problems import load_problems
from prerl_eval.recorder import Recorder
from prerl_eval.run_lock import RunLock
from prerl_eval.run_record import SCHEMA_VERSION, read_record, write_record


def evaluate(options: RunOptions) -> list[Path]:
    """Run every checkpoint on every benchmark; returns the run directories.

    Raises UserError for bad input (nothing written) and RunStopped where a run could not go on;
    what is stored stays, and the same call goes on from there.
    """
    check_numbers(options)
    cards = resolve_benchmarks(options.bench)
    engine = make_engine(
        options.engine,
        tp=options.tp,
        dp=options.dp,
        batch_size=options.batch_size,
        base_url=options.base_url,
        dtype=options.dtype,
    )
    remote = engine.name == "openai"
    checkpoints = (
        [remote_checkpoint(name) for name in options.ckpt] if remote else expand_checkpoints(options.ckpt)
    )
    problems = [load_problems(card, options.data_root, options.limit, seed=options.seed) for card in cards]
    plans = [
        plan_run(options, engine.name, checkpoint, cards, problems, len(checkpoints))
        for checkpoint in checkpoints
    ]
    for plan in plans:
        check_against_store(plan)
    try:
        rules = {
            "accept_box_in_thinking": options.accept_box_in_thinking,
            "unsafe_code": options.unsafe_code_execution,
        }
        with GradingPool(options.workers, **rules) as pool:
            for plan in plans:
                execute(plan, engine, pool)
    finally:
        engine.close()
    return [plan.out for plan in plans]


def execute(plan: RunPlan, engine: Engine, pool: GradingPool) -> None:
    """Fill one run directory: lock it, load the checkpoint, sample what is missing, grade and store.

    Raises UserError where another process writes there, RunStopped where the engine or the disk fails.
    """
    with RunLock(plan.out):
        check_against_store(plan)
        is_new = not (plan.out / "run.json").exists()
        stored = set() if is_new else {key[:3] for key in store.stored_keys(plan.out)}
        requests = {plan_.card.name: plan_.requests(plan.settings["seed"]) for plan_ in plan.benchmarks}
        total = sum(map(len, requests.values()))
        missing = sum(request.key not in stored for listed in requests.values() for request in listed)
        print(f"{plan.out}: {total:,} samples, {missing:,} to go", file=sys.stderr)
        for note in plan.notes:
            print(f"note: {note}", file=sys.stderr)
        if not missing:
            write_record(plan.out, _record(plan, None))
            return
        engine.load(plan.checkpoint)
        record = _record(plan, engine)
        write_record(plan.out, record)
        with progress(plan.checkpoint.name, total, total - missing) as advance:
            record["sessions"][-1]["sampled"] = _fill(plan, requests, stored, engine, pool, advance)
        # Again: an engine may have learned what its server does not take.
        record["sessions"][-1]["engine"] = engine.describe()
        write_record(plan.out, record)


def _fill(
    plan: RunPlan,
    requests: dict[str, list[Request]],
    stored: set[Key],
    engine: Engine,
    pool: GradingPool,
    advance: Advance,
) -> dict[str, dict[str, float]]:
    """Sample, grade and store what is missing; returns {benchmark: {tokens, seconds}} of the engine."""
    problems = {(p.benchmark, p.problem_id): p for plan_ in plan.benchmarks for p in plan_.problems}
    counts = Counter(store.read_samples(plan.out, ["status"])["status"].to_pylist())

    def on_graded(statuses: Counter[str]) -> None:
        counts.update(statuses)
        advance(statuses.total(), f"{counts['correct'] / counts.total():.1%} correct")

    sampled = {}
    stops = {plan_.card.name: plan_.stop for plan_ in plan.benchmarks}
    with Recorder(plan.out, plan.run_id, problems, pool, on_graded) as recorder:
        for name, listed in requests.items():
            if all(request.key in stored for request in listed):
                continue
            start = time.monotonic()
            sampling = replace(plan.sampling, stop=stops[name])
            tokens = _generate(engine, listed, sampling, stored, recorder)
            sampled[name] = {"tokens": tokens, "seconds": round(time.monotonic() - start, 3)}
    return sampled


def _generate(
    engine: Engine, requests: list[Request], sampling: Sampling, stored: set[Key], recorder: Recorder
) -> int:
    """Hand everything that the engine samples to the recorder; returns the number of tokens."""
    asked = {request.key for request in requests} - stored
    tokens = 0
    for finished in engine.generate(requests, sampling, stored.__contains__):
        for request, completion in finished:
            # An engine that returned a row twice would inflate n silently.
            asked.remove(request.key)
            tokens += completion.tokens
        recorder.add(finished)
    if asked:
        raise RuntimeError(f"the {engine.name} engine left {len(asked)} requests unanswered")
    return tokens


def _record(plan: RunPlan, engine: Engine | None) -> dict[str, Any]:
    """run.json; a later run in the same folder may add benchmarks, samples and problems, never lose any."""
    if (plan.out / "run.json").exists():
        record = read_record(plan.out)
    else:
        record = {
            "schema": SCHEMA_VERSION,
            "run_id": plan.run_id,
            "created": provenance.now(),
            "checkpoint": plan.checkpoint.describe(),
            "settings": plan.settings,
            "benchmarks": {},
        }
    for plan_ in plan.benchmarks:
        before = record["benchmarks"].get(plan_.card.name, {})
        grew = len(plan_.problems) > before.get("problems", 0)
        record["benchmarks"][plan_.card.name] = {
            **plan_.card.describe(),
            "card_hash": plan_.card.hash,
            "n": max(plan_.n, before.get("n", 0)),
            "limit": plan_.limit if grew else before.get("limit"),
            "problems": max(len(plan_.problems), before.get("problems", 0)),
            "max_tokens": plan_.max_tokens,
            "stop": list(plan_.stop),
            "prompt_of_sample_0": {
                "text": plan_.prompts[0].text,
                "token_ids": list(plan_.prompts[0].token_ids or ()) or None,
            },
        }
    record["notes"] = plan.notes
    if engine is not None:
        # One entry per sitting: a run may be finished on another machine than it began on.
        code = {"code_execution": plan.code_execution} if plan.code_execution else {}
        record["sessions"] = [*record.get("sessions", []), provenance.session(engine.describe()) | code]
    return record
