"""Log-probabilities of given tokens under a causal LM of transformers, a batch at a time.

Rows are padded on the right: under causal attention nothing looks at what comes after it, so no mask is
needed and attention takes its fast path. Logits exist only where a completion's token is predicted, and
only for as many positions at once as LOGIT_BYTES holds. Prompts that responses share are forwarded
with each of them. Does not cover which rows make a batch (batches.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prerl_eval.errors import RunStopped

Ids = NDArray[np.int32]

LOGIT_BYTES = {"cpu": 2**26, "cuda": 2**29}
"""Most bytes of float32 logits at a time; log-softmax takes about as many again."""


class Scorer:
    """Scores tokens under one model, which is in evaluation mode.

    The last layer is applied apart from the others, to the positions that matter. Where a model does
    more than that with its output (a cap, a scale), which is found out by trying, its own forward pass
    makes the logits, of all positions.
    """

    def __init__(self, model: Any):
        self._model = model
        self._head = model.get_output_embeddings()
        self._body = model.base_model
        self._vocabulary = model.config.get_text_config().vocab_size
        self._positions = max(1, LOGIT_BYTES.get(model.device.type, 2**26) // (4 * self._vocabulary))
        self._apart = self._head_is_apart()

    @property
    def device(self) -> str:
        """The kind of device that the model is on: "cpu", "cuda", ..."""
        return str(self._model.device.type)

    @torch.inference_mode()
    def logprobs(self, prefixes: Sequence[Ids], completions: Sequence[Ids]) -> list[NDArray[np.float32]]:
        """log P(token | prefix and the tokens before it), in nats at temperature 1, of every token.

        prefixes, completions: token ids of B rows; a prefix has at least one. Returns B arrays of
        their completions' lengths. Log-softmax is taken in float32 whatever the weights are. Raises
        RunStopped where a logit is no number, and where the device's memory is full.
        """
        ids, places, targets = _batch(prefixes, completions)
        if not len(targets):
            return [np.empty(0, dtype=np.float32) for _ in completions]
        try:
            scored = self._scored(
                *(torch.from_numpy(part).to(self._model.device) for part in (ids, places, targets))
            )
        except torch.OutOfMemoryError as error:
            raise RunStopped(
                f"the GPU is full at {ids.shape[0]} responses of up to {ids.shape[1]} tokens; "
                "give a smaller --batch-tokens (what is stored stays)"
            ) from error
        found = scored.cpu().numpy()
        if np.isnan(found).any():
            raise RunStopped(
                "the model's logits are not numbers (damaged weights, or an overflow); try --dtype float32"
            )
        return np.split(found, np.cumsum([len(completion) for completion in completions])[:-1])

    def _scored(self, ids: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """float32[N]: log-probs of `targets` at `places` of the flattened ids (B, W)."""
        if not self._apart:
            return torch.cat(
                [
                    _chosen(self._model(input_ids=row[None], use_cache=False).logits[0, at], wanted)
                    for row, at, wanted in _by_row(ids, places, targets)
                ]
            )
        hidden = self._body(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
        return torch.cat(
            [
                _chosen(self._head(hidden[at]), wanted)
                for at, wanted in zip(
                    *(torch.split(part, self._positions) for part in (places, targets)), strict=True
                )
            ]
        )

    @torch.inference_mode()
    def _head_is_apart(self) -> bool:
        """Whether body and head by themselves give the logits of the model, to the last bit."""
        if self._head is None or self._body is self._model:
            return False
        ids = torch.arange(min(8, self._vocabulary), device=self._model.device)[None]
        whole = self._model(input_ids=ids, use_cache=False).logits
        return torch.equal(whole, self._head(self._body(input_ids=ids, use_cache=False).last_hidden_state))


def _batch(prefixes: Sequence[Ids], completions: Sequence[Ids]) -> tuple[NDArray[np.int64], ...]:
    """ids (B, W), right-padded, without the last token, which predicts nothing; where in the flattened
    ids each of the N completion tokens is predicted (N,); and those tokens (N,)."""
    lengths = [
        len(prefix) + len(completion) - 1 for prefix, completion in zip(prefixes, completions, strict=True)
    ]
    ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    places = []
    for row, (prefix, completion) in enumerate(zip(prefixes, completions, strict=True)):
        ids[row, : len(prefix)] = prefix
        ids[row, len(prefix) : lengths[row]] = completion[:-1]
        first = row * ids.shape[1] + len(prefix) - 1
        places.append(np.arange(first, first + len(completion)))
    return ids, np.concatenate(places), np.concatenate(completions).astype(np.int64)


def _by_row(ids: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> Any:
    width = ids.size(1)
    for row in range(len(ids)):
        here = places // width == row
        if here.any():
            yield ids[row], places[here] % width, targets[here]


def _chosen(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(N,) log-probs of targets (N,) by logits (N, V)."""
    return -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
