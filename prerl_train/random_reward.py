"""Rewards that say nothing: a coin for each completion, after Shao et al. (arXiv 2506.10947).

What training on them gains was there before: a control for any algorithm. Wraps the reward that
grades, so that rollouts are graded and stored as ever; only what the update sees is another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from prerl_eval.plan import request_seed
from prerl_eval.problems import Problem

Graded = Callable[..., list[float | None]]
"""TRL's reward function that knows: rewards of completions, None without one."""


def coin(seed: int, step: int, problem: Problem, sample: int, p: float) -> float:
    """1.0 with probability p, else 0.0: decided by run seed, update, problem and number of the sample."""
    drawn = request_seed(seed, f"reward/{step}/{problem.benchmark}", problem.problem_id, sample)
    return float(drawn < p * 2**63)


class RandomReward:
    """TRL's reward function: a coin for each completion that `graded` has a reward for.

    problems: the training set, which a dataset row's `row` is an index into. seed: of the run. p: chance
    of 1. Samples of a problem at an update are numbered over processes and draws as
    prerl_train.rewards.RolloutRecorder numbers them, so stored rows tell what their coins were.

    figures: after each call holds "true_reward", the mean of `graded` over all samples of the update so
    far, on all processes.
    """

    __name__ = "random"

    def __init__(self, graded: Graded, problems: Sequence[Problem], *, seed: int, p: float):
        self.figures: dict[str, float | None] = {}
        self._graded = graded
        self._problems = problems
        self._seed = seed
        self._p = p
        self._step = -1
        self._numbers: Counter[int] = Counter()
        self._true: list[float] = []

    def __call__(self, *, row: Sequence[int], trainer_state: Any, **named: Any) -> list[float | None]:
        """Coins for completions, in their order; None where there is no reward. See VerifiableReward."""
        graded = self._graded(row=row, trainer_state=trainer_state, **named)
        step = trainer_state.global_step + 1
        if step != self._step:
            self._step, self._true = step, []
            self._numbers.clear()
        everywhere = gather_object(list(zip(row, graded, strict=True)))
        self._true += [value for _, value in everywhere if value is not None]
        self.figures["true_reward"] = sum(self._true) / len(self._true) if self._true else None
        tossed = [self._toss(index, value) for index, value in everywhere]
        return tossed[PartialState().process_index * len(row) :][: len(row)]

    def _toss(self, index: int, graded: float | None) -> float | None:
        number = self._numbers[index]
        self._numbers[index] += 1
        if graded is None:
            return None
        return coin(self._seed, self._step, self._problems[index], number, self._p)
