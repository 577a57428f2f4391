"""The table of all methods, of other bases, and the differences to GRPO.

Covers every arm at its chosen rate after the planned updates. Does not cover budgets other than equal
updates (budgets.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results.study.committed import BASE, Committed, Tested
from results.study.contrasts import difference, levels, scores
from results.study.markdown import DASH, Cell, millions, ranged, score_name, spread, tables, written
from results.study.roles import REFERENCE, algorithm, main_arms, of_base, other_bases

KS = (1, 8, 32, 64)
DIFFERENCE_KS = (1, 32)


def main_table(data: Committed) -> str:
    """Avg and Pass@k of the shipped base and of every method trained from it; best Avg first."""
    return _levels(data, {"": (BASE, main_arms(data))})


def bases_table(data: Committed) -> str:
    """The same of the other base models and of the methods trained from them."""
    return _levels(data, {name: (f"{BASE}.{name}", of_base(data, name)) for name in other_bases(data)})


def differences_table(data: Committed) -> str:
    """Avg and Pass@32 of each method less GRPO's, in points."""
    return _differences(data, {"": main_arms(data)})


def base_differences_table(data: Committed) -> str:
    """The same from each other base: a method less GRPO from that base."""
    return _differences(data, {name: of_base(data, name) for name in other_bases(data)})


def _levels(data: Committed, groups: dict[str, tuple[str, Sequence[str]]]) -> str:
    head = ["", "lr", "seeds", "n", "Avg@n", *(f"Pass@{k}" for k in KS[1:]), "finished", "tokens"]
    blocks = {}
    for benchmark in data.sets:
        rows: list[list[Cell]] = []
        for group, (base, arms) in groups.items():
            label = f"{group}: " if group else ""
            if (start := data.at(base, 0, benchmark)) is not None:
                rows.append([f"{label}base", DASH, DASH, *_base_cells(start), DASH])
            found = [(arm, data.at(arm, data.steps, benchmark)) for arm in arms]
            there = [(arm, one) for arm, one in found if one is not None]
            for arm, one in sorted(there, key=lambda pair: -_average(pair[1])):
                cells = [label + arm, data.rates[arm], str(len(one.seeds)), *_cells(one)]
                rows.append([*cells, millions(data.mean_tokens(arm, data.steps))])
        blocks[benchmark] = rows
    return tables(head, blocks)


def _average(one: Tested) -> float:
    return float((one.counts.correct / one.counts.samples).mean())


def _cells(one: Tested) -> list[str]:
    """n, Avg and Pass@k over the seeds with k samples, share of finished responses."""
    return [str(one.counts.n), *(_over_seeds(one, k) for k in KS), _finished(one)]


def _over_seeds(one: Tested, k: int) -> str:
    there = one.of_size(k)
    side = scores(there.counts, k) if there else None
    if there is None or side is None:
        return DASH
    return spread(side.mean(axis=1)) + _of(len(there.seeds), one)


def _of(seeds: int, one: Tested) -> str:
    """Said where a figure is not of all seeds of its row."""
    return "" if seeds == len(one.seeds) else f" ({seeds})"


def _base_cells(one: Tested) -> list[str]:
    """The same of one model: its interval over problems in place of a spread over seeds."""
    cells = [str(one.counts.n)]
    for side in (scores(one.counts, k) for k in KS):
        if side is None:
            cells.append(DASH)
            continue
        cells.append(ranged(*levels(side)))
    return [*cells, _finished(one)]


def _finished(one: Tested) -> str:
    shares = one.finished.sum(axis=1) / one.counts.samples.sum(axis=1)
    known = shares[~np.isnan(shares)]
    return spread(known) + _of(len(known), one) if len(known) else DASH


def _differences(data: Committed, groups: dict[str, Sequence[str]]) -> str:
    names = [f"{benchmark} {score_name(k)}" for benchmark in data.sets for k in DIFFERENCE_KS]
    rows: list[list[Cell]] = []
    for group, arms in groups.items():
        reference = next((arm for arm in arms if algorithm(data, arm) == REFERENCE), None)
        if reference is None:
            continue
        label = f"{group}: " if group else ""
        for arm in arms:
            if arm == reference or not any(data.at(arm, data.steps, name) for name in data.sets):
                continue
            rows.append([label + arm, *less(data, reference, arm)])
    return tables([f"less {REFERENCE}", *names], {"": rows})


def less(data: Committed, reference: str, arm: str, steps: tuple[int, int] | None = None) -> list[Cell]:
    """Avg and Pass@32 of an arm less those of a reference, set after set. steps: of both, else the plan's."""
    first, second = steps or (data.steps, data.steps)
    cells: list[Cell] = []
    for benchmark in data.sets:
        one, other = data.at(reference, first, benchmark), data.at(arm, second, benchmark)
        for k in DIFFERENCE_KS:
            found = difference(one.counts, other.counts, k) if one and other else None
            cells.append(found or written(None))
    return cells
