"""Runs of a tiny model whose result must not depend on the number of processes.

    torchrun --nproc_per_node 2 -m tests.two_processes MODEL OUT

does the runs of RUNS on scripted completions, 16 rows for each batch however many processes share
them, and writes what each made to OUT/NAME-RANK.pt.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from tests.coins import Numbered, make_coins
from tests.training import MIXED, Script, flat, stubborn, train

ONE_SIDED = "1111 0000 0100 0110"
"""The first two problems, and with them the first of two processes, have nothing to learn from."""


def uneven(step: int, draw: int) -> str:
    return "1111 0100 0000 0110"


def one_sided(step: int, draw: int) -> str:
    return ONE_SIDED if step % 2 else "0100 0110 1111 0000"


def few(step: int, draw: int) -> str:
    """One useful group in the first draw, three in the second (two of them in the second process)."""
    return "1111 0000 0000 0110" if draw == 0 else "0110 1111 0001 1110"


def mixed(step: int, draw: int) -> str:
    return MIXED


RUNS: dict[str, dict[str, Any]] = {
    "dropped": {"verdicts": uneven, "algorithm": "dsrl"},
    "redrawn": {"verdicts": stubborn, "algorithm": "dsrl"},
    "one-sided": {"verdicts": one_sided, "algorithm": "dsrl"},
    "one-sided-grpo": {"verdicts": one_sided, "algorithm": "grpo", "max_steps": 2},
    "dynamic": {"verdicts": few, "algorithm": "dapo", "overlong_buffer": 6},
    "joint": {"verdicts": one_sided, "algorithm": "dsrl", "dsrl_warmup_space": "joint"},
    "kl": {"verdicts": one_sided, "algorithm": "dsrl", "beta": 0.5, "max_steps": 4},
    "sequence-mean": {"verdicts": uneven, "algorithm": "dsrl", "loss_type": "grpo"},
    "default-adam": {"verdicts": uneven, "algorithm": "dsrl", "adam_epsilon": 1e-8},
    "coins": {"verdicts": stubborn, "script": Numbered, "rewards": make_coins(), "algorithm": "grpo"},
    "anneal": {"verdicts": one_sided, "algorithm": "dsrl", "dsrl_warmup_space": "anneal"},
    "by-tokens": {"verdicts": uneven, "algorithm": "reinforce-pp", "max_steps": 2},
    "several-updates": {
        "verdicts": mixed,
        "algorithm": "dsrl",
        "steps_per_generation": 4,
        "gradient_accumulation_steps": 2,
        "num_iterations": 2,
        "dsrl_warmup_steps": 4,
        "max_steps": 8,
        "learning_rate": 1e-3,
    },
}
"""Names, and what is special in each one's DSRLConfig; three updates across the switch if it says nothing."""


def run_all(model: Path, out: Path) -> None:
    """Do every run as one of as many processes as there are."""
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    for name, changes in RUNS.items():
        settings: dict[str, Any] = {
            "dsrl_warmup_steps": 2,
            "max_steps": 3,
            "per_device_train_batch_size": 4 // processes,
            # Adam's step is g / (|g| + eps): at 1e-8 rounding decides it where g is nearly 0.
            "adam_epsilon": 1e-4,
            **changes,
        }
        script = settings.pop("script", Script)(settings.pop("verdicts"))
        run = train(model, out / name, script, **settings)
        named = run.trainer.model.named_parameters()
        found = {
            "weights": run.weights,
            "start": flat({name: run.updates[0].weights[name] for name, _ in named}),
            "gradients": [update.gradient for update in run.updates],
            "seen": [update.seen for update in run.updates],
            "prompts": [update.prompts for update in run.updates],
            "facts": [update.facts for update in run.updates],
            "losses": [update.logs.get("loss") for update in run.updates],
            "samples": [(s.step, s.draw, s.row, s.prompt, s.completion) for s in run.samples],
        }
        torch.save(found, out / f"{name}-{rank}.pt")


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), Path(sys.argv[2]))
    # A gloo group that is freed may wait for its own thread, which waits for Python.
    os._exit(0)
