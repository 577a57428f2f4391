"""Random rewards in training on scripted completions: rows with the numbers that the coins go by."""

from typing import Any

from prerl_eval.problems import Problem
from prerl_train.random_reward import RandomReward
from tests.training import PROMPTS, Script, right

PROBLEMS = [Problem("c", str(number), prompt, "", "countdown") for number, prompt in enumerate(PROMPTS)]


class Numbered(Script):
    """A script that names the problem of each row, as the data sets of prerl_train do."""

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        return {**super().__call__(prompts, trainer), "row": [PROMPTS.index(prompt) for prompt in prompts]}


def graded(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    return [right(ids) for ids in completion_ids]


def make_coins(seed: int = 0, p: float = 0.5) -> RandomReward:
    return RandomReward(graded, PROBLEMS, seed=seed, p=p)
