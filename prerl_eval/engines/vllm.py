"""The vLLM engine: AsyncLLM on a background event loop, completions handed over as they finish.

One vLLM request per sample, each with its own seed; the samples of a problem share their prompt
through prefix caching. vLLM's results depend on what else is in the batch (vllm#51187), so this
engine promises the same requests and seeds and each row once, not the same bits. Tensor and data
parallelism are vLLM's own; Ray spreads them over nodes. Does not cover servers (openai.py).
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from prerl_eval.engines.base import Completion, Finished, Key, Request, Sampling
from prerl_eval.engines.orphans import OrphanGuard
from prerl_eval.engines.streaming import BackgroundLoop
from prerl_eval.errors import RunStopped, UserError

if TYPE_CHECKING:
    from prerl_eval.checkpoint import Checkpoint

IN_FLIGHT = 2048
"""Requests handed to each replica at a time: more than it can batch, far fewer than a run has."""

ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Set before vLLM is imported, where the user has not: quiet, off stdout, no telemetry, and no fork
of a process that has threads."""

SHUTDOWN_SECONDS = 20
"""Grace for vLLM's processes before they are killed."""

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Maximal ranks that vLLM can be started with."""

VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache")
"""config.json keys that may differ within a series of checkpoints of one model."""


class VllmEngine:
    """Samples with vLLM in this machine's processes; see prerl_eval.engines.base.Engine.

    tp, dp: tensor- and data-parallel size. dtype: "auto" is vLLM's choice, float32 on CPU.
    """

    name = "vllm"

    def __init__(self, tp: int = 1, dp: int = 1, dtype: str = "auto"):
        self._tp, self._dp, self._dtype = tp, dp, dtype
        self._llm: Any = None
        self._started_with: dict[str, Any] = {}
        self._layout: dict[str, Any] = {}
        self._weights: str = ""
        self._lora: Any = None
        self._detokenizer: Any = None
        self._numbers = itertools.count(1)
        self._loop = BackgroundLoop("vllm")
        self._guard = OrphanGuard()

    def load(self, checkpoint: Checkpoint) -> None:
        """Start vLLM with this checkpoint; when it runs already, reload weights in place where it can.

        Raises RunStopped where vLLM does not start (its own log names the cause).
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from transformers import AutoTokenizer

        from prerl_eval.engines.detokenize import Detokenizer

        model = checkpoint.base or checkpoint
        settings, layout = self._settings(checkpoint), weight_layout(model)
        if self._llm is not None and (settings, layout) != (self._started_with, self._layout):
            self._stop()
        if self._llm is None:
            self._start(str(model.path), settings)
        elif self._weights != model.fingerprint and not self._reload(str(model.path)):
            self._stop()
            self._start(str(model.path), settings)
        self._started_with, self._layout, self._weights = settings, layout, model.fingerprint
        self._lora = self._add_adapter(checkpoint) if checkpoint.base else None
        self._detokenizer = Detokenizer(AutoTokenizer.from_pretrained(checkpoint.tokenizer_path))

    def describe(self) -> dict[str, Any]:
        """Device, dtype, parallelism and limits of the running engine."""
        config = self._llm.vllm_config
        return {
            "name": self.name,
            "device": config.device_config.device_type,
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "tp": self._tp,
            "dp": self._dp,
            "executor": config.parallel_config.distributed_executor_backend,
            "max_model_len": config.model_config.max_model_len,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
        }

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, done: Callable[[Key], bool]
    ) -> Iterator[Finished]:
        """The missing requests, as they finish. Raises RunStopped when the engine dies."""
        missing = [request for request in requests if not done(request.key)]
        self._check_lengths(missing)

        async def complete(request: Request) -> Completion:
            return await self._complete(request, sampling)

        yield from self._loop.stream(missing, complete, IN_FLIGHT * self._dp)

    def close(self) -> None:
        """Stop vLLM and its processes; safe to call twice."""
        self._stop()

    async def _complete(self, request: Request, sampling: Sampling) -> Completion:
        from vllm.exceptions import VLLMError
        from vllm.inputs import tokens_input

        start = time.perf_counter()
        prompt = _prompt_ids(request)
        stream = self._llm.generate(
            tokens_input(list(prompt)),
            sampling_params(request, sampling),
            request_id=str(next(self._numbers)),
            lora_request=self._lora,
        )
        try:
            async for last in stream:
                sample = last.outputs[0]
        except (VLLMError, ValueError) as error:
            raise RunStopped(
                f"vllm stopped ({_first_line(error)}); stored rows are safe, run the same command to go on"
            ) from error
        if sample.finish_reason in ("abort", "error"):
            raise RunStopped(
                f"vllm gave up a request ({sample.finish_reason}); run the same command to go on"
            )
        tokens = tuple(sample.token_ids)
        return Completion(
            text=self._detokenizer.text(prompt, tokens, sampling),
            token_ids=tokens,
            tokens=len(tokens),
            finish_reason=str(sample.finish_reason),
            seconds=time.perf_counter() - start,
        )

    def _check_lengths(self, requests: Sequence[Request]) -> None:
        limit = self._llm.vllm_config.model_config.max_model_len
        longest = max((len(_prompt_ids(request)) + request.max_tokens for request in requests), default=0)
        if longest > limit:
            raise RunStopped(
                f"prompt and completion may take {longest} tokens, but vllm takes {limit} here (by the "
                "model's files, or its memory); lower --max-tokens, or raise --tp"
            )

    def _settings(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What vLLM is started with beside the weights."""
        from vllm.platforms import current_platform

        settings: dict[str, Any] = {
            "dtype": self._dtype,
            "tensor_parallel_size": self._tp,
            "data_parallel_size": self._dp,
            # "vllm": nothing is read from a generation_config.json.
            "generation_config": "vllm",
            "enable_prefix_caching": True,
            # -1: the model's own length, or what the memory holds (checked in `generate`).
            "max_model_len": -1,
        }
        if current_platform.is_cpu():
            settings["enforce_eager"] = True
            if self._dtype == "auto":
                settings["dtype"] = "float32"
        elif self._tp * self._dp > current_platform.device_count():
            settings["distributed_executor_backend"] = "ray"
            if self._dp > 1:
                settings["data_parallel_backend"] = "ray"
        if checkpoint.base:
            settings["enable_lora"] = True
            settings["max_lora_rank"] = _lora_rank(checkpoint)
        return settings

    def _start(self, model: str, settings: dict[str, Any]) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        async def start() -> Any:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(model=model, disable_log_stats=True, **settings))

        starting = self._loop.submit(start())
        try:
            while not starting.done():
                for engine_process in _engine_processes():
                    self._guard.watch(engine_process.pid or 0)
                wait([starting], timeout=0.5)
            self._llm = starting.result()
        except (RuntimeError, ValueError, OSError) as error:
            raise RunStopped(
                f"vllm did not start on {model} ({_first_line(error)}); see its log above"
            ) from error
        except KeyboardInterrupt:
            # The start is given up with its process; otherwise close() would wait for it.
            for engine_process in _engine_processes():
                engine_process.terminate()
            raise
        finally:
            # A failed import inside vLLM keeps this frame for good, and AsyncLLM must not live as long.
            del starting

    def _reload(self, folder: str) -> bool:
        """Swap weights in place; false where vLLM cannot for this kind of model."""

        async def reload() -> None:
            await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
            # Keys and values of the old weights.
            await self._llm.reset_prefix_cache()

        try:
            self._loop.submit(reload()).result()
        except Exception as error:  # noqa: BLE001 - vLLM's workers answer with bare exceptions
            print(f"note: vllm is started anew for {folder} ({_first_line(error)})", file=sys.stderr)
            return False
        return True

    def _add_adapter(self, checkpoint: Checkpoint) -> Any:
        from vllm.lora.request import LoRARequest

        adapter = LoRARequest(checkpoint.name, next(self._numbers), str(checkpoint.path))
        try:
            self._loop.submit(self._llm.add_lora(adapter)).result()
        except Exception as error:  # vLLM's workers answer with bare exceptions
            raise UserError(
                f"{checkpoint.path}: vllm cannot use this adapter ({_first_line(error)}); "
                "merge it into its base, or take --engine transformers, which merges it"
            ) from error
        return adapter

    def _stop(self) -> None:
        async def shut_down() -> None:
            if self._llm is not None:
                self._llm.shutdown(timeout=SHUTDOWN_SECONDS)

        # On the loop and after its tasks: vLLM logs a traceback when one of them still listens.
        self._loop.close(shut_down)
        self._llm = None
        gc.collect()  # AsyncLLM is part of a cycle, and its finalizer fails once the interpreter ends
        self._guard.close()


def sampling_params(request: Request, sampling: Sampling) -> Any:
    """One request's settings in vLLM's words, every one explicit."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        n=1,
        seed=request.seed,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=0.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        repetition_penalty=1.0,
        max_tokens=request.max_tokens,
        min_tokens=0,
        stop=list(sampling.stop),
        stop_token_ids=list(sampling.stop_token_ids),
        # The stop ids are all in stop_token_ids; vLLM would add those of the model's files.
        ignore_eos=True,
        # vLLM needs the text for stop strings only; ours comes from Detokenizer.
        detokenize=bool(sampling.stop),
        skip_special_tokens=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def weight_layout(checkpoint: Checkpoint) -> dict[str, Any]:
    """What must be equal for weights to be swapped in place: config, names and shapes of the tensors."""
    from prerl_eval.weights import find_weights, read_header

    assert checkpoint.path is not None
    shapes = {
        name: tensor["shape"]
        for file in find_weights(checkpoint.path, "model")
        if file.suffix == ".safetensors"
        for name, tensor in read_header(file).items()
        if name != "__metadata__"
    }
    config = {key: value for key, value in checkpoint.config.items() if key not in VOLATILE}
    return {"config": config, "shapes": shapes}


def _lora_rank(checkpoint: Checkpoint) -> int:
    from prerl_eval.json_files import read_json

    assert checkpoint.path is not None
    config = read_json(checkpoint.path / "adapter_config.json")
    rank = max(config.get("r", 8), *config.get("rank_pattern", {}).values(), 0)
    return next((fits for fits in LORA_RANKS if fits >= rank), rank)


def _prompt_ids(request: Request) -> tuple[int, ...]:
    if request.prompt.token_ids is None:
        raise UserError("a prompt without token ids needs --engine openai; this checkpoint has no tokenizer")
    return request.prompt.token_ids


def _engine_processes() -> list[BaseProcess]:
    """vLLM's engine cores among this process's children."""
    return [child for child in multiprocessing.active_children() if child.name.startswith("EngineCore")]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
