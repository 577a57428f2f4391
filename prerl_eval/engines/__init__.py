"""Engines: what samples completions (see base.py for the protocol), and how a run picks one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from prerl_eval.errors import UserError

if TYPE_CHECKING:
    from prerl_eval.engines.base import Engine

ENGINES = ("auto", "transformers", "vllm", "openai")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def make_engine(
    name: str,
    *,
    tp: int = 1,
    dp: int = 1,
    batch_size: int | None = None,
    base_url: str | None = None,
    dtype: str = "auto",
) -> Engine:
    """An engine by name, not yet started; settings that it cannot honour are refused here.

    name: "auto" takes vllm where CUDA and vllm are present, else transformers. tp, dp: tensor- and
    data-parallel size (vllm). batch_size: sequences per batch (transformers), None to fit memory.
    base_url: server address (openai), None for OPENAI_BASE_URL. dtype: one of `DTYPES`.

    Raises UserError.
    """
    if name not in ENGINES:
        raise UserError(f"--engine {name} is unknown; give one of {', '.join(ENGINES)}")
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype} is unknown; give one of {', '.join(DTYPES)}")
    if name == "auto":
        name = "vllm" if find_spec("vllm") and _has_cuda() else "transformers"
    if name != "vllm" and (tp, dp) != (1, 1):
        raise UserError(f"--tp {tp} --dp {dp} need --engine vllm; this run's engine is {name}")
    if name != "transformers" and batch_size is not None:
        raise UserError(f"--batch-size {batch_size} needs --engine transformers; {name} batches by itself")
    if name == "vllm":
        if not find_spec("vllm"):
            raise UserError(
                "--engine vllm: vllm is not installed; run pip install '.[vllm]' or take another --engine"
            )
        from prerl_eval.engines.vllm import VllmEngine

        return VllmEngine(tp=tp, dp=dp, dtype=dtype)
    if name == "openai":
        from prerl_eval.engines.openai import OpenAIEngine

        return OpenAIEngine(base_url=base_url)
    from prerl_eval.engines.transformers import TransformersEngine

    return TransformersEngine(batch_size=batch_size, dtype=dtype)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
