"""Rollouts from the model in training, by prerl_eval's decoder: one random stream per row.

A rollout depends on weights, run seed, update, draw and row: not on the process that samples it, and
not on what was sampled before, so a resumed run goes on as if nothing had happened. Covers TRL's
rollout function and how a model in training is made ready to sample. Does not cover vLLM, which TRL
drives itself, or evaluation during training (live.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate.utils import DistributedType
from transformers import GenerationConfig

from prerl_eval.engines.base import Sampling
from prerl_eval.engines.decoding import Row, decode_batch
from prerl_eval.engines.detokenize import Detokenizer
from prerl_eval.engines.transformers import rows_that_fit
from prerl_eval.errors import RunStopped, UserError
from prerl_eval.plan import request_seed


class EngineRollouts:
    """TRL's `rollout_func`: samples the prompts of a batch from the trainer's live model.

    tokenizer: the model's. sampling: with all ids that end a completion. max_tokens: completion tokens
    at most. seed: of the run. batch_size: rows decoded at once, None for as many as fit.
    """

    def __init__(
        self, tokenizer: Any, sampling: Sampling, max_tokens: int, seed: int, batch_size: int | None = None
    ):
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._max_tokens = max_tokens
        self._seed = seed
        self._batch_size = batch_size
        self._find_end = partial(Detokenizer(tokenizer).end, sampling=sampling)

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Completions of this process's prompts, one per prompt, as TRL's GRPOTrainer asks for them.

        prompts: whole texts, start token included. Returns prompt_ids and completion_ids (lists of ids,
        the stop token included), logprobs None (the trainer's own are the sampling ones), and for the
        reward function seed and seconds of each row.
        Raises RunStopped when a GPU is full, UserError where the weights are split over processes.
        """
        ids = {text: self._tokenizer(text, add_special_tokens=False).input_ids for text in set(prompts)}
        draw = f"{trainer.state.global_step + 1}/{getattr(trainer, 'draw', 0)}"
        first = trainer.accelerator.process_index * len(prompts)
        rows = [
            Row(ids[text], request_seed(self._seed, "rollout", draw, first + i), self._max_tokens)
            for i, text in enumerate(prompts)
        ]
        seconds: list[float] = []
        with ready_to_sample(trainer) as model:
            size = self._batch_size or rows_that_fit(model, max(map(len, ids.values())) + self._max_tokens)
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                began = time.perf_counter()
                self._decode(model, batch)
                seconds += [time.perf_counter() - began] * len(batch)
        return {
            "prompt_ids": [list(row.prompt) for row in rows],
            "completion_ids": [row.tokens for row in rows],
            "logprobs": None,
            "seed": [row.seed for row in rows],
            "seconds": seconds,
        }

    def _decode(self, model: Any, batch: Sequence[Row]) -> None:
        try:
            decode_batch(model, batch, self._sampling, self._find_end)
        except torch.OutOfMemoryError as error:
            raise RunStopped(
                f"the GPU is full while {len(batch)} completions of up to {self._max_tokens} tokens are "
                "sampled; lower --max-tokens, or sample with --engine vllm"
            ) from error


def refuse_shards(accelerator: Any) -> None:
    """Raise UserError where the weights are split over processes.

    Each decodes at its own pace, and gathering weights layer by layer needs them in step.
    """
    plugin = accelerator.state.deepspeed_plugin
    is_fsdp = accelerator.distributed_type == DistributedType.FSDP
    is_split = is_fsdp or (plugin is not None and plugin.zero_stage == 3)
    if is_split and accelerator.num_processes > 1:
        raise UserError(
            "--engine transformers cannot sample from weights that are split over processes "
            "(FSDP, DeepSpeed ZeRO-3); give --engine vllm"
        )


@contextmanager
def ready_to_sample(trainer: Any) -> Iterator[Any]:
    """The trainer's model, unwrapped, in evaluation mode and with an empty generation config.

    In evaluation mode a model neither checkpoints its activations nor drops out, and keeps its
    key-value cache. Mode and generation config are what they were afterwards: checkpoints save the
    config, and `generate` would fill in from it what the sampling settings leave open.
    Raises UserError where the weights are split over processes.
    """
    refuse_shards(trainer.accelerator)
    model = trainer.accelerator.unwrap_model(trainer.model)
    # An adapter's wrapper copies its config to the model below on every call.
    below = model.get_base_model() if hasattr(model, "get_base_model") else model
    config, trains = below.generation_config, model.training
    below.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    model.eval()
    try:
        yield model
    finally:
        model.train(trains)
        below.generation_config = config
