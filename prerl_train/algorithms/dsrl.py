"""DSRL: NSR-PreRL for S updates, then GRPO (arXiv 2604.14142).

    updates 1..S   coef * sum over samples with r < mean of grad log pi(y) * (r - mean)
    afterwards     GRPO on all samples

Assumes a short warm-up: the paper finds 10-25 best, fewer under-activates, more over-explores.
Degenerate case: a warm-up batch without wrong samples in a mixed group is drawn again, and draws do
not count in S. Differs from the released code: S updates are S updates (it makes S - 1).

Controls, none of them the paper's but the first two: a warm-up in P(y|x) (NSR-RL); a joint update of
GRPO plus a share of NSR-PreRL; a warm-up in P(y|x'), x' the prompt of another problem; an annealed
switch (u = t / S of a GRPO step and 1 - u of an NSR-PreRL step, see prerl_train/schedule.py); an anchor
C > 0, with which samples with r > mean take part as well, their advantage times C (1 is PreRL).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prerl_train.algorithms import Phase, PhaseName, Space, centred, normalized
from prerl_train.schedule import anneal_coefs

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig

PLAIN: dict[str, tuple[PhaseName, Space]] = {
    "prerl": ("prerl", "prerl"),
    "rl": ("warmup-rl", "rl"),
    "swapped": ("warmup-swapped", "swapped"),
}
"""Warm-ups in one space: dsrl_warmup_space -> name and space of the phase."""


def phase(step: int, config: DSRLConfig) -> Phase:
    """The warm-up while fewer than S updates are done, GRPO after."""
    if step >= config.dsrl_warmup_steps:
        return Phase("rl", normalized)
    if config.dsrl_warmup_space == "joint":
        return Phase("joint", normalized, space="joint", erased_coef=config.dsrl_joint_coef)
    if config.dsrl_warmup_space == "anneal":
        return _annealed(step, config)
    name, space = PLAIN[config.dsrl_warmup_space]
    anchored = config.dsrl_warmup_anchor > 0
    return Phase(
        name,
        centred,
        space=space,
        samples="all" if anchored else config.dsrl_warmup_samples,
        coef=config.dsrl_warmup_coef,
        anchor=config.dsrl_warmup_anchor if anchored else 1.0,
        mean_over="contributing",
        redraw=True,
    )


def _annealed(step: int, config: DSRLConfig) -> Phase:
    grpo, nsr = anneal_coefs(step, config)
    if grpo == 0:
        # No pass under the prompt where nothing of it would count.
        return Phase(
            "anneal", centred, space="prerl", samples="negative", mean_over="contributing", redraw=True
        )
    return Phase("anneal", normalized, space="joint", coef=grpo, erased_coef=nsr, redraw=True)
