"""Advantage estimators: rewards of a batch in, advantages out. Pure torch, no trainer.

Group estimators take rewards of shape (P, G): P problems, G samples each, NaN where a sample could
not be scored; such samples get advantage 0 and no say in any mean. Where samples agree the advantage
is 0 to the last bit: a row whose advantage is not 0 counts as contributing. Groups are formed over
all processes before these functions are called. Does not cover which samples are used (space.py).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Tensor = torch.Tensor


def group_centred(rewards: Tensor) -> Tensor:
    """A = r - mean of the group, (P, G) -> (P, G).

    The warm-up of DSRL (arXiv 2604.14142: no division by the std) and Dr.GRPO (arXiv 2503.20783,
    eq. 3). A group whose samples agree gives zeros.
    """
    return torch.nan_to_num(_centred(rewards))


def group_normalized(rewards: Tensor, eps: float = 1e-6) -> Tensor:
    """A = (r - mean) / (std + eps) over the group, (P, G) -> (P, G).

    GRPO (arXiv 2402.03300, section 4.1.2). std has Bessel's correction, as in verl and TRL. A group
    of one scored sample, or one whose samples agree, gives zeros.
    """
    centred = _centred(rewards)
    scored = (~rewards.isnan()).sum(1, keepdim=True)
    variance = centred.square().nansum(1, keepdim=True) / (scored - 1).clamp(min=1)
    return torch.nan_to_num(centred / (variance.sqrt() + eps))


def leave_one_out(rewards: Tensor) -> Tensor:
    """A_i = r_i - mean of the other samples of the group, (P, G) -> (P, G).

    RLOO (arXiv 2402.14740, eq. 8; Kool et al. 2019) = G / (G - 1) * (r_i - mean). A group of one
    scored sample has no others and gives 0.
    """
    scored = (~rewards.isnan()).sum(1, keepdim=True)
    scale = torch.where(scored > 1, scored / (scored - 1).clamp(min=1), torch.zeros_like(scored))
    return torch.nan_to_num(_centred(rewards) * scale)


def batch_normalized(rewards: Tensor, lengths: Tensor, eps: float = 1e-6) -> Tensor:
    """A = (r - mean) / (std + eps) over all tokens of the batch, (P, G) -> (P, G).

    REINFORCE++ (arXiv 2501.03262, section 3): every token carries its response's reward (gamma 1,
    no KL), and the global batch is normalised, so a response weighs in mean and std by its length.
    lengths: (P, G) tokens of each response. Population variance. Needs no groups; a batch whose
    samples agree gives zeros.
    """
    if degenerate_groups(rewards.view(1, -1)).all():
        return torch.zeros_like(rewards)
    weights = torch.where(rewards.isnan(), 0.0, lengths.to(rewards.dtype))
    total = weights.sum().clamp(min=1)
    scored = torch.nan_to_num(rewards)
    mean = (scored * weights).sum() / total
    variance = ((scored - mean).square() * weights).sum() / total
    return torch.nan_to_num((rewards - mean) / (variance.sqrt() + eps))


def unit_weights(advantages: Tensor) -> Tensor:
    """The sign of each advantage: +1, -1 or 0, any shape.

    RLVR-Decomposed (arXiv 2506.01347) weighs every negative sample -1 and every positive one +1,
    where the PreRL paper weighs them by r - mean. A group whose samples agree still gives zeros.
    """
    return advantages.sign()


def anchored(advantages: Tensor, factor: float) -> Tensor:
    """The advantages, those above 0 times `factor`; any shape.

    Between NSR (0) and PreRL (1): what pulls right samples up while wrong ones are pushed down.
    """
    return torch.where(advantages > 0, factor * advantages, advantages)


def overlong_penalty(lengths: Tensor, longest: int, buffer: int, factor: float = 1.0) -> Tensor:
    """DAPO's soft punishment for length, same shape as lengths, <= 0 (arXiv 2503.14476, eq. 13).

    0 up to longest - buffer tokens, then falling linearly to -factor at `longest`. buffer 0: none.
    """
    if buffer == 0:
        return torch.zeros_like(lengths, dtype=torch.float32)
    over = lengths.to(torch.float32) - (longest - buffer)
    return -factor * (over / buffer).clamp(0.0, 1.0)


def degenerate_groups(rewards: Tensor) -> Tensor:
    """(P,) bool: groups whose scored samples all have the same reward, or that have none scored.

    What DAPO's dynamic sampling draws again (arXiv 2503.14476, eq. 11).
    """
    low = torch.where(rewards.isnan(), torch.inf, rewards).amin(1)
    high = torch.where(rewards.isnan(), -torch.inf, rewards).amax(1)
    return high <= low


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 1.0
) -> tuple[Tensor, Tensor]:
    """GAE (arXiv 1506.02438, eq. 16): advantages and returns of each token, (B, T) both.

    rewards, values, mask: (B, T), mask 1 on the policy's own tokens. delta_t = r_t + gamma * V_{t+1}
    - V_t with V = 0 after the last token; A_t = delta_t + gamma * lam * A_{t+1}; return = A + V.
    What the mask leaves out (padding, a tool's answer) gets 0 and takes no step of its own: t + 1 is
    the next token that the policy chose.
    """
    own = mask.bool()
    advantages = torch.zeros_like(values)
    later = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(later)
    for t in reversed(range(values.size(1))):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        later = torch.where(own[:, t], delta + gamma * lam * later, later)
        next_value = torch.where(own[:, t], values[:, t], next_value)
        advantages[:, t] = later
    return advantages * own, (advantages + values) * own


def token_moments(values: Tensor, mask: Tensor, total: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and population variance of values over the tokens of all processes, () both.

    values, mask: (B, T) of this process. total: sums a tensor over processes.
    """
    mask = mask.to(values.dtype)
    sums = total(torch.stack([(values * mask).sum(), mask.sum()]))
    count = sums[1].clamp(min=1)
    mean = sums[0] / count
    return mean, total(((values - mean).square() * mask).sum()) / count


def whitened(
    advantages: Tensor, mask: Tensor, total: Callable[[Tensor], Tensor], eps: float = 1e-6
) -> Tensor:
    """(A - mean) / (std + eps) over the trained tokens of all processes, (B, T) -> (B, T).

    What implementations of PPO for language models do and the paper leaves out (lm-human-preferences;
    arXiv 2403.17031): the size of A falls as the critic improves, and with it would the update and
    what a clipped gradient norm means. Over the whole rollout batch, because a mean over
    micro-batches would depend on how they are cut. total: sums a tensor over processes. Tokens
    outside the mask get 0, as do all where all advantages agree (but for rounding).
    """
    mean, variance = token_moments(advantages, mask, total)
    std = variance.sqrt()
    scaled = (advantages - mean) / (std + eps) * mask.to(advantages.dtype)
    return torch.where(std > 1e-6 * mean.abs(), scaled, 0.0)


def _centred(rewards: Tensor) -> Tensor:
    """r - mean of the group, NaN where unscored. Equal rewards may differ from their mean by rounding."""
    centred = rewards - rewards.nanmean(1, keepdim=True)
    return torch.where(degenerate_groups(rewards)[:, None], 0.0, centred)
