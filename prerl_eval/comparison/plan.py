"""What is compared: the sides after their checks, and the counts that the statistics take.

Covers refusing runs that are not alike, the benchmarks and problems that all share, and the step to
`Arm`s. Does not cover statistics (the other modules of this package) or output (compare.py, render.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prerl_eval.comparison.alike import differences, null_faults, repeated_samples, repeated_weights
from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.sides import Group, Run, Side, read_group
from prerl_eval.errors import UserError
from prerl_eval.tally import Tally

ALLOW = "--allow-differences"


@dataclass(frozen=True)
class Plan:
    """Sides that may be compared. problems: benchmark -> the ids that every run has, sorted.

    notes: what differs between the runs and the reader must know. null: a second run of the base.
    """

    base: Side
    others: tuple[Side, ...]
    null: Side | None
    problems: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def arm(self, side: Side, benchmark: str) -> Arm:
        """The counts of a side over the problems that all share: one row per run."""
        return Arm(
            side.name,
            self.problems[benchmark],
            self.counts(side, benchmark, lambda tally: tally.correct),
            self.counts(side, benchmark, lambda tally: tally.samples),
        )

    def counts(
        self, side: Side, benchmark: str, of: Callable[[Tally], NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        """A figure per problem of each run: int[S, P] in the order of `problems`."""
        return np.stack([of(run.tallies[benchmark])[self.places(run, benchmark)] for run in side.runs])

    def places(self, run: Run, benchmark: str) -> NDArray[np.int64]:
        """Where the compared problems stand in the tally of a run: int[P]."""
        place = {problem: index for index, problem in enumerate(run.tallies[benchmark].problem_ids)}
        return np.asarray([place[problem] for problem in self.problems[benchmark]], dtype=np.int64)


def plan_comparison(
    base: Group,
    others: Sequence[Group],
    *,
    null: Group | None = None,
    benchmarks: Sequence[str] = (),
    step: int | None = None,
    allow_differences: bool = False,
) -> Plan:
    """Read all sides and check that they may be compared.

    benchmarks: those to compare, all that every run has where none is named. Raises UserError, naming
    the first differences in one line, where problems, prompts or sampling settings differ, unless
    allow_differences: then they are notes, and the problems that all runs share are compared.
    """
    first = read_group(base, step)
    sides = [read_group(group, step) for group in others]
    again = read_group(null, step) if null else None
    every = [first, *sides, *([again] if again else [])]
    runs = [run for side in every for run in side.runs]
    names, notes = _shared_benchmarks(runs, benchmarks)
    different = [line for run in runs[1:] for line in differences(runs[0], run, names)]
    different += [line for side in every for line in repeated_weights(side)]
    different += [line for side in sides for line in repeated_samples(first, side)]
    if again:
        different += null_faults(first, again)
    if different and not allow_differences:
        raise UserError(_refusal(different))
    notes += [f"compared although {line}" for line in different]
    problems = {name: _shared_problems(runs, name) for name in names}
    notes += _remarks(runs, names)
    if len(first.runs) > 1:
        notes.append(
            f"an unchanged model is one seed of {first.name} sampled again: its other training seeds "
            "keep fewer and find more than that, too: retention and discovery do not tell methods apart"
        )
    return Plan(first, tuple(sides), again, problems, tuple(dict.fromkeys(notes)))


def _refusal(different: Sequence[str]) -> str:
    more = f" (and {len(different) - 2} more)" if len(different) > 2 else ""
    return f"not comparable: {'; '.join(different[:2])}{more}; make them alike, or give {ALLOW}"


def _shared_benchmarks(runs: Sequence[Run], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """The benchmarks to compare, and notes on those that some run lacks."""
    order = list(dict.fromkeys(name for run in runs for name in run.tallies))
    shared = [name for name in order if all(name in run.tallies for run in runs)]
    for name in wanted:
        if name not in shared:
            where = next((str(run.path) for run in runs if name not in run.tallies), "all runs")
            raise UserError(f"--bench {name} is not in {where}; all runs have: {', '.join(shared) or 'none'}")
    if not shared:
        lacking = next(run for run in runs if order[0] not in run.tallies)
        raise UserError(
            f"no benchmark is in all runs ({runs[0].path} has {', '.join(runs[0].tallies)}, "
            f"{lacking.path} has {', '.join(lacking.tallies)}); evaluate them on the same ones"
        )
    notes = [
        f"{name} is left out: not in {next(run.path for run in runs if name not in run.tallies)}"
        for name in order
        if name not in shared and not wanted
    ]
    return [name for name in shared if not wanted or name in wanted], notes


def _shared_problems(runs: Sequence[Run], name: str) -> tuple[str, ...]:
    shared = set.intersection(*(set(run.tallies[name].problem_ids) for run in runs))
    if not shared:
        raise UserError(f"no problem of {name} is in all runs; evaluate them on the same problems")
    return tuple(sorted(shared))


def _remarks(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """What does not stand in the way of a comparison but belongs beside it."""
    notes = []
    imported = [str(run.path) for run in runs if run.imported]
    if imported:
        were, they = ("was", "it was") if len(imported) == 1 else ("were", "they were")
        notes.append(
            f"{', '.join(imported)} {were} imported: how {they} prompted and sampled is not known and was "
            "not checked"
        )
    for run in runs:
        missing = sum(run.tallies[name].missing for name in names)
        if missing:
            notes.append(f"{run.path} is incomplete: {missing:,} planned samples are not there yet")
    notes += _sizes(runs, names)
    for key in ("engine", "dtype"):
        values = {str(run.record["settings"].get(key)) for run in runs if not run.imported}
        if len(values) > 1:
            notes.append(
                f"the {key} differs between runs ({', '.join(sorted(values))}): small numeric differences"
            )
    return notes


def _sizes(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """One note for all benchmarks on which n differs between the same runs."""
    alike: dict[str, list[str]] = {}
    for name in names:
        paths: dict[int, list[str]] = {}
        for run in runs:
            paths.setdefault(run.tallies[name].n, []).append(str(run.path))
        if len(paths) > 1:
            listed = (
                f"{n} in {first}{f' and {len(more)} more' if more else ''}"
                for n, (first, *more) in paths.items()
            )
            alike.setdefault(", ".join(listed), []).append(name)
    return [
        f"n differs on {', '.join(named)} ({listed}): Pass@k, retention and discovery are taken at the "
        "smaller n of the runs they compare; newly solved and newly lost take all samples, so the side with "
        "more of them finds more"
        for listed, named in alike.items()
    ]
