"""Training beside TRL's vLLM: is it there, why did it not start, and prompts exactly as they are.

Covers the server's address before weights are loaded, the one line for a vLLM that cannot start, and
the rollout function. Does not cover vLLM itself, weight sync (TRL's) or evaluation (live.py).
"""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prerl_eval.errors import RunStopped, UserError

PATIENCE = 240.0
"""Seconds that a server may take to come up; TRL waits as long."""

SERVE = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' '
    "--logprobs-mode processed_logprobs"
)


def wait_for_server(url: str, patience: float = PATIENCE) -> None:
    """Wait until the vLLM server at `url` answers. Raises UserError where it does not."""
    start = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=10):
                return
        except ValueError as error:
            raise UserError(f"--vllm-server {url} is no address; give http://host:port") from error
        except OSError as error:
            if time.monotonic() - start >= patience:
                reason = getattr(error, "reason", error)
                raise UserError(
                    f"--vllm-server {url} does not answer ({reason}); start it: {SERVE}"
                ) from error
            if patience and time.monotonic() - start < 2:
                print(f"waiting for vLLM at {url}", file=sys.stderr)
        time.sleep(min(2.0, patience))


@contextmanager
def explaining_start(memory: float) -> Iterator[None]:
    """Turn what vLLM raises while it starts into one line. memory: its share of a GPU (--vllm-memory)."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if not _comes_from_vllm(error):
            raise
        reason = " ".join(str(error).split())[:300]
        raise RunStopped(
            f"vllm did not start ({reason}); it may take {memory:g} of each GPU: raise --vllm-memory where "
            "its cache does not fit, lower it where the GPU is full"
        ) from error


def _comes_from_vllm(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == "vllm":
            return True
        trace = trace.tb_next
    return False


def rollouts_of_vllm(prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
    """TRL's `rollout_func` over TRL's own vLLM: prompts are whole texts, their start token included.

    TRL would put a second start token before them where the tokenizer adds one by itself.
    """
    ids = trainer.processing_class(list(prompts), add_special_tokens=False).input_ids
    completions, logprobs = trainer._generate_single_turn(ids, None, {}, trainer.num_generations)
    return {"prompt_ids": ids, "completion_ids": completions, "logprobs": logprobs}
