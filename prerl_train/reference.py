"""The reference policy of DSRL's KL term: the policy at the switch, not the one before the warm-up.

Covers the copy at the switch and its return after a resume. Where beta is 0 nothing here is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from prerl_eval.errors import UserError

FILE = "reference.safetensors"
"""In the output folder: weights at the switch."""


class SwitchReference:
    """Keeps a trainer's `ref_model` at the policy that its RL phase began with."""

    def __init__(self, trainer: Any):
        self._trainer = trainer
        self._ready = False

    def follow(self, done: int) -> None:
        """Make the reference ready for an RL update with `done` updates made.

        At the switch itself the policy is copied and saved; later (a resumed run) it is read.
        Raises UserError where the file is missing, and where weights are sharded or adapters.
        """
        if self._ready:
            return
        trainer = self._trainer
        if trainer.ref_model is None or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise UserError(
                "beta (KL) with dsrl copies the policy at the switch, which works for whole models on each "
                "process only; set beta=0, or train without LoRA, FSDP and DeepSpeed"
            )
        reference = trainer.accelerator.unwrap_model(trainer.ref_model)
        path = Path(trainer.args.output_dir) / FILE
        if done == trainer.args.dsrl_warmup_steps:
            weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
            if trainer.accelerator.is_main_process:
                _save(weights, path)
            trainer.accelerator.wait_for_everyone()
        else:
            weights = _load(path)
        reference.load_state_dict(weights, strict=False)
        self._ready = True


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    seen: set[int] = set()
    own = {}
    for name, value in weights.items():
        if value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            own[name] = value.detach().cpu().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file(own, str(temporary))
    temporary.rename(path)


def _load(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise UserError(
            f"{path} is missing: the reference of the KL term was saved there at the switch; start again"
        )
    return load_file(str(path))
