"""What a study has committed, as arrays: counts per seed and problem, looks, tokens, KL moved.

Covers reading counts.parquet, runs.csv, looks.csv and kl.csv of one folder, and which learning
rate of an arm the tables speak of. Does not cover how these files are made, nor any statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from prerl_eval.comparison.arms import Arm
from prerl_eval.errors import UserError
from prerl_eval.metrics import Floats
from results.study.collect import chosen_rates, read_counts, read_csv
from results.study.plan import Study

BASE = "base"
TEST = "test"


@dataclass(frozen=True)
class Tested:
    """An arm at one step on one benchmark, S seeds x P problems.

    finished: responses that ended before the token limit, float[S, P], NaN where it is not known.
    """

    counts: Arm
    seeds: tuple[int, ...]
    finished: Floats

    def of_seeds(self, seeds: Sequence[int]) -> Tested:
        """The same of these seeds, in their order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        arm = self.counts
        counts = Arm(arm.name, arm.problem_ids, arm.correct[rows], arm.samples[rows])
        return Tested(counts, tuple(seeds), self.finished[rows])

    def of_problems(self, problems: Iterable[str]) -> Tested:
        """The same of these problems only."""
        arm, wanted = self.counts, set(problems)
        kept = [place for place, problem in enumerate(arm.problem_ids) if problem in wanted]
        ids = tuple(arm.problem_ids[place] for place in kept)
        counts = Arm(arm.name, ids, arm.correct[:, kept], arm.samples[:, kept])
        return Tested(counts, self.seeds, self.finished[:, kept])

    def of_size(self, n: int) -> Tested | None:
        """The same of the seeds with at least n samples of every problem; None without any."""
        seeds = [seed for seed, row in zip(self.seeds, self.counts.samples, strict=True) if row.min() >= n]
        return self.of_seeds(seeds) if seeds else None


Place = tuple[str, str, int, str, str]
"""(arm, lr, step, measure, benchmark)."""

Fact = tuple[str, int, int, int | None]
"""(problem, correct, samples, finished or None)."""


@dataclass(frozen=True)
class Committed:
    """The committed data of one study.

    tokens: (arm, lr, seed, step) -> tokens sampled
    in training up to there. kl: (arm, step) -> KL to the base per response of each seed, in nats.
    """

    study: Study
    measured: Mapping[Place, Tested]
    looks: Mapping[tuple[str, str], float]
    tokens: Mapping[tuple[str, str, int, int], int]
    kl: Mapping[tuple[str, int], tuple[float, ...]]

    @property
    def steps(self) -> int:
        """Updates after which methods are compared: those after which their learning rates were chosen."""
        return self.study.look[0]

    @cached_property
    def rates(self) -> dict[str, str]:
        """Arm -> its learning rate: the chosen one, or what was measured where the plan does not say."""
        found: dict[str, set[str]] = {}
        for arm, lr, *_ in self.measured:
            found.setdefault(arm, set()).add(lr)
        chosen = chosen_rates(self.study)
        return {arm: chosen[arm] if chosen.get(arm) in rates else min(rates) for arm, rates in found.items()}

    @property
    def sets(self) -> tuple[str, ...]:
        """The test benchmarks."""
        return self.study.measures[TEST].benchmarks

    def at(self, arm: str, step: int, benchmark: str, temperature: float | None = None) -> Tested | None:
        """An arm at its chosen rate; None where it was not measured.

        Of several measurements of one seed (with more samples, say) the one of most samples is taken: they
        are not added up, as a sample of the same number may be the same draw. Seeds may so differ in n.
        """
        found = [
            tested
            for (name, lr, at, measure, on), tested in self.measured.items()
            if (name, lr, at, on) == (arm, self.rates.get(arm), step, benchmark)
            and self.temperature(measure) == temperature
        ]
        return _together(sorted(found, key=lambda tested: tested.counts.n))

    def temperature(self, measure: str) -> float | None:
        """What the plan says of a measurement: None for the benchmark's own."""
        planned = self.study.measures.get(measure)
        return planned.temperature if planned else None

    def steps_of(self, arm: str) -> list[int]:
        """The steps at which an arm was measured on the test benchmarks."""
        return sorted(
            {
                step
                for name, lr, step, measure, benchmark in self.measured
                if name == arm and lr == self.rates[arm] and benchmark in self.sets
                if self.temperature(measure) is None
            }
        )

    def mean_tokens(self, arm: str, step: int) -> float | None:
        """Tokens sampled in training up to a step, mean over seeds; None where it is not known."""
        rate = self.rates.get(arm)
        used = [count for key, count in self.tokens.items() if key[:2] == (arm, rate) and key[3] == step]
        return float(np.mean(used)) if used else None


def _together(found: Sequence[Tested]) -> Tested | None:
    """Every seed once, from the last measurement that has it; those of other problems are left out."""
    if not found:
        return None
    problems = max(found, key=lambda tested: (len(tested.seeds), tested.counts.n)).counts.problem_ids
    rows = {
        seed: tested.of_seeds([seed])
        for tested in found
        if tested.counts.problem_ids == problems
        for seed in tested.seeds
    }
    seeds = tuple(sorted(rows))
    arms = [rows[seed].counts for seed in seeds]
    correct, samples = (
        np.concatenate(parts) for parts in zip(*((a.correct, a.samples) for a in arms), strict=True)
    )
    return Tested(
        Arm(arms[0].name, problems, correct, samples),
        seeds,
        np.concatenate([rows[seed].finished for seed in seeds]),
    )


def load_committed(study: Study) -> Committed:
    """Read the data of a study's folder; files that are not there yet hold no rows.

    Raises UserError where seeds of one measurement have different problems.
    """
    folder = study.folder
    kl: dict[tuple[str, int], tuple[float, ...]] = {}
    for row in read_csv(folder / "kl.csv"):
        key = row["arm"], int(row["step"])
        kl[key] = (*kl.get(key, ()), float(row["kl_per_response"]))
    return Committed(
        study=study,
        measured=read_measured(read_counts(folder)),
        looks={(row["arm"], row["lr"]): float(row["avg"]) for row in read_csv(folder / "looks.csv")},
        tokens={
            (row["arm"], row["lr"], int(row["seed"]), int(row["step"])): int(row["tokens"])
            for row in read_csv(folder / "runs.csv")
            if row["tokens"]
        },
        kl=kl,
    )


def read_measured(table: pa.Table) -> dict[Place, Tested]:
    """counts.parquet by arm, rate, step, measure and benchmark, in the order of its rows."""
    groups: dict[Place, dict[int, list[Fact]]] = {}
    names = (
        "arm",
        "lr",
        "step",
        "measure",
        "benchmark",
        "seed",
        "problem_id",
        "correct",
        "samples",
        "finished",
    )
    for *place, seed, problem, correct, samples, finished in zip(
        *(table[name].to_pylist() for name in names), strict=True
    ):
        rows = groups.setdefault(tuple(place), {}).setdefault(seed, [])
        rows.append((problem, correct, samples, finished))
    return {place: _measured(place, seeds) for place, seeds in groups.items()}


def _measured(place: Place, by_seed: Mapping[int, list[Fact]]) -> Tested:
    seeds = tuple(sorted(by_seed))
    rows = [sorted(by_seed[seed]) for seed in seeds]
    problems = {tuple(problem for problem, *_ in row) for row in rows}
    if len(problems) != 1:
        arm, _, step, measure, benchmark = place
        raise UserError(
            f"counts.parquet: the seeds of {arm} at step {step} have different problems of {benchmark} "
            f"in {measure}; remove that arm's rows and collect again"
        )
    correct, samples = (np.array([[fact[i] for fact in row] for row in rows]) for i in (1, 2))
    finished = np.array([[fact[3] for fact in row] for row in rows], dtype=np.float64)  # None becomes NaN
    return Tested(Arm(place[0], problems.pop(), correct, samples), seeds, finished)
