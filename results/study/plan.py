"""The plan of a study: which models are trained, from what, and what each is measured on.

Covers the file results/NAME/study.toml and the names of models. Does not cover commands and folders
(results.study.jobs) or which results are there already (results.study.collect).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prerl_eval.errors import UserError

Value = str | int | float | bool
"""Of an option: a rate is best written as text, "3e-4", which is what the command line then says."""


@dataclass(frozen=True)
class Measure:
    """Benchmarks that a model is measured on, and samples per problem. limit: first problems only."""

    name: str
    benchmarks: tuple[str, ...]
    n: int
    temperature: float | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Measured:
    """Where an arm is measured: after `step` updates of its own (0: a base model), for which seeds."""

    step: int
    measures: tuple[Measure, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Fork:
    """An arm begins at another arm's checkpoint of the same seed, with a fresh optimizer."""

    arm: str
    step: int


@dataclass(frozen=True)
class Arm:
    """One way of training. algorithm: a command of prerl-train, or "base" for a base model as it is.

    options: further flags of that command, of `prerl-eval run` for a base. rates: the learning rate, or
    those that are looked at on the validation problems. base: another base model of the plan, "" for the
    study's own. steps: updates that are made at least; more where a later checkpoint is measured or forked
    from.
    """

    name: str
    algorithm: str
    options: Mapping[str, Value]
    rates: tuple[str, ...]
    at: tuple[Measured, ...]
    base: str = ""
    fork: Fork | None = None
    steps: int = 0

    @property
    def looks(self) -> tuple[str, ...]:
        """The rates to choose from; none where the rate is given."""
        return self.rates if len(self.rates) > 1 else ()

    @property
    def seeds(self) -> list[int]:
        """Every seed that is measured anywhere."""
        return sorted({seed for measured in self.at for seed in measured.seeds})


@dataclass(frozen=True)
class Model:
    """One trained model, or a base model. steps: updates that it is trained for."""

    arm: Arm
    lr: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """As in folders and data: "base", "base.NAME" or "ARM-LR-SEED"."""
        return self.arm.name if self.is_base else f"{self.arm.name}-{self.lr}-{self.seed}"

    @property
    def is_base(self) -> bool:
        """Whether nothing is trained."""
        return self.arm.algorithm == "base"


@dataclass(frozen=True)
class Point:
    """One measurement of one model after some of its updates."""

    model: Model
    step: int
    measure: Measure


@dataclass(frozen=True)
class Cost:
    """Seconds of one core: of an update, of a sample of an evaluation, of a base model and its alignment.

    problems: of a benchmark where no limit is set.
    """

    update: float
    sample: float
    base: float
    align: float
    problems: int


@dataclass(frozen=True)
class Study:
    """What study.toml says. look: step and measure by which rates are chosen, with seed 0.

    bases: name -> options of `prerl-train base`. save_every: updates between checkpoints. alignment: options
    of `prerl-train align`, which every base model goes through; none where empty.
    """

    folder: Path
    model: str
    recipe: str
    save_every: int
    look: tuple[int, Measure]
    measures: Mapping[str, Measure]
    bases: Mapping[str, Mapping[str, Value]]
    arms: Mapping[str, Arm]
    cost: Cost
    alignment: Mapping[str, Value] = field(default_factory=dict)

    def look_points(self) -> list[Point]:
        """Every rate of the arms that choose one."""
        step, measure = self.look
        return [
            Point(Model(arm, lr, 0, step), step, measure) for arm in self.arms.values() for lr in arm.looks
        ]

    def points(self, rates: Mapping[str, str]) -> list[Point]:
        """What is measured at the chosen rates, one seed of all arms after the other.

        rates: arm -> learning rate; arms that still lack theirs are left out.
        """
        seeds = sorted({seed for arm in self.arms.values() for seed in arm.seeds})
        return [
            Point(self.trained(arm.name, seed, rates), measured.step, measure)
            for seed in seeds
            for arm in self.arms.values()
            if self.is_ready(arm.name, rates)
            for measured in arm.at
            if seed in measured.seeds
            for measure in measured.measures
        ]

    def is_ready(self, name: str, rates: Mapping[str, str]) -> bool:
        """Whether the learning rate of an arm, and of the arm that it is forked from, is known."""
        arm = self.arms[name]
        origin = arm.fork is None or self.is_ready(arm.fork.arm, rates)
        return origin and (arm.algorithm == "base" or name in rates)

    def trained(self, name: str, seed: int, rates: Mapping[str, str]) -> Model:
        """The model of an arm and a seed at its chosen rate."""
        arm = self.arms[name]
        return Model(arm, rates.get(name, ""), seed, self._steps(arm, seed))

    def origin(self, model: Model, rates: Mapping[str, str]) -> Model | None:
        """The model whose checkpoint a fork begins at."""
        fork = model.arm.fork
        return self.trained(fork.arm, model.seed, rates) if fork else None

    def _steps(self, arm: Arm, seed: int) -> int:
        measured = [measured.step for measured in arm.at if seed in measured.seeds]
        forks = [other.fork.step for other in self.arms.values() if other.fork and other.fork.arm == arm.name]
        return max([arm.steps, *measured, *forks])

    def only(self, names: Sequence[str]) -> Study:
        """The study of some arms, and of those that they are forked from (which are then not measured).

        Raises UserError for an arm that the plan does not have.
        """
        if unknown := [name for name in names if name not in self.arms]:
            raise UserError(f"--only {unknown[0]}: the plan has no such arm; it has {', '.join(self.arms)}")
        chosen = {name: self.arms[name] for name in self.arms if name in names}
        for arm in list(chosen.values()):
            if arm.fork and arm.fork.arm not in chosen:
                origin = self.arms[arm.fork.arm]
                steps = max(self._steps(origin, seed) for seed in arm.seeds)
                chosen[origin.name] = replace(origin, at=(), steps=steps)
        return replace(self, arms=chosen, alignment={})

    def quick(self) -> Study:
        """One arm and one fork of it, one update each, two samples of five problems: does it run at all.

        The arm is looked at, the fork is tested. Raises UserError for a plan without forks.
        """
        fork = next((arm for arm in self.arms.values() if arm.fork), None)
        if fork is None or fork.fork is None:
            raise UserError(f"{self.folder / 'study.toml'} has no arm with `from`, which --quick needs")
        test, look = (
            replace(measure, n=2, limit=5, benchmarks=measure.benchmarks[:1])
            for measure in (fork.at[0].measures[0], self.look[1])
        )
        origin = self.arms[fork.fork.arm]
        begun = replace(origin, rates=origin.rates[:1], steps=1, at=(Measured(1, (look,), (0,)),))
        forked = replace(fork, fork=Fork(origin.name, 1), steps=1, at=(Measured(1, (test,), (0,)),))
        return replace(
            self,
            save_every=1,
            look=(1, look),
            measures={test.name: test, look.name: look},
            arms={begun.name: begun, forked.name: forked},
            alignment={},
        )
