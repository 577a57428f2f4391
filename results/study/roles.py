"""Which arm of the plan belongs into which table.

Covers reading an arm's role off what the plan says of it: another base, another arm's checkpoint, a length
of warm-up, or something changed as a control. An arm that the plan does not name is a method of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from results.study.committed import BASE, Committed
from results.study.plan import Arm, Value

REFERENCE = "grpo"
METHOD = "dsrl"
NO_STD = "dr-grpo"
"""A method that is a control too: GRPO that does not divide by the rewards' standard deviation."""

RL_WARMUP = "dsrl-rl"
"""The same course as dsrl with NSR-RL in its warm-up: what the warm-up space alone adds."""

VARIED = "dsrl-w1e-4"
"""DSRL at the warm-up rate whose length and kind are varied; METHOD itself where the plan has no such arm."""

STEPS = "warmup_steps"

WARMUP = 10
"""Updates of warm-up where the plan does not say otherwise; the recipe's."""


def trained(data: Committed) -> list[str]:
    """Arms with data, without the base models."""
    return [name for name in data.rates if algorithm(data, name).split(".")[0] != BASE]


def main_arms(data: Committed) -> list[str]:
    """The methods: arms named like their algorithm, and the warm-up by NSR-RL; from the shipped base."""
    return [name for name in trained(data) if role(data, name) == "method"]


def other_bases(data: Committed) -> list[str]:
    """Names of the base models besides the shipped one, in the order of the plan."""
    return list(dict.fromkeys(arm.base for arm in data.study.arms.values() if arm.base))


def of_base(data: Committed, base: str) -> list[str]:
    """Arms trained from another base."""
    arms = data.study.arms
    return [name for name in trained(data) if name in arms and arms[name].base == base]


def controls(data: Committed) -> list[str]:
    """Arms that change something of a method to see what it owes to that; some are methods themselves."""
    methods = [name for name in (RL_WARMUP, NO_STD) if name in data.rates]
    return methods + [name for name in trained(data) if role(data, name) == "control"]


def role(data: Committed, name: str) -> str:
    """One of "method", "base", "fork", "long" (nothing but more updates), "warmup" and "control"."""
    arm = data.study.arms.get(name)
    if arm is None or name in (arm.algorithm, RL_WARMUP):
        return "method"
    if arm.base:
        return "base"
    if arm.fork:
        return "fork"
    if not arm.options:
        return "long"
    return "warmup" if _only_length(arm, data.study.arms.get(varied(data))) else "control"


def varied(data: Committed) -> str:
    """The arm that the sweep over S and the controls change something of."""
    return VARIED if VARIED in data.study.arms else METHOD


def _only_length(arm: Arm, method: Arm | None) -> bool:
    """Whether an arm is the method but for the length of its warm-up."""
    options = dict(method.options) if method else {}
    return (
        arm.algorithm == METHOD and STEPS in arm.options and _but_length(arm.options) == _but_length(options)
    )


def _but_length(options: Mapping[str, Value]) -> dict[str, str]:
    return {key: str(value) for key, value in options.items() if key != STEPS}


def algorithm(data: Committed, name: str) -> str:
    """The command of prerl-train that trained an arm."""
    arm = data.study.arms.get(name)
    return arm.algorithm if arm else name


def warmup(data: Committed, name: str) -> int:
    """Updates of an arm before its switch to log P(y|x): 0 for algorithms without one."""
    if algorithm(data, name) != METHOD:
        return 0
    arm = data.study.arms.get(name)
    return int(arm.options.get(STEPS, WARMUP)) if arm else WARMUP


def warmup_arms(data: Committed) -> dict[int, str]:
    """Length of warm-up -> arm: GRPO for 0, DSRL as planned, and the arms that differ in this alone."""
    known = (varied(data), REFERENCE)
    names = [name for name in trained(data) if role(data, name) == "warmup" or name in known]
    return dict(sorted((warmup(data, name), name) for name in names))
