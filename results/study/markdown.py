"""How numbers are written in the study's tables.

Covers cells, Holm's correction over the tests of one table, and the note below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from prerl_eval.metrics import Floats
from results.study.contrasts import Contrast, with_holm

Cell = str | Contrast
Rows = Sequence[Sequence[Cell]]

NOTHING = "not measured yet"
DASH = "–"
FEW = "† one or two seeds are too few for a test: about these checkpoints, not about the method"


def tables(head: Sequence[str], blocks: Mapping[str, Rows]) -> str:
    """Markdown: one table per block under its title, p-values adjusted over all of them together."""
    blocks = adjusted({title: rows for title, rows in blocks.items() if rows})
    if not blocks:
        return NOTHING
    made = [(f"**{title}**\n\n" if title else "") + table(head, rows) for title, rows in blocks.items()]
    if any(
        isinstance(cell, Contrast) and cell.few for rows in blocks.values() for row in rows for cell in row
    ):
        made.append(FEW)
    return "\n\n".join(made)


def adjusted(blocks: Mapping[str, Rows]) -> dict[str, Rows]:
    """The same rows, every contrast with its p-value adjusted for all of them."""
    found = [cell for rows in blocks.values() for row in rows for cell in row if isinstance(cell, Contrast)]
    left = iter(with_holm(found))
    return {
        title: [[next(left) if isinstance(cell, Contrast) else cell for cell in row] for row in rows]
        for title, rows in blocks.items()
    }


def table(head: Sequence[str], rows: Rows) -> str:
    """One Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(written, row))} |" for row in rows)])


def written(cell: Cell | None) -> str:
    """A cell as text: a contrast in points with its interval and Holm's p."""
    if cell is None:
        return DASH
    if isinstance(cell, str):
        return cell
    text = f"{100 * cell.value:+.1f} ({100 * cell.low:+.1f}, {100 * cell.high:+.1f})"
    return f"{text} †" if cell.few else f"{text}, {probability(cell.holm)}"


def score_name(k: int) -> str:
    """Of Pass@k, which is Avg for k = 1."""
    return "Avg" if k == 1 else f"Pass@{k}"


def probability(p: float) -> str:
    """A p-value, `p < 0.001` where it is below."""
    return DASH if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def spread(values: Floats | None) -> str:
    """Mean ± standard deviation over seeds, in %; the value alone of one seed."""
    if values is None:
        return DASH
    if len(values) == 1:
        return f"{100 * values[0]:.1f}"
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"


def ranged(value: Floats, low: Floats, high: Floats) -> str:
    """A score with its interval, in %."""
    return f"{100 * float(value):.1f} ({100 * float(low):.1f}–{100 * float(high):.1f})"


def millions(count: float | None) -> str:
    """Tokens in millions."""
    return DASH if count is None else f"{count / 1e6:.2f}M"
