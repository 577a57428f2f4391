"""Looks at learning rates: which one an arm takes, and the table of all of them.

Does not cover the looks' measurement (results.study.collect).
"""

from __future__ import annotations

from results.study.collect import chosen_rates
from results.study.committed import Committed
from results.study.markdown import NOTHING, table


def looks_table(data: Committed) -> str:
    """Markdown: every look at a learning rate, the chosen one bold."""
    rows, chosen = [], chosen_rates(data.study)
    for name, arm in data.study.arms.items():
        seen = [lr for lr in arm.rates if (name, lr) in data.looks]
        if not seen:
            continue
        best = chosen.get(name)
        cells = (
            f"{'**' * (lr == best)}{lr}: {100 * data.looks[name, lr]:.1f}{'**' * (lr == best)}" for lr in seen
        )
        options = ", ".join(f"{key} {value}" for key, value in arm.options.items())
        rows.append([name, options, ", ".join(cells)])
    step, measure = data.study.look
    head = f"learning rate: Avg@{measure.n} on {', '.join(measure.benchmarks)} after {step} updates, seed 0"
    return table(["", "options", head], rows) if rows else NOTHING
