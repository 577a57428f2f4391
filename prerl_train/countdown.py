"""Countdown, the task of the embedded default: its problems and the splits that are committed.

A problem gives a few digits and a target; a solution is a chain over all the digits that reaches the
target when worked out from left to right (prerl_eval.grading.countdown has the rules and the
verifier). In this world digits are 1-9, targets 10-60, and there is always a solution whose running
values stay within 0-99.

    python -m prerl_train.countdown --out benchmarks    # writes the committed splits again

A problem is its digits, in any order, and its target. A hash of these puts each one into the corpus
that base models are pre-trained on or into one split, so that no two of them share a problem.
Covers no reasoning traces (prerl_train.traces) and no training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prerl_eval.grading.countdown import OPERATIONS, Chain

Part = Literal["corpus", "train", "validation", "test"]

LOWEST_TARGET, HIGHEST_TARGET = 10, 60
LIMIT = 100
"""Running values of the chains that are drawn lie in 0 .. LIMIT - 1."""

SHARES: Mapping[Part, int] = {"corpus": 50, "train": 30, "validation": 10, "test": 10}
"""Per cent of all problems that the hash puts into each part."""

SPLITS: Mapping[str, Mapping[Part, Mapping[int, int]]] = {
    "countdown": {
        "train": {3: 300, 4: 1900},
        "validation": {3: 80, 4: 120},
        "test": {3: 80, 4: 120},
    },
    "countdown-ood": {"validation": {5: 200}, "test": {5: 200}},
}
"""Benchmark -> split -> {how many digits: how many problems}. There are 1,128 problems of three digits,
11,908 of four and 54,350 of five. One digit more than in training makes a problem out of distribution,
and there is no such split to train on."""

SEED = 0
"""Seed of the committed splits."""


@dataclass(frozen=True, slots=True)
class CountdownProblem:
    """Digits in the order in which they are given, and the target."""

    numbers: tuple[int, ...]
    target: int

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """What makes it the same problem as another: order does not matter."""
        return tuple(sorted(self.numbers)), self.target

    @property
    def part(self) -> Part:
        """The part of the world that the problem's hash puts it into."""
        digest = hashlib.sha256(f"prerl countdown {self.key}".encode()).digest()
        point = int.from_bytes(digest[:8]) % 100
        for part, share in SHARES.items():
            if point < share:
                return part
            point -= share
        raise AssertionError("SHARES do not add up to 100")

    @property
    def text(self) -> str:
        """The problem as a model is asked it."""
        return f"use {' '.join(map(str, self.numbers))} to reach {self.target} ."


def random_chain(numbers: tuple[int, ...], rng: random.Random) -> Chain:
    """A chain over `numbers` in random order with random signs, all running values in 0 .. LIMIT - 1.

    There is one for any digits (all of them up to 9 and added stay below LIMIT for 11 digits).
    """
    while True:
        order = rng.sample(numbers, len(numbers))
        chain = Chain(tuple(order), tuple(rng.choices(list(OPERATIONS), k=len(order) - 1)))
        if all(0 <= value < LIMIT for value in chain.running_values()):
            return chain


def draw_problem(part: Part, digits: int, rng: random.Random) -> tuple[CountdownProblem, Chain]:
    """A problem of that part with that many digits, and a solution.

    Drawn through its solution: the more chains reach a target, the likelier it is.
    """
    while True:
        numbers = tuple(rng.choices(range(1, 10), k=digits))
        solution = random_chain(numbers, rng)
        problem = CountdownProblem(numbers, solution.value())
        if LOWEST_TARGET <= problem.target <= HIGHEST_TARGET and problem.part == part:
            return problem, solution


def make_split(benchmark: str, part: Part) -> list[dict[str, Any]]:
    """The rows of one committed split: id, problem, numbers, target and a solution; no problem twice."""
    rng = random.Random(f"{SEED} {benchmark} {part}")
    drawn: dict[tuple[tuple[int, ...], int], tuple[CountdownProblem, Chain]] = {}
    for digits, count in SPLITS[benchmark][part].items():
        wanted = len(drawn) + count
        while len(drawn) < wanted:
            problem, solution = draw_problem(part, digits, rng)
            drawn.setdefault(problem.key, (problem, solution))
    rows = list(drawn.values())
    rng.shuffle(rows)
    return [
        {
            "id": f"{part}-{number:04d}",
            "problem": problem.text,
            "numbers": list(problem.numbers),
            "target": problem.target,
            "solution": str(solution),
        }
        for number, (problem, solution) in enumerate(rows)
    ]


def write_splits(folder: Path) -> list[Path]:
    """Write FOLDER/<benchmark>/<split>.jsonl for every split; the files written."""
    files = []
    for benchmark, parts in SPLITS.items():
        for part in parts:
            file = folder / benchmark / f"{part}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = make_split(benchmark, part)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            files.append(file)
    return files


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the Countdown splits that prerl ships.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cards; one folder per set")
    for written in write_splits(parser.parse_args().out):
        print(written)
