"""What a draw of rollouts is made on: seeds and prompts that depend on run seed, update and draw only.

A resumed run and any number of processes ask the same. Knows no trainer; sampling is TRL's or
rollouts.py's.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from prerl_eval.errors import UserError


def draw_seed(seed: int, update: int, draw: int, what: str) -> int:
    """63 bits for one purpose of one draw. update: updates done."""
    text = f"{seed}/{update}/{draw}/{what}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def other_prompts(dataset: Any, problems: int, samples: int, seed: int) -> list[dict[str, Any]]:
    """Rows of a further draw: `problems` rows of the dataset at random, each `samples` times in a row.

    No prompt comes twice while there are others (a dataset may hold every epoch of a run). Each
    returned row is a dict of its own, because TRL writes to them. Raises UserError for a stream.
    """
    if not hasattr(dataset, "__len__"):
        raise UserError(
            "a batch without contributing samples is drawn again, which a streamed data set does not allow; "
            "load it as a whole"
        )
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen: dict[str, dict[str, Any]] = {}
    for index in order:
        row = dataset[index]
        chosen.setdefault(str(row["prompt"]), row)
        if len(chosen) == problems:
            break
    distinct = list(chosen.values())
    wanted = [distinct[place % len(distinct)] for place in range(problems)]
    return [dict(row) for row in wanted for _ in range(samples)]
