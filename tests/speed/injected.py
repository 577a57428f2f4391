"""Rollouts made beforehand and the trainers that learn from them: what the update comparisons share.

A small random Qwen3 whose output head takes the share of the arithmetic that Qwen3-4B's takes (a
tenth); completions with the length spread of a run with 8,192 tokens, at a sixteenth of the length;
trainers that get them from a `rollout_func`; CPU seconds and gradient of every update. Learning
rate 0: the optimizer does its work and every update is the same one.
"""

import itertools
import math
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from tests.tiny import SPECIAL, save_tokenizer

VOCABULARY = 512
START, END = 1, 2
LONGEST = 512
GROUP = 8
MICRO = 4
"""Rows of a micro-batch in the plain split."""

NO_CLIPPING = 1e6
"""As max_grad_norm: the norm is computed, and gradients can be compared."""


@dataclass(frozen=True)
class Rows:
    """A rollout batch. prompts: token ids of each problem; completions, rewards: GROUP of each, in turn."""

    prompts: Sequence[Sequence[int]]
    completions: Sequence[Sequence[int]]
    rewards: Sequence[float]

    @property
    def row_prompts(self) -> list[Sequence[int]]:
        """The prompt of every row."""
        return [prompt for prompt in self.prompts for _ in range(GROUP)]

    @property
    def useful(self) -> float:
        """Share of tokens when every row is padded to the longest prompt and completion of the batch."""
        width = max(map(len, self.prompts)) + max(map(len, self.completions))
        tokens = sum(map(len, self.row_prompts)) + sum(map(len, self.completions))
        return tokens / (width * len(self.completions))

    def wrong(self) -> list[int]:
        """Rows below their group's mean: those that NSR-PreRL learns from."""
        means = [sum(self.rewards[i : i + GROUP]) / GROUP for i in range(0, len(self.rewards), GROUP)]
        return [row for row, reward in enumerate(self.rewards) if reward < means[row // GROUP]]

    @property
    def contributing(self) -> float:
        """Share of the sampled tokens that is in `wrong` rows."""
        return sum(len(self.completions[row]) for row in self.wrong()) / sum(map(len, self.completions))


def make_rows(problems: int, median: int, sigma: float, mixed: float, seed: int) -> Rows:
    """Lognormal lengths, cut off at LONGEST; a share `mixed` of the groups has right and wrong answers."""
    source = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [source.randrange(len(SPECIAL) + 1, VOCABULARY) for _ in range(count)]

    prompts = [[START, *tokens(source.randint(5, 20))] for _ in range(problems)]
    completions, rewards = [], []
    for problem in range(problems):
        right = source.randint(1, GROUP - 1) if problem < mixed * problems else source.choice((0, GROUP))
        rewards += source.sample([1.0] * right + [0.0] * (GROUP - right), GROUP)
        for _ in range(GROUP):
            length = int(source.lognormvariate(math.log(median), sigma))
            completions.append([*tokens(length - 1), END] if length <= LONGEST else tokens(LONGEST))
    return Rows(prompts, completions, rewards)


def first_rows(wanted: Any, **shape: Any) -> Rows:
    """The rows of the first seed that `wanted` accepts."""
    return next(rows for seed in itertools.count() if wanted(rows := make_rows(seed=seed, **shape)))


def small_model() -> Qwen3ForCausalLM:
    """0.66M parameters, the same at every call."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=0,
        )
    ).train()


class Clock(TrainerCallback):
    """CPU seconds of each update but the first of a `train()`, and the last gradient.

    An update is what lies between the ends of two optimizer steps, so it includes what the trainer
    logs; `outside` (seconds of the rollout and of the reward) is taken off.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.outside = 0.0
        self.gradient: list[torch.Tensor] = []
        self._last: float | None = None

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._last = None

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        if self._last is None:
            self.gradient = gradient(model)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now = time.process_time()
        if self._last is not None:
            self.seconds.append(now - self._last - self.outside)
        self._last, self.outside = now, 0.0


class Injected:
    """A GRPOTrainer (`trainer_class`, `config_class`, `settings`) whose completions are `rows`."""

    def __init__(self, trainer_class: Any, config_class: Any, rows: Rows, updates: int, **settings: Any):
        from datasets import Dataset

        self.rows, self.clock = rows, Clock()
        self._folder = tempfile.TemporaryDirectory(prefix="speed-")
        folder = Path(self._folder.name)
        save_tokenizer(folder, [str(number) for number in range(VOCABULARY - len(SPECIAL) - 1)])
        count = len(rows.completions)
        config = config_class(
            output_dir=str(folder),
            per_device_train_batch_size=MICRO,
            gradient_accumulation_steps=count // MICRO,
            num_generations=GROUP,
            max_completion_length=LONGEST,
            max_steps=updates + 1,
            learning_rate=0.0,
            max_grad_norm=NO_CLIPPING,
            loss_type="dapo",
            shuffle_dataset=False,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            **settings,
        )
        problems = [{"prompt": str(number)} for number in range(len(rows.prompts))] * (updates + 1)
        self.trainer = trainer_class(
            small_model(),
            self._reward,
            config,
            train_dataset=Dataset.from_list(problems),
            processing_class=AutoTokenizer.from_pretrained(folder),
            rollout_func=self._rollout,
            callbacks=[self.clock],
        )
        self.trainer.remove_callback(PrinterCallback)

    def run(self) -> list[float]:
        """CPU seconds of each of `updates` updates, after one that is not counted."""
        self.clock.seconds.clear()
        self.trainer.train()
        return list(self.clock.seconds)

    def _rollout(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        start = time.process_time()
        made = {
            "prompt_ids": [list(prompt) for prompt in self.rows.row_prompts],
            "completion_ids": [list(completion) for completion in self.rows.completions],
            "logprobs": None,
        }
        self.clock.outside += time.process_time() - start
        return made

    def _reward(self, **_: Any) -> list[float]:
        return list(self.rows.rewards)


def gradient(model: torch.nn.Module) -> list[torch.Tensor]:
    """A copy of every parameter's gradient."""
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def distance(first: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """|a - b| / |b| of two gradients over all parameters."""
    difference = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(first, other, strict=True)))
    return difference / math.sqrt(sum(float(b.square().sum()) for b in other))
