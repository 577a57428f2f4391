"""Scoring a stored run against a bare batched forward pass over the same tokens, in turn.

Ours: read the run, check the tokenizer, cut batches, log P(y|x) and log P(y) of every response, store
the annotation. The bare pass: the same loaded model forwarded over the same sequences, prompts and
start tokens included, from ids that are in memory already, full logits, log_softmax, gather; once over
our own batches, which are padded little (the bound is on this one), once in the order of the run with
as many rows each. CPU seconds; loading the model is in neither. One model is results/base-nano, one is
larger with a vocabulary of 8,192.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prerl_eval.checkpoint import open_checkpoint
from prerl_eval.engines.transformers import TransformersEngine
from prerl_eval.plan import RunOptions
from prerl_eval.run import evaluate
from prerl_eval.scoring.batches import cut_blocks
from prerl_eval.scoring.logprobs import Scorer
from prerl_eval.scoring.plan import BATCH_TOKENS, ScoreOptions, ScorePlan, plan_score
from prerl_eval.scoring.responses import Responses
from prerl_eval.scoring.score import fill
from tests.speed.rows import Measured, Row, script

BOUND = 1.3
BASE = Path(__file__).resolve().parents[2] / "results" / "base-nano"

Sequences = list[tuple[list[int], list[int]]]
"""(prefix, completion) of each row of a batch."""


def larger_model(folder: Path) -> Path:
    """A random Qwen3 of 7 million parameters with the tokenizer of base-nano."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / name, folder / name)
    return folder


def our_batches(responses: Responses, start_id: int) -> Iterator[Sequences]:
    for block in cut_blocks(*responses.lengths, BATCH_TOKENS["cpu"]):
        for rows in block.given_prompt:
            yield [(responses.prompts[row].tolist(), responses.completions[row].tolist()) for row in rows]
        for rows in block.alone:
            yield [([start_id], responses.completions[row].tolist()) for row in rows]


def batches_in_order(responses: Responses, start_id: int, rows: int) -> Iterator[Sequences]:
    completions = [ids.tolist() for ids in responses.completions]
    prompts = [ids.tolist() for ids in responses.prompts]
    for prefixes in (prompts, [[start_id]] * len(completions)):
        for first in range(0, len(completions), rows):
            part = slice(first, first + rows)
            yield list(zip(prefixes[part], completions[part], strict=True))


@torch.inference_mode()
def bare(model: Any, batches: Sequence[Sequences]) -> None:
    """Sum of log-probs of every row, as a short script would compute it."""
    for batch in batches:
        rows = [torch.tensor(prefix + completion) for prefix, completion in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        columns = torch.arange(ids.size(1))
        mask = (columns < lengths[:, None]).long()
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        scores = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
        first = torch.tensor([len(prefix) for prefix, _ in batch])
        wanted = (columns[1:] >= first[:, None]) & (columns[1:] < lengths[:, None])
        (scores * wanted).sum(1).tolist()


def ours(plan: ScorePlan, model: Any) -> None:
    fill(plan, plan.responses(set()), Scorer(model), 0)


def cpu_seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_model(label: str, folder: Path, run: Path, pairs: int) -> Measured:
    """CPU seconds of the three, and the ratio to the pass over the same batches."""
    plan = plan_score(ScoreOptions(run=run, ckpt=[str(folder)]))[0]
    engine = TransformersEngine()
    engine.load(open_checkpoint(str(folder)))
    try:
        responses = plan.responses(set())
        sorted_batches = list(our_batches(responses, plan.start_id))
        rows = round(float(np.mean([len(batch) for batch in sorted_batches])))
        plain_batches = list(batches_in_order(responses, plan.start_id, rows))
        timings = []
        for number in range(pairs + 1):
            sides = [
                lambda n=number: ours(replace(plan, name=f"{plan.name}-{n}"), engine.model),
                lambda: bare(engine.model, sorted_batches),
                lambda: bare(engine.model, plain_batches),
            ]
            # Who goes first alternates; the first round only warms up.
            order = [0, 1, 2] if number % 2 else [2, 1, 0]
            found = {place: cpu_seconds(sides[place]) for place in order}
            if number:
                timings.append([found[place] for place in range(3)])
    finally:
        engine.close()
    tokens = sum(len(prefix) + len(completion) for batch in sorted_batches for prefix, completion in batch)
    own, same, plain = (statistics.median(timing[place] for timing in timings) for place in range(3))
    row = Row(
        name=f"`prerl-eval score` of {len(responses):,} stored responses ({tokens:,} tokens), {label}",
        unit="CPU s",
        prerl=own,
        peer_name="a bare forward pass of the same padded batches",
        peer=same,
        ratio=statistics.median(first / second for first, second, _ in timings),
        ratio_is="times its time",
        bound=BOUND,
    )
    return Measured([row], notes=[f"Scoring, {label}: a bare pass in stored order takes {plain:.2f} CPU s."])


def measure(quick: bool = False) -> Measured:
    """Both models on one run that is sampled on the spot."""
    problems, n, pairs = (8, 16, 3) if quick else (16, 32, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = RunOptions(
            ckpt=[str(BASE)],
            bench=["countdown"],
            n=n,
            limit=problems,
            engine="transformers",
            out=folder / "run",
        )
        (run,) = evaluate(options)
        return measure_model("results/base-nano", BASE, run, pairs) + measure_model(
            "a random model of 7M parameters, vocabulary 8,192",
            larger_model(folder / "larger"),
            run,
            min(pairs, 3),
        )


if __name__ == "__main__":
    script(measure)
