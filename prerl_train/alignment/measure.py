"""One response of an alignment study, measured: whole, against another prompt, by a step, token by token.

Covers what a row of responses.jsonl holds; docs/alignment.md explains the fields. Does not cover where
responses come from (study.py) or how gradients are computed (gradients.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from prerl_eval.errors import UserError
from prerl_train.alignment import gradients
from prerl_train.alignment.files import Row

STEP_NATS = 0.01
"""Most that a step may change log P(y|x) to first order: small enough for curvature not to show."""


@dataclass(frozen=True)
class Response:
    """One sampled response with the three prefixes that it is put behind: ids of its prompt, of another
    problem's prompt, and the start token; each (P,) long on the model's device, `completion` (T,)."""

    row: Mapping[str, Any]
    completion: torch.Tensor
    prompt: torch.Tensor
    other_prompt: torch.Tensor
    start: torch.Tensor

    @property
    def key(self) -> tuple[str, int]:
        """(problem_id, sample_index)."""
        return self.row["problem_id"], self.row["sample_index"]


def measure_response(model: Any, response: Response, lr: float | None, per_token: bool) -> Row:
    """One row: alignment, control, step, and the tokens where asked for (see docs/alignment.md).

    Raises UserError where a gradient is zero or not finite.
    """
    began = time.perf_counter()
    geometry = _geometry(model, response, lr)
    logp_y, entropy_y = gradients.logprobs_and_entropies(model, response.start, response.completion)
    logp_yx, entropy_yx = gradients.logprobs_and_entropies(model, response.prompt, response.completion)
    row = {
        "problem_id": response.key[0],
        "sample_index": response.key[1],
        "status": response.row["status"],
        "finish_reason": response.row["finish_reason"],
        "tokens": len(response.completion),
        "logp_y": float(logp_y.sum()),
        "logp_yx": float(logp_yx.sum()),
        "token_gap": float((logp_yx - logp_y).abs().mean()),
        **geometry,
        "mispaired_with": response.row["mispaired_with"],
        "per_token": None,
        "seconds": round(time.perf_counter() - began, 3),
        "token_seconds": 0.0,
    }
    if per_token:
        began = time.perf_counter()
        row["per_token"] = _per_token(model, response) | {
            "logp_y": logp_y.tolist(),
            "logp_yx": logp_yx.tolist(),
            "entropy_y": entropy_y.tolist(),
            "entropy_yx": entropy_yx.tolist(),
        }
        row["token_seconds"] = round(time.perf_counter() - began, 3)
    return row


def _geometry(model: Any, response: Response, lr: float | None) -> dict[str, float]:
    """Inner products, cosines and norms of the whole response's gradients, and one step along the first."""
    y = response.completion
    grad_y = gradients.response_gradient(model, response.start, y)
    norm_y = gradients.norm(grad_y)
    inner_other, norm_other = _against(model, grad_y, response.other_prompt, y)
    inner, norm_yx = _against(model, grad_y, response.prompt, y)
    if not math.isfinite(inner) or not norm_y * norm_yx * norm_other > 0:
        raise UserError(
            f"the gradients at problem {response.key[0]} have norms {norm_y:g} and {norm_yx:g}, which cannot "
            "be compared; look for NaN in the checkpoint's weights"
        )
    # Cauchy-Schwarz: to first order this step moves log P(y|x) by STEP_NATS at most.
    step = lr if lr is not None else STEP_NATS / (norm_y * norm_yx)
    reward = 1.0 if response.row["status"] == "correct" else -1.0
    return {
        "inner": inner,
        "cosine": inner / (norm_y * norm_yx),
        "norm_y": norm_y,
        "norm_yx": norm_yx,
        "mispaired_inner": inner_other,
        "mispaired_cosine": inner_other / (norm_y * norm_other),
        "step": step,
        "predicted": step * reward * inner,
        "realised": gradients.change_after_step(model, grad_y, step * reward, response.prompt, y),
    }


def _against(
    model: Any, grad_y: gradients.Gradient, prefix: torch.Tensor, y: torch.Tensor
) -> tuple[float, float]:
    """Inner product of grad log P(y) with grad log P(y|prefix), and the norm of the latter."""
    conditional = gradients.response_gradient(model, prefix, y)
    return gradients.inner(grad_y, conditional), gradients.norm(conditional)


def _per_token(model: Any, response: Response) -> dict[str, list[float]]:
    found = gradients.token_alignment(model, response.prompt, response.start, response.completion)
    return {
        "token_id": response.completion.tolist(),
        "inner": found.inner.tolist(),
        "norm_y": found.norm_y.tolist(),
        "norm_yx": found.norm_yx.tolist(),
    }
