"""Engines around a trainer's live model: evaluation in the middle of training.

`evaluate_live` fills an ordinary run directory with the policy as it is, by the code that
`prerl-eval run` uses; all processes sample, the main one grades and writes. Covers the model in
training (LiveEngine) and TRL's vLLM (LiveVLLMEngine). Does not cover when to evaluate (watch.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from prerl_eval.checkpoint import Checkpoint
from prerl_eval.engines.base import Completion, Finished, Key, Request, Sampling
from prerl_eval.engines.detokenize import Detokenizer
from prerl_eval.engines.transformers import TransformersEngine
from prerl_eval.engines.vllm import sampling_params
from prerl_eval.errors import RunStopped, UserError
from prerl_eval.grading import GradingPool
from prerl_eval.plan import RunPlan
from prerl_eval.run import execute
from prerl_train.rollouts import ready_to_sample, refuse_shards


@dataclass(frozen=True)
class LiveCheckpoint(Checkpoint):
    """The policy after `step` updates of a run; tokenizer, config and context are those it started from."""

    run_id: str = ""
    step: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """The run and the step: the weights are in no file."""
        return f"live:{self.run_id}/step-{self.step}"


def live_checkpoint(start: Checkpoint, run_id: str, step: int) -> LiveCheckpoint:
    """What a plan of an evaluation at `step` stands on. start: the checkpoint that training began with."""
    name = f"{run_id}-step-{step}"
    return LiveCheckpoint(start.ref, name, start.path, start.base, run_id=run_id, step=step)


def evaluate_live(plan: RunPlan, engine: LiveEngine | LiveVLLMEngine, pool: GradingPool) -> None:
    """Fill the plan's run directory with the trainer's policy; every process calls it.

    plan: of the main process; the others' is not read. Raises as `prerl_eval.run.execute` does.
    """
    engine.sync()
    if not engine.is_main:
        engine.follow()
        return
    try:
        execute(plan, engine, pool)
    finally:
        engine.release()


class _Turns:
    """Turns of work, one batch for each worker: the main process hands out and collects.

    A process that is not the main one waits in `follow`, so that none runs into a timeout of the
    process group while another evaluates.
    """

    processes_per_batch = 1
    """Processes that work on one batch together (tensor parallelism); the first of them answers."""

    def __init__(self, trainer: Any):
        self._trainer = trainer
        self._accelerator = trainer.accelerator
        self._in_turn = False

    @property
    def is_main(self) -> bool:
        """Whether this process hands out."""
        return bool(self._accelerator.is_main_process)

    @property
    def workers(self) -> int:
        """Batches of a turn."""
        return int(self._accelerator.num_processes) // self.processes_per_batch

    def sync(self) -> None:
        """Bring the trainer's weights to where they are sampled from; every process calls it."""

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, done: Callable[[Key], bool]
    ) -> Iterator[Finished]:
        """Fixed batches of the whole list, those with a missing row, `workers` at a time."""
        size = self.batch_size(requests)
        batches = [list(requests[start : start + size]) for start in range(0, len(requests), size)]
        batches = [batch for batch in batches if not all(done(request.key) for request in batch)]
        for start in range(0, len(batches), self.workers):
            turn = batches[start : start + self.workers]
            self._in_turn = True
            broadcast_object_list([(turn, sampling)])
            answers = self._take_part(turn, sampling)
            self._in_turn = False
            for batch, completions in zip(turn, answers, strict=True):
                yield [pair for pair in zip(batch, completions, strict=True) if not done(pair[0].key)]

    def follow(self) -> None:
        """Take part in the main process's turns until it releases the others."""
        while (work := broadcast_object_list([None])[0]) is not None:
            self._take_part(*work)

    def release(self) -> None:
        """Let the other processes go on. After a failed turn they cannot hear it: they end with the run."""
        if not self._in_turn:
            broadcast_object_list([None])

    def _take_part(self, turn: Sequence[list[Request]], sampling: Sampling) -> list[list[Completion]]:
        index, place = divmod(self._accelerator.process_index, self.processes_per_batch)
        mine = [self.complete(batch, sampling) for batch in turn[index : index + 1]]
        answers: list[list[Completion]] = gather_object(mine if place == 0 else [])
        return answers

    def batch_size(self, requests: Sequence[Request]) -> int:
        """Rows of a batch."""
        raise NotImplementedError

    def complete(self, batch: list[Request], sampling: Sampling) -> list[Completion]:
        """Sample one batch on this process."""
        raise NotImplementedError


class LiveEngine(_Turns, TransformersEngine):
    """The trainer's own model, in batches as the transformers engine cuts them: same seeds, same rows.

    batch_size: rows per batch; None for as many as fit. Raises UserError where the weights are split
    over processes.
    """

    remedy = "evaluate by itself with prerl-eval run --batch-size, or train with --engine vllm"

    def __init__(self, trainer: Any, batch_size: int | None = None):
        TransformersEngine.__init__(self, batch_size)
        _Turns.__init__(self, trainer)
        refuse_shards(trainer.accelerator)
        self._model = trainer.accelerator.unwrap_model(trainer.model)
        self._detokenizer = Detokenizer(trainer.processing_class)

    def load(self, checkpoint: Checkpoint) -> None:
        """Nothing to load: the weights are the trainer's."""

    def close(self) -> None:
        """Nothing to free: the model is the trainer's."""

    def batch_size(self, requests: Sequence[Request]) -> int:
        """The size that was asked for, else what fits."""
        return self._batch_size or self.automatic_batch_size(requests)

    def complete(self, batch: list[Request], sampling: Sampling) -> list[Completion]:
        """Sample one batch; the model is left as it was. Raises RunStopped when a GPU is full."""
        with ready_to_sample(self._trainer):
            return self._complete(batch, sampling)


class LiveVLLMEngine(_Turns):
    """The vLLM that TRL runs beside the trainer, with the policy's weights.

    Colocated, every request keeps its seed. A server takes one set of settings per call and no seeds
    with it: equal prompts would get equal samples.
    """

    name = "vllm"

    def __init__(self, trainer: Any):
        super().__init__(trainer)
        self._vllm = trainer.vllm_generation
        self._is_server = self._vllm.mode == "server"
        shared = self._accelerator.num_processes if self._is_server else self._vllm.tensor_parallel_size
        self.processes_per_batch = shared
        self._detokenizer = Detokenizer(trainer.processing_class)

    def sync(self) -> None:
        """Send the weights to vLLM, unless it has those of this update."""
        step = self._trainer.state.global_step
        if self._trainer._last_loaded_step != step:
            self._vllm.sync_weights()
            self._trainer._last_loaded_step = step

    def load(self, checkpoint: Checkpoint) -> None:
        """The weights are the trainer's."""
        self.sync()

    def describe(self) -> dict[str, Any]:
        """How TRL runs it."""
        return {"name": self.name, "mode": self._vllm.mode, "processes_per_batch": self.processes_per_batch}

    def close(self) -> None:
        """Nothing to free: vLLM is the trainer's."""

    def batch_size(self, requests: Sequence[Request]) -> int:
        """Everything at once, shared out evenly: vLLM batches by itself.

        Raises UserError where a request may become longer than the training's vLLM takes.
        """
        if not self._is_server:
            limit = self._vllm.llm.llm_engine.model_config.max_model_len
            longest = max(len(request.prompt.token_ids or ()) + request.max_tokens for request in requests)
            if longest > limit:
                raise UserError(
                    f"{requests[0].key[0]}: prompt and completion may take {longest} tokens, the training's "
                    f"vllm takes {limit}; lower max_tokens in a copy of the card"
                )
        return -(-len(requests) // self.workers)

    def complete(self, batch: list[Request], sampling: Sampling) -> list[Completion]:
        """Sample one share of the requests."""
        start = time.perf_counter()
        if not self._is_server:
            tokens = self._ask_llm(batch, sampling)
        elif self.is_main:
            tokens = self._ask_server(batch, sampling)
        else:
            return []
        seconds = time.perf_counter() - start
        return [
            Completion(
                text=self._detokenizer.text(request.prompt.token_ids or (), ids, sampling),
                token_ids=tuple(ids),
                tokens=len(ids),
                finish_reason="stop" if ids and ids[-1] in sampling.stop_token_ids else "length",
                seconds=seconds,
            )
            for request, ids in zip(batch, tokens, strict=True)
        ]

    def _ask_llm(self, batch: list[Request], sampling: Sampling) -> list[Sequence[int]]:
        vllm = self._vllm
        if vllm.enable_sleep_mode:
            if vllm._llm_weights_sleeping:
                vllm.sync_weights()
            vllm.llm.wake_up(tags=["kv_cache"])
        outputs = vllm.llm.generate(
            [{"prompt_token_ids": list(request.prompt.token_ids or ())} for request in batch],
            sampling_params=[sampling_params(request, sampling) for request in batch],
            use_tqdm=False,
        )
        if vllm.enable_sleep_mode:
            # Level 2 forgets the weights, as TRL's own calls do: the next call sends them again.
            vllm.llm.sleep(level=2)
            vllm._llm_weights_sleeping = True
        return [output.outputs[0].token_ids for output in outputs]

    def _ask_server(self, batch: list[Request], sampling: Sampling) -> list[Sequence[int]]:
        try:
            answer = self._vllm.vllm_client.generate(
                [list(request.prompt.token_ids or ()) for request in batch],
                n=1,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                max_tokens=batch[0].max_tokens,
                generation_kwargs={"stop_token_ids": list(sampling.stop_token_ids)},
            )
        except Exception as error:  # TRL's client raises bare Exception
            raise RunStopped(
                f"{batch[0].key[0]}: the vllm server does not answer ({str(error)[:300]}); "
                "mend what it names and run the same command"
            ) from error
        tokens: list[Sequence[int]] = answer["completion_ids"]
        return tokens
