"""The learning rate of DSRL's warm-up: a schedule of transformers, scaled for its first updates."""

from __future__ import annotations

from typing import Any


def scale_first(scheduler: Any, scale: float, updates: int) -> None:
    """Multiply a fresh LambdaLR's rates by `scale` for its first `updates` updates, in place.

    Its state as saved does not change: a resumed run scales again.
    """
    scheduler.lr_lambdas = [
        lambda done, plain=plain: plain(done) * (scale if done < updates else 1.0)
        for plain in scheduler.lr_lambdas
    ]
    groups = scheduler.optimizer.param_groups
    for group, base, factor in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = base * factor(0)
    # What is logged for the first update.
    scheduler._last_lr = [group["lr"] for group in groups]
