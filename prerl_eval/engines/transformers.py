"""The transformers engine: fixed batches on any device, bit-for-bit repeatable on CPU.

Batches are consecutive pieces of the WHOLE request list, stored rows included, because batching
changes logits in their last bits: a piece with any row missing is generated whole and only the
missing rows are handed out. So a resumed run gives the rows that an undisturbed one gives. Does not
cover the decoding loop (decoding.py).
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval.engines.base import Completion, Finished, Key, Request, Sampling
from prerl_eval.errors import RunStopped, UserError

if TYPE_CHECKING:
    from prerl_eval.checkpoint import Checkpoint

TINY_MODEL = 20_000_000
"""Parameters below which a second CPU thread costs more than it brings (20x on a busy machine)."""

CPU_CACHE_BYTES = 8 * 2**30
"""Most key-value cache that an automatic batch size plans for on CPU: a constant, not the free
memory of the moment, so that a resumed run cuts the same batches."""

MOST_ROWS = {"cpu": 128, "cuda": 256}
"""Largest automatic batch; beyond it a nano model on one core gains less than 10%."""


class TransformersEngine:
    """Samples with a causal LM of transformers; see prerl_eval.engines.base.Engine.

    batch_size: rows per batch; None picks a power of two whose key-value cache fits.
    dtype: "auto" is float32 on CPU and the checkpoint's own elsewhere.
    """

    name = "transformers"
    remedy = (
        "give a smaller --batch-size "
        "(stored rows stay, but batches are part of a run's settings: it needs its own --out)"
    )
    """What to do where a GPU is full."""

    def __init__(self, batch_size: int | None = None, dtype: str = "auto"):
        self._batch_size = batch_size
        self._dtype = dtype
        self._model: Any = None
        self._detokenizer: Any = None
        self._threads_before: int | None = None

    def load(self, checkpoint: Checkpoint) -> None:
        """Read weights and tokenizer. Raises UserError where the folder holds no complete model."""
        import torch
        from transformers import AutoTokenizer, GenerationConfig

        from prerl_eval.engines.detokenize import Detokenizer

        self._free()
        model = read_model(checkpoint, self._dtype, _device())
        # Sampling is what the flags say: `generate` would fill what they leave open from here.
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        self._model = model.eval()
        self._detokenizer = Detokenizer(AutoTokenizer.from_pretrained(checkpoint.tokenizer_path))
        if model.device.type == "cpu" and model.num_parameters() < TINY_MODEL:
            self._threads_before = self._threads_before or torch.get_num_threads()
            torch.set_num_threads(1)

    @property
    def model(self) -> Any:
        """The loaded model of transformers, in evaluation mode; None before `load`."""
        return self._model

    def describe(self) -> dict[str, Any]:
        """Device, dtype, threads and batch size of the loaded model."""
        import torch

        model = self._model
        return {
            "name": self.name,
            "device": torch.cuda.get_device_name() if model.device.type == "cuda" else model.device.type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "attention": model.config._attn_implementation,
            "threads": torch.get_num_threads(),
            "batch_size": self._batch_size or "auto",
        }

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, done: Callable[[Key], bool]
    ) -> Iterator[Finished]:
        """Batches in order, each as one list of its missing rows. Raises RunStopped when a GPU is full."""
        size = self._batch_size or self.automatic_batch_size(requests)
        for start in range(0, len(requests), size):
            batch = requests[start : start + size]
            if all(done(request.key) for request in batch):
                continue
            completions = self._complete(batch, sampling)
            yield [pair for pair in zip(batch, completions, strict=True) if not done(pair[0].key)]

    def automatic_batch_size(self, requests: Sequence[Request]) -> int:
        """`rows_that_fit` for the longest request: it depends on the request list only."""
        longest = max(len(_prompt_ids(request)) + request.max_tokens for request in requests)
        return rows_that_fit(self._model, longest)

    def _complete(self, batch: Sequence[Request], sampling: Sampling) -> list[Completion]:
        import torch

        from prerl_eval.engines.decoding import Row, decode_batch

        start = time.perf_counter()
        rows = [Row(_prompt_ids(request), request.seed, request.max_tokens) for request in batch]
        try:
            decode_batch(self._model, rows, sampling, partial(self._detokenizer.end, sampling=sampling))
        except torch.OutOfMemoryError as error:
            raise RunStopped(f"the GPU is full at {len(batch)} sequences per batch; {self.remedy}") from error
        seconds = time.perf_counter() - start
        return [
            Completion(
                text=self._detokenizer.text(row.prompt, row.tokens, sampling),
                token_ids=tuple(row.tokens),
                tokens=len(row.tokens),
                finish_reason=row.finish_reason,
                seconds=seconds,
            )
            for row in rows
        ]

    def close(self) -> None:
        """Drop the model and give the threads back; safe to call twice."""
        self._free()
        if self._threads_before is not None:
            import torch

            torch.set_num_threads(self._threads_before)
            self._threads_before = None

    def _free(self) -> None:
        if self._model is None:
            return
        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def read_model(checkpoint: Checkpoint, dtype: str, device: str) -> Any:
    """A causal LM with the checkpoint's weights; a PEFT adapter is merged into its base.

    Raises UserError where weights are missing, damaged or of another shape: transformers itself
    would fill missing ones at random with a warning.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    bars: Any = logging
    if not sys.stderr.isatty():
        bars.disable_progress_bar()
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    folder = checkpoint.base_path or checkpoint.path
    load: Any = AutoModelForCausalLM
    try:
        model, report = load.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    except Exception as error:  # a damaged file fails as it likes, down to struct.error
        raise _unloadable(folder, error) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(
            f"{folder} lacks {len(missing)} of the model's weights ({missing[0]}, ...); save it again whole"
        )
    if checkpoint.base_path:
        from peft import PeftModel

        adapter: Any = PeftModel
        try:
            model = adapter.from_pretrained(model, checkpoint.path).merge_and_unload()
        except Exception as error:  # peft raises KeyError, RuntimeError and others
            raise _unloadable(checkpoint.path, error) from error
    return model.to(device)


def _unloadable(folder: Path | None, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return UserError(f"{folder} cannot be loaded ({reason}); save or download it again")


def rows_that_fit(model: Any, longest: int) -> int:
    """Power of two of rows whose key-value cache fits at `longest` tokens each, prompt included."""
    import torch

    budget = CPU_CACHE_BYTES
    if model.device.type == "cuda":
        total = torch.cuda.get_device_properties(model.device).total_memory
        # Half: `generate` copies a layer's cache while it grows, and logits need room.
        budget = max(0, int(0.9 * total) - model.get_memory_footprint()) // 2
    rows = budget // (cache_bytes_per_token(model) * longest)
    rows = min(max(rows, 1), MOST_ROWS.get(model.device.type, MOST_ROWS["cpu"]))
    return int(2 ** (rows.bit_length() - 1))


def cache_bytes_per_token(model: Any) -> int:
    """Bytes of keys and values that one token of one sequence takes, over all layers."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)


def _prompt_ids(request: Request) -> tuple[int, ...]:
    if request.prompt.token_ids is None:
        raise UserError("a prompt without token ids needs --engine openai; this checkpoint has no tokenizer")
    return request.prompt.token_ids


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
