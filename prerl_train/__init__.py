"""Training: DSRL, PreRL, their ablations and the baselines, on TRL.

    from prerl_train import DSRLConfig, DSRLTrainer, PPOTrainer

They are loaded when they are asked for: importing the package imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prerl_train.config import DSRLConfig
    from prerl_train.ppo import PPOTrainer
    from prerl_train.trainer import DSRLTrainer

__all__ = ["DSRLConfig", "DSRLTrainer", "PPOTrainer"]


def __getattr__(name: str) -> Any:
    if name == "DSRLConfig":
        from prerl_train.config import DSRLConfig

        return DSRLConfig
    if name == "DSRLTrainer":
        from prerl_train.trainer import DSRLTrainer

        return DSRLTrainer
    if name == "PPOTrainer":
        from prerl_train.ppo import PPOTrainer

        return PPOTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
