"""The plan of a study: which models are trained, and what each is measured on.

Covers the file results/NAME/study.toml. Does not cover running (results.study.execute).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prerl_eval.errors import UserError


@dataclass(frozen=True)
class Measurement:
    """Benchmarks that a model is evaluated on, and samples per problem. name: "val" or "test"."""

    name: str
    benchmarks: tuple[str, ...]
    n: int
    limit: int | None = None


@dataclass(frozen=True)
class Job:
    """One model: trained (not where algorithm is "base") and measured.

    algorithm: a command of prerl-train. lr: as it is written on the command line, "4e-4".
    """

    algorithm: str
    lr: str
    seed: int
    measurement: Measurement

    @property
    def model(self) -> str:
        """Name of the trained model, shared by its measurements."""
        return "base" if self.algorithm == "base" else f"{self.algorithm}-{self.lr}-{self.seed}"


@dataclass(frozen=True)
class Study:
    """What study.toml says.

    looks: algorithm -> learning rates that are tried with seed 0 on the validation problems; the best
    one is then trained with every one of `seeds` and measured on the test problems.
    """

    folder: Path
    base: str
    recipe: str
    steps: int
    validation: Measurement
    test: Measurement
    base_test: Measurement
    looks: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]

    def first_jobs(self) -> list[Job]:
        """The looks at learning rates, and the base model."""
        jobs = [Job("base", "", 0, self.base_test)]
        return jobs + [
            Job(algorithm, lr, 0, self.validation) for algorithm, rates in self.looks.items() for lr in rates
        ]

    def second_jobs(self, chosen: Mapping[str, str]) -> list[Job]:
        """Every seed of every algorithm at its chosen rate, one seed of all algorithms after the other."""
        return [
            Job(algorithm, chosen[algorithm], seed, self.test) for seed in self.seeds for algorithm in chosen
        ]


def load_study(folder: Path, quick: bool = False) -> Study:
    """The study of a folder. quick: one algorithm, one update, five problems: does it run at all.

    Raises UserError where there is no plan, or where it gives methods unequal numbers of looks.
    """
    file = folder / "study.toml"
    if not file.is_file():
        raise UserError(f"{folder} has no study.toml; give a folder like results/nano")
    plan = tomllib.loads(file.read_text(encoding="utf-8"))
    looks = {name: tuple(rates) for name, rates in plan["looks"].items()}
    if len({len(rates) for rates in looks.values()}) > 1:
        counts = ", ".join(f"{name} {len(rates)}" for name, rates in looks.items())
        raise UserError(f"{file}: every algorithm must get as many looks as every other; now: {counts}")
    if quick:
        looks = {name: looks[name][:1] for name in list(looks)[:1]}
    return Study(
        folder=folder,
        base=plan["model"],
        recipe=plan["recipe"],
        steps=1 if quick else plan["steps"],
        validation=_measurement("val", plan, quick),
        test=_measurement("test", plan, quick),
        base_test=_measurement("base", plan, quick),
        looks=looks,
        seeds=tuple(plan["seeds"][:1] if quick else plan["seeds"]),
    )


def _measurement(
    name: str, plan: Mapping[str, Mapping[str, Sequence[str] | int]], quick: bool
) -> Measurement:
    entry = plan[name]
    benchmarks = entry["benchmarks"]
    assert isinstance(benchmarks, list)
    n = entry["n"]
    assert isinstance(n, int)
    return Measurement(name, tuple(benchmarks), 2 if quick else n, 5 if quick else None)
