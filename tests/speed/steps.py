"""A whole step of `prerl-train grpo --recipe nano` against a bare torch loop, and where its time goes.

The trainer is the one that the command line builds: sampling by prerl_eval's decoder, grading in the
pool, every rollout stored, metrics, progress, guards. The bare loop makes the same step on its own copy of
the weights: the same decoder with the same seeds, the same pool, advantages, micro-batches,
clipped surrogate and AdamW, in plain torch with the model's own forward. It runs inside the
trainer's run, after each step; gradients must be equal. The learning rate is too small to move a
float32 weight, so both sample the same rows at every step.
"""

import io
import statistics
import tempfile
import time
from contextlib import ExitStack, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import log_softmax
from transformers import GenerationConfig, TrainerCallback

from prerl_eval.engines.decoding import Row, decode_batch
from prerl_eval.engines.detokenize import Detokenizer
from prerl_eval.engines.transformers import rows_that_fit
from prerl_eval.grading import GradingPool
from prerl_eval.plan import request_seed
from prerl_train.advantages import group_normalized
from prerl_train.packing import cut_batch, plan_update
from prerl_train.resolve import resolve
from prerl_train.space import Batch
from prerl_train.train import build_trainer, load_model
from prerl_train.train_plan import TrainPlan, plan_training
from tests.speed.injected import distance, gradient
from tests.speed.released import columns
from tests.speed.rows import Measured
from tests.speed.rows import Row as Compared

BOUND = 1.15
EQUAL = 1e-4
"""Gradients; rows are forwarded in the same micro-batches, TRL's output head sums in another order."""

LEARNING_RATE = 1e-30


class BareLoop:
    """What a step is without a trainer. seconds: CPU seconds of the last step's sampling and of all of it."""

    def __init__(self, plan: TrainPlan, pool: GradingPool, micro_rows: int):
        from transformers import AutoTokenizer

        self.plan, self.pool, self.micro_rows = plan, pool, micro_rows
        self.model = load_model(plan)
        self.model.generation_config = GenerationConfig()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )
        self.tokenizer = AutoTokenizer.from_pretrained(plan.checkpoint.tokenizer_path)
        self.find_end = partial(Detokenizer(self.tokenizer).end, sampling=plan.sampling)
        self.seconds = (0.0, 0.0)

    def step(self, number: int) -> None:
        """Update `number`, 0-based: sample, grade, update."""
        began = time.process_time()
        settings = self.plan.settings
        problems = self.plan.order[number * settings.prompts_per_step :][: settings.prompts_per_step]
        problems = [problem for problem in problems for _ in range(settings.samples_per_prompt)]
        rows = self._sample(problems, f"{number + 1}/0")
        sampled = time.process_time() - began
        batch = self._batch(rows, self._rewards(problems, rows))
        self._update(batch)
        self.seconds = (sampled, time.process_time() - began)

    def _sample(self, problems: list[int], draw: str) -> list[Row]:
        settings, prompts = self.plan.settings, self.plan.data.prompts
        rows = [
            Row(
                prompts[problem].token_ids or (),
                request_seed(settings.seed, "rollout", draw, place),
                settings.max_tokens,
            )
            for place, problem in enumerate(problems)
        ]
        size = rows_that_fit(self.model, self.plan.longest_prompt + settings.max_tokens)
        self.model.eval()
        for start in range(0, len(rows), size):
            decode_batch(self.model, rows[start : start + size], self.plan.sampling, self.find_end)
        self.model.train()
        return rows

    def _rewards(self, problems: list[int], rows: list[Row]) -> list[float]:
        texts = self.tokenizer.batch_decode([row.tokens for row in rows], skip_special_tokens=True)
        verdicts = self.pool.grade(
            (self.plan.data.problems[problem], text, row.finish_reason, False)
            for problem, text, row in zip(problems, texts, rows, strict=True)
        )
        return [verdict.reward for verdict in verdicts]

    def _batch(self, rows: list[Row], rewards: list[float]) -> Batch:
        prompts, prompt_mask = columns([row.prompt for row in rows], "left")
        completions, completion_mask = columns([row.tokens for row in rows], "right")
        group = self.plan.settings.samples_per_prompt
        return {
            "prompt_ids": prompts,
            "prompt_mask": prompt_mask,
            "completion_ids": completions,
            "completion_mask": completion_mask,
            "advantages": group_normalized(torch.tensor(rewards).view(-1, group)).flatten(),
        }

    def _update(self, batch: Batch) -> None:
        self.optimizer.zero_grad()
        rows = batch["advantages"].nonzero().squeeze(1)
        lengths = [batch[key].sum(1)[rows].tolist() for key in ("prompt_mask", "completion_mask")]
        count = len(batch["advantages"]) // self.micro_rows
        for piece in plan_update(*lengths, count, self.micro_rows):
            if piece:
                self._loss(cut_batch(batch, rows[piece].tolist()), batch["completion_mask"].sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.settings.grad_clip)
        self.optimizer.step()

    def _loss(self, part: Batch, tokens: torch.Tensor) -> torch.Tensor:
        completions = part["completion_ids"]
        out = self.model(
            input_ids=torch.cat([part["prompt_ids"], completions], 1),
            attention_mask=torch.cat([part["prompt_mask"], part["completion_mask"]], 1),
            use_cache=False,
            logits_to_keep=completions.size(1) + 1,
        )
        log_probs = log_softmax(out.logits[:, :-1], -1).gather(-1, completions[..., None]).squeeze(-1)
        ratio = torch.exp(log_probs - log_probs.detach())
        advantages = part["advantages"][:, None]
        clipped = ratio.clamp(1 - self.plan.settings.clip_low, 1 + self.plan.settings.clip_high)
        surrogate = torch.min(ratio * advantages, clipped * advantages)
        return -(surrogate * part["completion_mask"]).sum() / tokens


class Pairs(TrainerCallback):
    """Makes the bare step after each of the trainer's, and keeps the CPU seconds of both.

    trainer, bare: (sampling, whole step) of every update but the first. facts: the trainer's own
    account of every update. distances: between both gradients.
    """

    def __init__(self, trainer: Any, loop: BareLoop):
        self.trainer: list[tuple[float, float]] = []
        self.bare: list[tuple[float, float]] = []
        self.facts: list[dict[str, Any]] = []
        self.distances: list[float] = []
        self._trainer, self._loop = trainer, loop
        self._sampling, self._began = 0.0, 0.0
        self._gradient: list[torch.Tensor] = []
        self._spent = 0.0
        self._rollout, trainer.rollout_func = trainer.rollout_func, self._timed

    def _timed(self, prompts: list[str], trainer: Any) -> Any:
        start = time.process_time()
        made = self._rollout(prompts, trainer)
        self._sampling = time.process_time() - start
        return made

    def on_optimizer_step(self, *_: Any, **named: Any) -> None:
        start = time.process_time()
        self._gradient = gradient(named["model"])
        self._spent = time.process_time() - start

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        whole = time.process_time() - self._began - self._spent
        self._loop.step(state.global_step - 1)
        if state.global_step > 1:
            self.trainer.append((self._sampling, whole))
            self.bare.append(self._loop.seconds)
            self.distances.append(distance(self._gradient, gradient(self._loop.model)))
        self._began = time.process_time()

    def on_log(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if self._trainer.update_facts and state.global_step > 1:
            self.facts.append(self._trainer.update_facts)


def run_pairs(steps: int, out: Path) -> Pairs:
    """Train `steps` updates into the folder `out`, each beside the bare loop's."""
    settings = resolve(
        "grpo", {"recipe": "nano", "steps": steps, "lr": LEARNING_RATE, "save_every": steps, "out": out}
    )
    plan = plan_training(settings)
    with ExitStack() as stack:
        pool = stack.enter_context(GradingPool(settings.workers))
        trainer = build_trainer(plan, load_model(plan), pool, stack)
        torch.set_num_threads(1)
        pairs = Pairs(trainer, BareLoop(plan, pool, trainer.args.per_device_train_batch_size))
        trainer.add_callback(pairs)
        trainer.train()
    return pairs


def measure(quick: bool = False) -> Measured:
    """The step's CPU seconds on both sides; its parts as notes."""
    # The run's own progress would stand between the tables.
    with tempfile.TemporaryDirectory(prefix="speed-") as folder, redirect_stderr(io.StringIO()):
        pairs = run_pairs(5 if quick else 21, Path(folder) / "run")
    row = Compared(
        name="a whole step of `prerl-train grpo --recipe nano`",
        unit="CPU s",
        prerl=statistics.median(whole for _, whole in pairs.trainer),
        peer_name="a bare torch loop, same rows and micro-batches",
        peer=statistics.median(whole for _, whole in pairs.bare),
        ratio=statistics.median(a / b for (_, a), (_, b) in zip(pairs.trainer, pairs.bare, strict=True)),
        ratio_is="times its time",
        bound=BOUND,
        differing=int(max(pairs.distances) >= EQUAL),
    )
    notes = [
        f"Of a step {name} spends {statistics.median(part for part, _ in side):.2f} CPU s in sampling, "
        f"{statistics.median(whole - part for part, whole in side):.2f} in the rest."
        for name, side in (("the trainer", pairs.trainer), ("the bare loop", pairs.bare))
    ]
    return Measured([row], notes=[*notes, describe_time(pairs.facts)])


def describe_time(facts: list[dict[str, Any]]) -> str:
    """The share of each part of a step (wall seconds, medians over updates) and tokens per second."""
    wholes = [sum(fact["seconds"].values()) for fact in facts]
    parts = []
    for part in ("sampling", "reward", "update"):
        share = statistics.median(
            fact["seconds"][part] / whole for fact, whole in zip(facts, wholes, strict=True)
        )
        speeds = [speed for fact in facts if (speed := fact["tokens_per_second"].get(part))]
        tokens = f" ({statistics.median(speeds):,.0f} tokens/s)" if speeds else ""
        parts.append(f"{part} {share:.0%}{tokens}")
    return f"A nano step's wall time: {', '.join(parts)}."
