"""Countdown, the task of the embedded default: its problems and the splits that are committed.

A problem gives a few digits and a target; a solution is a chain over all the digits that reaches the
target when worked out from left to right (prerl_eval.grading.countdown has the rules and the
verifier). In this world digits are 1-9, targets 10-60, and there is always a solution whose running
values stay within 0-99.

    python -m prerl_train.countdown --out benchmarks    # writes the committed splits again

A problem is its digits, in any order, and its target. A hash of these puts each one into the corpus
that base models are pre-trained on or into one split, so that no two of them share a problem. Problems
of SPLITS are drawn through a solution, those of the hard set among all that have few solutions.
Covers no reasoning traces (prerl_train.traces) and no training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, islice
from pathlib import Path
from typing import Any, Literal

from prerl_eval.grading.countdown import OPERATIONS, Chain

Part = Literal["corpus", "train", "validation", "test"]

Steps = tuple[tuple[str, int], ...]
"""An expression or a run of it: sign and number of each step, the sign of the first as in its run."""

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


@dataclass(frozen=True, slots=True)
class Tier:
    """A third of the hard set: so many problems of so many digits with `fewest` to `most` solutions."""

    digits: int
    fewest: int
    most: int
    problems: int


HARD = "countdown-hard"
HARD_TIERS = (Tier(4, 1, 1, 40), Tier(5, 2, 3, 40), Tier(5, 1, 1, 40))
"""The shipped base solves none of six digits, whose prompts it cannot even copy: no tier has them."""

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
        _row(f"{part}-{number:04d}", problem, solution) for number, (problem, solution) in enumerate(rows)
    ]


def make_hard_split(part: Part) -> list[dict[str, Any]]:
    """Rows of make_split with their number of digits and of solutions, HARD_TIERS in random order.

    Each tier is drawn uniformly from the part's problems, those of SPLITS left out. One solution at
    least has its running values within 0 .. LIMIT - 1, as all that the corpus shows; the count is over
    all that the verifier accepts.
    """
    rng = random.Random(f"{SEED} {HARD} {part}")
    taken = {
        CountdownProblem(tuple(row["numbers"]), row["target"]).key
        for benchmark, parts in SPLITS.items()
        if part in parts
        for row in make_split(benchmark, part)
    }
    drawn: list[tuple[CountdownProblem, list[Chain]]] = []
    for tier in HARD_TIERS:
        candidates = _draw_with_few_solutions(part, tier, taken, rng)
        drawn += islice(candidates, tier.problems)
        taken |= {problem.key for problem, _ in drawn}
    rng.shuffle(drawn)
    return [
        {
            **_row(f"{part}-{number:04d}", problem, next(filter(_in_world, found))),
            "digits": len(problem.numbers),
            "solutions": len(found),
        }
        for number, (problem, found) in enumerate(drawn)
    ]


def solutions(numbers: tuple[int, ...], target: int) -> Iterator[Chain]:
    """Every solution once, as its canonical expression (prerl_eval.grading.countdown).

    Running values of any size and sign. numbers: two at least, all above 0. Found backwards from the
    target, run by run, so that a product which does not divide it is left at once.
    """
    for multiplies in (False, True):
        for steps in _expressions(tuple(sorted(numbers)), target, multiplies):
            yield Chain(tuple(number for _, number in steps), tuple(sign for sign, _ in steps[1:]))


def write_splits(folder: Path) -> list[Path]:
    """Write FOLDER/<benchmark>/<split>.jsonl for every split; the files written."""
    splits = {(name, part): make_split(name, part) for name, parts in SPLITS.items() for part in parts}
    splits[HARD, "test"] = make_hard_split("test")
    files = []
    for (benchmark, part), rows in splits.items():
        file = folder / benchmark / f"{part}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files.append(file)
    return files


def _row(name: str, problem: CountdownProblem, solution: Chain) -> dict[str, Any]:
    return {
        "id": name,
        "problem": problem.text,
        "numbers": list(problem.numbers),
        "target": problem.target,
        "solution": str(solution),
    }


def _in_world(chain: Chain) -> bool:
    return all(0 <= value < LIMIT for value in chain.running_values())


def _draw_with_few_solutions(
    part: Part, tier: Tier, taken: set[tuple[tuple[int, ...], int]], rng: random.Random
) -> Iterator[tuple[CountdownProblem, list[Chain]]]:
    """The part's problems of that tier in random order, their digits too, each with all its solutions."""
    keys = [
        (numbers, target)
        for numbers in combinations_with_replacement(range(1, 10), tier.digits)
        for target in range(LOWEST_TARGET, HIGHEST_TARGET + 1)
        if CountdownProblem(numbers, target).part == part
    ]
    for numbers, target in rng.sample(keys, len(keys)):
        found = list(islice(solutions(numbers, target), tier.most + 1))
        few = tier.fewest <= len(found) <= tier.most and any(map(_in_world, found))
        if few and (numbers, target) not in taken:
            yield CountdownProblem(tuple(rng.sample(numbers, len(numbers))), target), found


def _expressions(numbers: tuple[int, ...], value: int, multiplies: bool) -> Iterator[Steps]:
    """Canonical expressions over all of the sorted `numbers` whose last run is of that kind.

    A run is what canonical_expression sorts: its numbers and signs make one expression. Kinds alternate.
    """
    if len(numbers) < 2:
        return
    for chosen, rest in _divisions(numbers):
        for run, before in _last_runs(chosen, value, multiplies) if chosen else ():
            if rest:
                yield from ((*steps, *run) for steps in _expressions(rest, before, not multiplies))
            elif before == multiplies and run[0][0] != "-":
                # Nothing before the first run is 0 for a sum and 1 for a product.
                yield run


def _last_runs(chosen: tuple[int, ...], value: int, multiplies: bool) -> Iterator[tuple[Steps, int]]:
    """Runs over the chosen numbers that end at `value`, each with the value that it starts from."""
    if multiplies:
        product = math.prod(chosen)
        if value % product == 0:
            yield tuple(("*", number) for number in chosen), value // product
        return
    for added, subtracted in _divisions(chosen):
        run = (*(("+", number) for number in added), *(("-", number) for number in subtracted))
        yield run, value - sum(added) + sum(subtracted)


@cache
def _divisions(numbers: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Sorted numbers divided in two, each division once."""
    if not numbers:
        return (((), ()),)
    number, count = numbers[0], numbers.count(numbers[0])
    return tuple(
        ((number,) * here + chosen, (number,) * (count - here) + rest)
        for here in range(count + 1)
        for chosen, rest in _divisions(numbers[count:])
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the Countdown splits that prerl ships.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cards; one folder per set")
    for written in write_splits(parser.parse_args().out):
        print(written)
