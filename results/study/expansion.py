"""Did training find problems and solutions that the base does not, or lose some that it does?

Covers solved and unsolved problems, saturation (support kept, found, lost), and rare paths through the stages
of training, each against a second run of the base: an unchanged model loses and finds some, too. Estimands
and intervals are those of `prerl-eval compare` (docs/compare-statistics.md). Does not cover how likely the
base's own responses became (trace_tables.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.rare import RareStage, rare_survival, trace_arms
from prerl_eval.comparison.several import SOME_SEEDS
from prerl_eval.comparison.shares import Excess, Share
from prerl_eval.comparison.support import Support, SupportChange, support_change
from results.study.committed import Committed
from results.study.contrasts import Contrast
from results.study.markdown import DASH, Cell, tables
from results.study.paths import AGAIN, BASE, Stage, Stages, read_stages
from results.study.roles import REFERENCE, main_arms

UNITS = ("problems", "solutions")


def expansion_table(data: Committed) -> str:
    """Markdown: of what the base solves in m samples, what each method keeps, finds and loses."""
    head = [
        *("", "seeds", "m", "both", "base only", "method only", "neither"),
        *("retention, %", "retention less null", "discovery less null"),
    ]
    blocks = {}
    for benchmark, base, null in _bases(data):
        rows: list[list[Cell]] = []
        for arm, counts in _methods(data, benchmark):
            change = support_change(base.counts, counts, null.counts)
            if not rows and change.null is not None:
                rows.append(["base again", DASH, str(change.null.m), *_categories(change.null), DASH, DASH])
            rows.append([arm, str(counts.seeds), *_kept_and_new(change, counts.seeds)])
        blocks[benchmark] = rows
    return tables(head, blocks)


def discovery_less_null(data: Committed, benchmark: str, arm: str) -> Contrast | None:
    """Discovery of one arm less that of the base again, in points; None where it was not measured."""
    for name, base, null in _bases(data):
        counts = dict(_methods(data, name)).get(arm) if name == benchmark else None
        if counts is not None:
            cell = _kept_and_new(support_change(base.counts, counts, null.counts), counts.seeds)[-1]
            return cell if isinstance(cell, Contrast) else None
    return None


def newly_table(data: Committed) -> str:
    """Markdown: problems with correct samples on one side only, and those of them that luck does not explain.

    All samples of all seeds of a method against all of the base. Called: Fisher's exact test, at a false
    discovery rate of 5% over all problems.
    """
    head = ["", "samples", "solved, not by the base", "called", "lost", "called"]
    blocks = {}
    for benchmark, base, null in _bases(data):
        rows: list[list[Cell]] = []
        for arm, counts in [("base again", null.counts), *_methods(data, benchmark)]:
            change = support_change(base.counts, counts)
            samples = f"{base.counts.n} / {counts.n * counts.seeds}"
            found = [(len(side.ids), len(side.survive)) for side in (change.newly_solved, change.newly_lost)]
            rows.append([arm, samples, *(str(count) for pair in found for count in pair)])
        blocks[benchmark] = rows
    return tables(head, blocks)


def rare_table(data: Committed) -> str:
    """Markdown: of problems, and of solutions, that the base reaches but seldom, what the stages reach."""
    head = ["", "seeds", "m", "rare", "reached, %", "null", "less null", "recovered", "new", "less null"]
    stages = read_stages(data.study.folder)
    blocks = {}
    for benchmark, base, null in _bases(data):
        series = _series(stages, benchmark)
        for unit in UNITS if series else ():
            rows: list[list[Cell]] = []
            for one in series:
                rows += _rare_rows(rare_stages(unit, base, one, null), len(one[0].seeds))
            blocks[f"{benchmark}, {unit}"] = rows
    return tables(head, blocks)


def rare_stages(unit: str, base: Stage, series: list[Stage], null: Stage) -> list[RareStage]:
    """Rare-path survival of a series of stages. unit: one of UNITS."""
    if unit == "problems":
        return rare_survival(base.counts, [stage.counts for stage in series], null.counts)
    every = [base, *series, null]
    arms, problem_of = trace_arms([(stage.counts, stage.solutions) for stage in every])
    return rare_survival(arms[0], arms[1:-1], arms[-1], problem_of)


# --- which arms ------------------------------------------------------------------------------------


def _bases(data: Committed) -> Iterator[tuple[str, Stage, Stage]]:
    """(benchmark, the base, the base again), where both are there."""
    stages = read_stages(data.study.folder)
    for benchmark in data.sets:
        base, null = stages.get((BASE, 0, benchmark)), stages.get((AGAIN, 0, benchmark))
        if base is not None and null is not None:
            yield benchmark, base, null


def _methods(data: Committed, benchmark: str) -> list[tuple[str, Arm]]:
    """Every method trained from the shipped base, as measured after the planned updates; best Avg first."""
    found = [(arm, data.at(arm, data.steps, benchmark)) for arm in main_arms(data)]
    there = [(arm, tested.counts) for arm, tested in found if tested is not None]
    return sorted(there, key=lambda pair: -float((pair[1].correct / pair[1].samples).mean()))


def _series(stages: Stages, benchmark: str) -> list[list[Stage]]:
    """The stages of each arm in the order of training, of the seeds that all have; reference first."""
    arms = sorted(
        {arm for arm, _, on in stages if on == benchmark} - {BASE, AGAIN}, key=lambda a: (a != REFERENCE, a)
    )
    found = []
    for arm in arms:
        steps = sorted(step for name, step, on in stages if (name, on) == (arm, benchmark))
        series = [stages[arm, step, benchmark] for step in steps]
        common = tuple(sorted(set.intersection(*(set(stage.seeds) for stage in series))))
        if common:
            found.append([stage.of_seeds(common) for stage in series])
    return found


# --- cells -----------------------------------------------------------------------------------------


def _categories(support: Support) -> list[Cell]:
    numbers = (support.preserved, support.shrunk, support.expanded, support.out)
    return [*(f"{number:.1f}" for number in numbers), _share(support.retention)]


def _kept_and_new(change: SupportChange, seeds: int) -> list[Cell]:
    matched = change.matched or change.at_n
    few = seeds < SOME_SEEDS
    return [
        str(matched.m),
        *_categories(matched),
        _contrast(change.excess["retention"], few),
        _contrast(change.excess["discovery"], few),
    ]


def _rare_rows(found: list[RareStage], seeds: int) -> list[list[Cell]]:
    few = seeds < SOME_SEEDS
    return [
        [
            stage.stage,
            str(seeds),
            str(stage.m),
            f"{stage.rare:.1f}",
            _share(stage.survival),
            f"{100 * stage.null_survival:.1f}",
            _contrast(stage.excess, few),
            DASH if number == 0 else f"{stage.recovered:.1f} (null {stage.expected_recovered:.1f})",
            f"{stage.new:.1f} (null {stage.null_new:.1f})",
            _count(stage.excess_new),
        ]
        for number, stage in enumerate(found)
    ]


def _share(share: Share) -> str:
    if math.isnan(share.value):
        return DASH
    return f"{100 * share.value:.1f} ({100 * share.low:.1f}–{100 * share.high:.1f})"


def _contrast(excess: Excess, few: bool) -> Cell:
    if math.isnan(excess.value):
        return DASH
    return Contrast(excess.value, excess.low, excess.high, math.nan if few else excess.p, few)


def _count(excess: Excess) -> str:
    if math.isnan(excess.value):
        return DASH
    return f"{excess.value:+.1f} ({excess.low:+.1f}, {excess.high:+.1f})"
