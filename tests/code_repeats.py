"""HumanEval's canonical solutions and empty bodies, three times with one worker and three times with two.

    python -m tests.code_repeats        # needs PRERL_DATA_ROOT with a clone of openai/openai_humaneval

The figures stand in docs/code-execution.md.
"""

from __future__ import annotations

import resource
import time
from collections import Counter

from prerl_eval.cards import load_card
from prerl_eval.grading import GradingPool
from prerl_eval.problems import load_problems

REPEATS = 3


def main() -> None:
    problems = load_problems(load_card("humaneval"))
    items = [
        (problem, body, "stop", False)
        for problem in problems
        for body in (problem.extra["solution"], "    pass\n")
    ]
    seen = set()
    for workers in (1, 2):
        for _ in range(REPEATS):
            start, before = time.monotonic(), _cpu()
            with GradingPool(workers) as pool:
                statuses = tuple(verdict.status for verdict in pool.grade(items))
            seen.add(statuses)
            each = 1000 * (_cpu() - before) / len(items)
            print(
                f"{workers} worker(s): solutions {dict(Counter(statuses[::2]))}, "
                f"empty bodies {dict(Counter(statuses[1::2]))}, "
                f"{time.monotonic() - start:.1f} s, {each:.0f} ms of CPU each"
            )
    print("identical" if len(seen) == 1 else f"{len(seen)} DIFFERENT results")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
