"""Traces for the judge's tests, with labels that tests/behavior_server.py finds in them by keyword."""

from pathlib import Path

from tests.runs import sample, write_run

STEPS = (
    "First I find the prime factors of item {0}.",
    "n = 1 gives 3, n = 2 gives {0}, n = 3 gives 15.",
    "Let me check: 3 * 5 is 15.",
    "So case {0} is out; instead I try the other sign.",
)

LABELS = ("subgoal_setting", "enumeration", "verification", "backtracking")


def trace(number: int) -> str:
    """Item `number`: one of each label, less the label of number % 5 where there is one (4: all)."""
    steps = [step.format(number) for place, step in enumerate(STEPS) if place != number % 5]
    return f"This is item {number}.\n\n" + "\n\n".join(steps)


def judge_run(folder: Path, items: int, samples: int = 4, texts: dict[int, str] | None = None) -> Path:
    """A run of `items` traces, `samples` of each problem; some replaced by `texts`."""
    rows = [
        sample(
            f"p{number // samples}",
            number % samples,
            "correct",
            prompt=f"Problem {number // samples}: solve it.",
            completion=(texts or {}).get(number, trace(number)),
        )
        for number in range(items)
    ]
    return write_run(folder, rows)
