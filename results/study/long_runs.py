"""Updates on log P(y) alone, three times as long: do they go on, or collapse?

Covers the arms of role "long", at every step at which they were measured, beside the base and GRPO.
"""

from __future__ import annotations

from results.study.committed import BASE, Committed
from results.study.contrasts import difference, levels, scores
from results.study.markdown import DASH, Cell, ranged, tables
from results.study.roles import REFERENCE, role, trained

KS = (1, 32)


def long_table(data: Committed) -> str:
    """Avg and Pass@32 with intervals over problems (and seeds, of several), and Avg less the base's."""
    arms = [name for name in trained(data) if role(data, name) == "long"]
    head = ["", "updates", "seeds"]
    head += [f"{name} {what}" for name in data.sets for what in ("Avg", "Pass@32", "Avg less the base's")]
    rows: list[list[Cell]] = []
    for arm in (*arms, *((REFERENCE,) if arms and REFERENCE in data.rates else ())):
        for step in data.steps_of(arm):
            found = [data.at(arm, step, name) for name in data.sets]
            seeds = next(str(len(one.seeds)) for one in found if one)
            cells: list[Cell] = []
            for name, one in zip(data.sets, found, strict=True):
                sides = [scores(one.counts, k) if one else None for k in KS]
                cells += [DASH if side is None else ranged(*levels(side)) for side in sides]
                base = data.at(BASE, 0, name)
                less = difference(base.counts, one.counts, 1, fixed=1) if one and base else None
                cells.append(less or DASH)
            rows.append([arm, str(step), seeds, *cells])
    return tables(head, {"": rows})
