"""Gradients of log P(y) and log P(y|x) over all parameters: whole responses, and token by token.

Covers log-probs of one response behind one prefix, their exact gradients, inner products, and what
one real step does. A prefix is (P,) token ids: the prompt for log P(y|x), one start token for
log P(y). A completion is (T,) ids, the stop token included. One sequence at a time, so there is no
padding and no mask. Does not cover sampling, or what is concluded from it (summary.py).

Memory beside the weights (N bytes, all in the model's dtype): a whole response takes 2 N for two
gradients and the activations of one forward pass. Tokens take 2 C N for the gradients of a chunk of C
tokens in both spaces, and the activations of one pass, of which C copies exist while the pass is
walked backwards. C is 1 for a model whose gradients do not fit twice into CHUNK_BYTES, so the T x N
bytes of all tokens' gradients never exist, whatever T is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

CHUNK_BYTES = 2**30
"""What the gradients of one chunk of tokens may take, both spaces together."""

MOST_TOKENS = 32
"""Largest chunk: at the size of the nano base, larger ones gain nothing."""

Gradient = Sequence[torch.Tensor | None]
"""One tensor per parameter, None where the parameter does not matter (an image tower, say)."""

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TokenAlignment:
    """Per token of one completion, each (T,) float64 on CPU.

    inner: <grad log p(y_t|y_<t), grad log p(y_t|x,y_<t)> over all parameters. norm_y, norm_yx: the
    gradients' norms, of log p(y_t|y_<t) and of log p(y_t|x,y_<t).
    """

    inner: torch.Tensor
    norm_y: torch.Tensor
    norm_yx: torch.Tensor


def prepare(model: Any) -> None:
    """Make every parameter count, and nothing draw at random.

    A model too large for chunks recomputes its activations layer by layer (gradient checkpointing),
    which changes no value; one with dropout does not, because transformers would switch both on.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    model.eval().requires_grad_(True)
    if chunk_size(model) > 1 or not getattr(model, "supports_gradient_checkpointing", False):
        return
    if any(value for name, value in model.config.to_dict().items() if "drop" in name):
        return
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True  # else it would not recompute


def chunk_size(model: Any) -> int:
    """Tokens whose gradients are held at once, in both spaces: what fits CHUNK_BYTES, at least one."""
    bytes_of_one = 2 * sum(int(p.numel()) * int(p.element_size()) for p in model.parameters())
    return min(max(CHUNK_BYTES // bytes_of_one, 1), MOST_TOKENS)


def next_token_logits(
    model: Any, prefix: torch.Tensor, completion: torch.Tensor, weights: Weights | None = None
) -> torch.Tensor:
    """(T, V) logits from which the completion's tokens were (or might have been) drawn.

    weights: in place of the model's own, by parameter name.
    """
    count = len(completion)
    inputs = {"input_ids": torch.cat([prefix, completion[:-1]])[None], "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        inputs["logits_to_keep"] = count
    outputs = torch.func.functional_call(model, weights, (), inputs) if weights else model(**inputs)
    logits: torch.Tensor = outputs.logits[0, -count:]
    return logits


def token_logprobs(
    model: Any, prefix: torch.Tensor, completion: torch.Tensor, weights: Weights | None = None
) -> torch.Tensor:
    """(T,) log-probs of the completion's tokens, at temperature 1; weights as in `next_token_logits`."""
    logits = next_token_logits(model, prefix, completion, weights)
    return logits.log_softmax(-1).gather(1, completion[:, None])[:, 0]


@torch.no_grad()
def logprobs_and_entropies(
    model: Any, prefix: torch.Tensor, completion: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs of the tokens, and entropies (nats) of what they were drawn from: (T,) float64 on CPU."""
    logps = next_token_logits(model, prefix, completion).log_softmax(-1)
    entropy = torch.special.entr(logps.exp()).sum(-1)
    return logps.gather(1, completion[:, None])[:, 0].double().cpu(), entropy.double().cpu()


def response_gradient(model: Any, prefix: torch.Tensor, completion: torch.Tensor) -> Gradient:
    """Gradient of log P(completion | prefix), the sum over its tokens, by every parameter."""
    total = token_logprobs(model, prefix, completion).sum()
    return torch.autograd.grad(total, list(model.parameters()), allow_unused=True)


def inner(one: Gradient, other: Gradient) -> float:
    """Inner product over all parameters, summed in float64."""
    pairs = zip(one, other, strict=True)
    return math.fsum(
        (a * b).sum(dtype=torch.float64).item() for a, b in pairs if a is not None and b is not None
    )


def norm(gradient: Gradient) -> float:
    """Euclidean norm over all parameters."""
    return math.sqrt(inner(gradient, gradient))


@torch.no_grad()
def change_after_step(
    model: Any, gradient: Gradient, step: float, prefix: torch.Tensor, completion: torch.Tensor
) -> float:
    """log P'(completion | prefix) - log P(completion | prefix) in nats, P' at theta + step * gradient.

    The model keeps its weights: P' runs on a copy.
    """
    moved = {
        name: parameter if direction is None else torch.add(parameter, direction, alpha=step)
        for (name, parameter), direction in zip(model.named_parameters(), gradient, strict=True)
    }
    before = token_logprobs(model, prefix, completion)
    after = token_logprobs(model, prefix, completion, moved)
    return float((after.double() - before.double()).sum())


def token_alignment(
    model: Any, prompt: torch.Tensor, start: torch.Tensor, completion: torch.Tensor, chunk: int | None = None
) -> TokenAlignment:
    """Inner products and norms of every token's two gradients, exact over all parameters.

    prompt: (P,) ids before y in P(y|x). start: (1,), what stands before it in P(y). chunk: tokens
    whose gradients are held at once (see the module's head for the memory that takes); None takes
    `chunk_size`. A chunk's forward pass ends with its last token, since no later one matters to it.
    """
    size = chunk or chunk_size(model)
    pieces = []
    for begin in range(0, len(completion), size):
        seen = completion[: begin + size]
        conditional = _last_gradients(model, prompt, seen, len(seen) - begin)
        marginal = _last_gradients(model, start, seen, len(seen) - begin)
        pieces.append(
            torch.stack(
                [
                    _row_products(marginal, conditional, len(seen) - begin),
                    _row_products(marginal, marginal, len(seen) - begin).sqrt(),
                    _row_products(conditional, conditional, len(seen) - begin).sqrt(),
                ]
            )
        )
    return TokenAlignment(*torch.cat(pieces, dim=1))


def _last_gradients(model: Any, prefix: torch.Tensor, seen: torch.Tensor, count: int) -> Gradient:
    """Gradients of the log-probs of the last `count` tokens of `seen`: (count, *shape) per parameter."""
    before = torch.cat([prefix, seen[:-count]])
    logps = token_logprobs(model, before, seen[-count:])
    parameters = list(model.parameters())
    if count == 1:
        single = torch.autograd.grad(logps[0], parameters, allow_unused=True)
        return [None if gradient is None else gradient[None] for gradient in single]
    each = torch.eye(count, dtype=logps.dtype, device=logps.device)
    return torch.autograd.grad(logps, parameters, each, is_grads_batched=True, allow_unused=True)


def _row_products(one: Gradient, other: Gradient, count: int) -> torch.Tensor:
    """(count,) float64 on CPU: inner products of the tokens' gradients, row by row."""
    total = torch.zeros(count, dtype=torch.float64)
    for a, b in zip(one, other, strict=True):
        if a is not None and b is not None:
            total += (a * b).flatten(1).sum(1, dtype=torch.float64).cpu()
    return total
