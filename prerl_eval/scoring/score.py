"""`prerl-eval score`: log P(y|x) and log P(y) of every stored response, under any checkpoint.

Stored as the annotation logp-<checkpoint> of the run: two rows per response, labelled logp_given_prompt
and logp_alone. The same command goes on where it stopped, and adds what a run got since. Covers the loop
and about.json; not the checks (plan.py), the tokens (responses.py) or the arithmetic (logprobs.py).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from prerl_eval import provenance, store
from prerl_eval.annotations import (
    Annotation,
    annotated_keys,
    annotation_lock,
    read_annotations,
    write_about,
    write_annotations,
)
from prerl_eval.console import progress
from prerl_eval.errors import UserError
from prerl_eval.scoring.batches import Block, cut_blocks
from prerl_eval.scoring.plan import BATCH_TOKENS, ScoreOptions, ScorePlan, plan_score
from prerl_eval.scoring.responses import Ids, Responses
from prerl_eval.store import RowKey

if TYPE_CHECKING:
    from prerl_eval.scoring.logprobs import Scorer

GIVEN_PROMPT, ALONE = "logp_given_prompt", "logp_alone"
RETOKENISED = "retokenised"
"""The note of a row whose tokens are not the sampled ones."""

LABELS = {
    GIVEN_PROMPT: "log P(y|x) in nats: sum over the completion's tokens behind its prompt, temperature 1",
    ALONE: "log P(y) in nats: the same tokens with the prompt erased, behind the start token",
}


def score(options: ScoreOptions) -> list[str]:
    """Score a run under each checkpoint; returns lines that say what was found.

    Raises UserError for bad input, before anything is written, and RunStopped where the work could not
    go on; what is stored stays, and the same call goes on from there.
    """
    plans = plan_score(options)
    for plan in plans:
        execute(plan)
    return [line for plan in plans for line in render_means(plan.run, plan.name)]


def render_means(run: Path, name: str) -> list[str]:
    """Mean log-probs of an annotation per benchmark, as lines of text."""
    table = read_annotations(run, name, ["benchmark", "label", "value"])
    means = table.group_by(["benchmark", "label"]).aggregate([("value", "mean"), ("value", "count")])
    found = {(row["benchmark"], row["label"]): row for row in means.to_pylist()}
    lines = [f"{name}: nats per response, mean"]
    for benchmark in sorted(pc.unique(table["benchmark"]).to_pylist()):
        given, alone = (found[benchmark, label]["value_mean"] for label in LABELS)
        count = found[benchmark, ALONE]["value_count"]
        lines.append(
            f"  {benchmark:<16}{count:>8,} responses   log P(y|x) {given:>10.2f}   log P(y) {alone:>10.2f}"
        )
    return lines


def execute(plan: ScorePlan) -> None:
    """Score what is missing, and store it. Raises as `score` does."""
    from prerl_eval.engines.transformers import TransformersEngine

    done = _done(plan)
    # Before the lock, which makes a folder: what is refused writes nothing.
    responses = plan.responses(done)
    print(f"{plan.run}: {plan.name}, {len(responses):,} responses to go", file=sys.stderr)
    if not len(responses):
        return
    with annotation_lock(plan.run, plan.name):
        if (now := _done(plan)) != done:  # another process has just ended there
            done, responses = now, plan.responses(now)
        engine = TransformersEngine(dtype=plan.options.dtype)
        try:
            engine.load(plan.checkpoint)
            about = _about(plan, plan.stored_about(), engine.describe(), responses)
            write_about(plan.run, plan.name, about)
            from prerl_eval.scoring.logprobs import Scorer

            fill(plan, responses, Scorer(engine.model), len(done))
        finally:
            engine.close()


def _done(plan: ScorePlan) -> set[RowKey]:
    return annotated_keys(plan.run, plan.name) if plan.stored_about() else set()


def _about(
    plan: ScorePlan, before: dict[str, Any] | None, engine: dict[str, Any], responses: Responses
) -> dict[str, Any]:
    """about.json with one more sitting. Raises UserError where it would be in another dtype."""
    started = before or {
        "made_by": "prerl-eval score",
        "created": provenance.now(),
        "settings": plan.settings,
        "checkpoint": plan.checkpoint.describe(),
        "start_token": {
            "id": plan.start_id,
            "token": plan.builder.tokenizer.convert_ids_to_tokens(plan.start_id),
        },
        "dtype": engine["dtype"],
        "labels": LABELS,
        "sessions": [],
    }
    if started["dtype"] != engine["dtype"]:
        raise UserError(
            f"{plan.name} of {plan.run} was computed in {started['dtype']}, here it would be in "
            f"{engine['dtype']}; give another --name"
        )
    sitting = {
        **provenance.session({key: value for key, value in engine.items() if key != "batch_size"}),
        "batch_tokens": plan.options.batch_tokens or "auto",
        "responses": len(responses),
        "retokenised": int(responses.retokenised.sum()),
    }
    return {**started, "sessions": [*started["sessions"], sitting]}


def fill(plan: ScorePlan, responses: Responses, scorer: Scorer, done: int) -> None:
    """Score responses and store them. done: how many are stored already, for the progress line."""
    writer = store.PartWriter(
        plan.run, time.monotonic, write=lambda rows: write_annotations(plan.run, plan.name, rows)
    )
    batch_tokens = plan.options.batch_tokens or BATCH_TOKENS.get(scorer.device, BATCH_TOKENS["cpu"])
    start = np.asarray([plan.start_id], dtype=np.int32)
    with progress(plan.name, done + len(responses), done, "responses") as advance:
        try:
            for block in cut_blocks(*responses.lengths, batch_tokens):
                writer.append(_scored(block, responses, scorer, start, plan.options.per_token))
                advance(len(block.rows))
        finally:
            writer.flush()


def _scored(
    block: Block, responses: Responses, scorer: Scorer, start: Ids, per_token: bool
) -> list[Annotation]:
    """The annotations of a block, both rows of each response."""
    found: dict[tuple[int, str], Any] = {}
    for label, batches in ((GIVEN_PROMPT, block.given_prompt), (ALONE, block.alone)):
        for rows in batches:
            prefixes = [responses.prompts[row] if label == GIVEN_PROMPT else start for row in rows]
            scored = scorer.logprobs(prefixes, [responses.completions[row] for row in rows])
            found.update({(row, label): values for row, values in zip(rows, scored, strict=True)})
    return [
        Annotation(
            *responses.keys[row],
            label=label,
            value=float(found[row, label].sum(dtype=np.float64)),
            values=found[row, label].tolist() if per_token else None,
            note=RETOKENISED if responses.retokenised[row] else "",
        )
        for row in block.rows
        for label in LABELS
    ]
