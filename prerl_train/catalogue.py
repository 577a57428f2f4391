"""The twelve algorithms as the command line knows them: help, defaults, and the options that apply.

One entry per module of prerl_train.algorithms, under the same name. Light: the formulas are there,
this table imports no torch. Does not cover what the options mean (settings.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ERASED = frozenset({"start_token"})
"""For updates on log P(y)."""
REDRAWN = frozenset({"max_draws"})
"""For algorithms that draw a batch again."""
WEIGHED = frozenset({"sample_weight"})
"""For updates on chosen samples by r - mean."""
PENALIZED = frozenset({"kl_coef"})
"""For updates on log P(y|x): a KL term against a reference's P(y|x) has no meaning in P(y)."""
OVERLONG = frozenset({"overlong_buffer", "overlong_penalty"})
WARMUP = frozenset(
    {
        *("warmup_steps", "warmup_space", "warmup_lr", "warmup_coef", "warmup_anchor"),
        *("joint_coef", "reset_optimizer"),
    }
)
CRITIC = frozenset({"critic_lr", "critic_warmup", "gae_lambda", "gamma", "value_clip"})

SPECIFIC = ERASED | REDRAWN | WEIGHED | PENALIZED | OVERLONG | WARMUP | CRITIC
"""Options that some algorithm does not use; every other option applies to all."""


@dataclass(frozen=True)
class Algorithm:
    """What the command line must know of an algorithm.

    title: its name in papers and tables. help: one line. options: the options of SPECIFIC that it
    uses. defaults: where its own default differs from the option's. takes_single_samples: works with
    one sample per problem; the others compare the samples of a group.
    """

    title: str
    help: str
    options: frozenset[str] = PENALIZED
    defaults: Mapping[str, Any] = field(default_factory=dict)
    takes_single_samples: bool = False


ALGORITHMS: Mapping[str, Algorithm] = {
    "grpo": Algorithm("GRPO", "GRPO: group-normalised advantages, clipped surrogate (arXiv 2402.03300)."),
    "dr-grpo": Algorithm(
        "Dr.GRPO",
        "Dr.GRPO: GRPO without division by the std and by the length (arXiv 2503.20783).",
        defaults={"loss_aggregation": "constant"},
    ),
    "dapo": Algorithm(
        "DAPO",
        "DAPO: clip-higher, dynamic sampling, token mean, overlong shaping (arXiv 2503.14476).",
        options=PENALIZED | REDRAWN | OVERLONG,
        defaults={"clip_high": 0.28},
    ),
    "rloo": Algorithm("RLOO", "RLOO: leave-one-out baseline (arXiv 2402.14740)."),
    "reinforce-pp": Algorithm(
        "REINFORCE++",
        "REINFORCE++: advantages normalised over the whole batch (arXiv 2501.03262).",
        takes_single_samples=True,
    ),
    "prerl": Algorithm(
        "PreRL",
        "PreRL: every update on log P(y), all samples (arXiv 2604.14142).",
        options=ERASED | REDRAWN | WEIGHED,
    ),
    "nsr-prerl": Algorithm(
        "NSR-PreRL",
        "NSR-PreRL: every update on log P(y), wrong samples only (arXiv 2604.14142).",
        options=ERASED | REDRAWN | WEIGHED,
    ),
    "psr-prerl": Algorithm(
        "PSR-PreRL",
        "PSR-PreRL: every update on log P(y), right samples only (arXiv 2604.14142).",
        options=ERASED | REDRAWN | WEIGHED,
    ),
    "nsr-rl": Algorithm(
        "NSR-RL",
        "NSR-RL: updates on log P(y|x), wrong samples only (arXiv 2506.01347).",
        options=PENALIZED | REDRAWN | WEIGHED,
    ),
    "psr-rl": Algorithm(
        "PSR-RL",
        "PSR-RL: updates on log P(y|x), right samples only (arXiv 2506.01347).",
        options=PENALIZED | REDRAWN | WEIGHED,
    ),
    "dsrl": Algorithm(
        "DSRL",
        "DSRL: NSR-PreRL for --warmup-steps updates, then GRPO (arXiv 2604.14142).",
        options=PENALIZED | ERASED | REDRAWN | WEIGHED | WARMUP,
    ),
    "ppo": Algorithm(
        "PPO",
        "PPO: a critic, generalised advantages, verifiable reward (arXiv 1707.06347).",
        options=PENALIZED | CRITIC,
        takes_single_samples=True,
    ),
}


def users_of(option: str) -> list[str]:
    """The algorithms that an option applies to."""
    if option not in SPECIFIC:
        return list(ALGORITHMS)
    return [name for name, algorithm in ALGORITHMS.items() if option in algorithm.options]
