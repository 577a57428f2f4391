"""Forks: from update t of GRPO, twenty more of GRPO, of NSR-PreRL or of PreRL. Who still adds coverage?

Covers Avg and Pass@32 (coverage) of each continuation, its difference to the policy at t and to GRPO's
continuation, all seed by seed: a fork and the policy that it begins at are one seed's. A fork begins with a
fresh optimizer; "grpo, not interrupted" is the same run's checkpoint as many updates later, and what
GRPO's continuation is where no fork by GRPO was trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from results.study.committed import Committed, Tested
from results.study.contrasts import Contrast, paired_difference, scores
from results.study.markdown import DASH, Cell, Rows, adjusted, spread, tables, written
from results.study.roles import REFERENCE, role, trained

COVERAGE = 32

ON = f"{REFERENCE}, not interrupted"

HEAD = [
    "t",
    "then",
    "seeds",
    "Avg",
    "less the policy at t",
    f"Pass@{COVERAGE}",
    "less the policy at t",
    "less GRPO's continuation",
]
AFTER, BEYOND = HEAD.index(f"Pass@{COVERAGE}") + 1, len(HEAD) - 1
"""Columns of what coverage gained over the policy at t, and over GRPO's continuation."""


def forks_table(data: Committed) -> str:
    """The forks, by test set and t; and from which t on only one continuation adds coverage."""
    blocks = adjusted({name: _rows(data, name) for name in data.sets})
    made = tables(HEAD, blocks)
    said = [f"{name}: {coverage_verdict(rows)}" for name, rows in blocks.items() if rows]
    return "\n\n".join([made, *said])


def continuations(data: Committed) -> dict[int, dict[str, tuple[str, int]]]:
    """t -> what went on from there -> (arm, step) of its end."""
    found: dict[int, dict[str, tuple[str, int]]] = {}
    for name in trained(data):
        arm = data.study.arms.get(name)
        if (
            role(data, name) == "fork"
            and arm
            and arm.fork
            and arm.fork.arm == REFERENCE
            and data.steps_of(name)
        ):
            last = data.steps_of(name)[-1]
            at = found.setdefault(arm.fork.step, {})
            at[arm.algorithm] = name, last
            if arm.fork.step + last in data.steps_of(REFERENCE):
                at.setdefault(ON, (REFERENCE, arm.fork.step + last))
    return dict(sorted(found.items()))


def _rows(data: Committed, benchmark: str) -> Rows:
    rows: list[list[Cell]] = []
    for t, ends in continuations(data).items():
        tested = {what: data.at(arm, step, benchmark) for what, (arm, step) in ends.items()}
        there = {what: one for what, one in tested.items() if one}
        seeds = {
            seed
            for (arm, _), one in zip(ends.values(), tested.values(), strict=True)
            if one and arm != REFERENCE
            for seed in one.seeds
        }
        start = _of(data.at(REFERENCE, t, benchmark), seeds)
        there = {what: one for what, end in there.items() if (one := _of(end, seeds))}
        if start is not None:
            rows.append(
                [
                    f"{t}",
                    DASH,
                    f"{len(start.seeds)}",
                    _level(start, 1),
                    DASH,
                    _level(start, COVERAGE),
                    DASH,
                    DASH,
                ]
            )
        rows += [_row(t, what, one, start, there) for what, one in there.items()]
    return rows


def _of(tested: Tested | None, seeds: set[int]) -> Tested | None:
    """A measurement's seeds that some fork has."""
    kept = [seed for seed in tested.seeds if seed in seeds] if tested else []
    return tested.of_seeds(kept) if tested and kept else None


def _row(t: int, what: str, end: Tested, start: Tested | None, others: Mapping[str, Tested]) -> list[Cell]:
    usual = next((others[name] for name in (REFERENCE, ON) if name in others), None)
    beyond = None if usual is None or end is usual else _paired(usual, end, COVERAGE)
    return [
        f"{t}",
        what,
        f"{len(end.seeds)}",
        _level(end, 1),
        _paired(start, end, 1) or written(None),
        _level(end, COVERAGE),
        _paired(start, end, COVERAGE) or written(None),
        beyond or written(None),
    ]


def _paired(before: Tested | None, after: Tested, k: int) -> Contrast | None:
    """The difference over the seeds that both have."""
    seeds = [seed for seed in after.seeds if before and seed in before.seeds]
    if before is None or not seeds:
        return None
    return paired_difference(before.of_seeds(seeds).counts, after.of_seeds(seeds).counts, k)


def _level(one: Tested, k: int) -> str:
    side = scores(one.counts, k)
    return spread(None if side is None else np.asarray(side.mean(axis=1)))


def coverage_verdict(rows: Rows) -> str:
    """From which t on only one continuation adds coverage, by the table's tests at 5% after Holm.

    A continuation adds coverage at t where its Pass@32 is called higher than that of the policy at t.
    """
    gained: dict[int, set[str]] = {}
    for row in rows:
        cell = row[AFTER]
        if isinstance(cell, Contrast):
            gained.setdefault(int(str(row[0])), set())
            if cell.sign > 0:
                gained[int(str(row[0]))].add(str(row[1]))
    if not gained:
        return "whether any continuation adds coverage was not tested."
    if not any(gained.values()):
        return f"no continuation is found to add coverage at any of t = {', '.join(map(str, gained))}."
    each = "; ".join(f"t = {t}: {', '.join(sorted(names)) or 'none'}" for t, names in gained.items())
    alone = [
        t for t in gained if all(len(gained[u]) == 1 and gained[u] == gained[t] for u in gained if u >= t)
    ]
    if not alone:
        return f"coverage is added by, {each}; there is no t from which on one continuation alone adds it."
    return f"coverage is added by, {each}; from t = {alone[0]} on by {next(iter(gained[alone[0]]))} alone."
