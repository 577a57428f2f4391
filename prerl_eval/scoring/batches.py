"""Which responses are scored together: sorted by length, so that little is padding.

Covers the cut into blocks, which are stored as a whole, and into batches, which are forwarded as a
whole. A cut depends on what is left only through what comes first: after a kill the responses that are
missing are the last ones, and they fall into the blocks and batches of the undisturbed work. Knows no
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int64]

BATCHES_PER_BLOCK = 8
"""Batches with prompts in a block: enough of them that the rows of one length find each other without
their prompts too, few enough that a kill costs little."""


@dataclass(frozen=True)
class Block:
    """Responses that are stored together, and the batches they are scored in: lists of row numbers.

    given_prompt: batches behind their prompts. alone: the same rows behind the start token.
    """

    rows: list[int]
    given_prompt: list[list[int]]
    alone: list[list[int]]


def cut_blocks(prompts: Sequence[int], completions: Sequence[int], batch_tokens: int) -> Iterator[Block]:
    """Blocks of rows, the longest first, so that what does not fit into memory fails at once.

    prompts, completions: tokens of each row. batch_tokens: rows times the longest of them, prompt
    included, at most; a longer row is a batch by itself. Every row is in one block, and in one batch of
    each kind.
    """
    prompt, completion = np.asarray(prompts, dtype=np.int64), np.asarray(completions, dtype=np.int64)
    order = np.lexsort((np.arange(len(prompt)), -completion, -(prompt + completion)))
    batches = _cut(order, prompt + completion, batch_tokens)
    for first in range(0, len(batches), BATCHES_PER_BLOCK):
        block = batches[first : first + BATCHES_PER_BLOCK]
        rows = np.concatenate(block)
        by_completion = rows[np.lexsort((rows, -completion[rows]))]
        alone = _cut(by_completion, 1 + completion, batch_tokens)
        yield Block(rows.tolist(), *([batch.tolist() for batch in batches] for batches in (block, alone)))


def _cut(order: NDArray[np.int64], lengths: Lengths, batch_tokens: int) -> list[NDArray[np.int64]]:
    """Runs of `order`, whose lengths only fall: of each as many rows as its first one's length allows."""
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // int(lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches
