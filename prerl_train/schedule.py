"""DSRL's warm-up in time: its learning rate, and how far an annealed one has come.

Covers the factor on a schedule of transformers, and the shares of an annealed update. Does not cover
what an update is made on (algorithms/dsrl.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig


def annealed(done: int, config: DSRLConfig) -> float:
    """t / S after `done` updates: 0 at the first update, 1 from the first after the warm-up on.

    The updates of one rollout batch share the t of its first.
    """
    start = done - done % config.updates_per_batch
    return min(start / config.dsrl_warmup_steps, 1.0)


def warmup_scale(done: int, config: DSRLConfig) -> float:
    """Factor on the schedule's learning rate for the update after `done` updates.

    dsrl_warmup_lr / learning_rate in the warm-up, 1 after it; in an annealed one it goes from the one
    to the other in a straight line, with `annealed`.
    """
    rate = _rate(config)
    if done >= config.dsrl_warmup_steps:
        return 1.0
    if config.dsrl_warmup_space != "anneal":
        return rate
    share = annealed(done, config)
    return (1 - share) * rate + share


def anneal_coefs(done: int, config: DSRLConfig) -> tuple[float, float]:
    """Factors on the losses of GRPO and of NSR-PreRL in an annealed update; they add up to 1.

    (u, (1 - u) * w / l) * l / rate, with u = t / S, w the warm-up's learning rate, l that of GRPO and
    rate = (1 - u) * w + u * l that of the update: its step is u parts of GRPO's at l and 1 - u parts of
    NSR-PreRL's at w.
    """
    share, scale = annealed(done, config), warmup_scale(done, config)
    return share / scale, (1 - share) * _rate(config) / scale


def _rate(config: DSRLConfig) -> float:
    return 1.0 if config.dsrl_warmup_lr is None else config.dsrl_warmup_lr / config.learning_rate


def scale_rates(scheduler: Any, scale: Callable[[int], float]) -> None:
    """Multiply a fresh LambdaLR's rates by `scale` of the updates done, in place.

    Its state as saved does not change: a resumed run scales again.
    """
    scheduler.lr_lambdas = [
        lambda done, plain=plain: plain(done) * scale(done) for plain in scheduler.lr_lambdas
    ]
    groups = scheduler.optimizer.param_groups
    for group, base, factor in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = base * factor(0)
    # What is logged for the first update.
    scheduler._last_lr = [group["lr"] for group in groups]
