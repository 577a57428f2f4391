"""Both warm-ups against GRPO by a logistic mixed model, beside the crossed estimate.

The model is mixed_model.py's. Covers Avg after equal updates on the test sets.
"""

from __future__ import annotations

from prerl_eval.comparison.differences import mean_difference
from prerl_eval.comparison.several import SOME_SEEDS, holm
from results.study.committed import Committed
from results.study.markdown import NOTHING, probability, table
from results.study.mixed_model import mixed_difference
from results.study.roles import METHOD, REFERENCE, RL_WARMUP

HEAD = (
    "less grpo",
    "",
    "seeds",
    "log-odds",
    "points",
    "p, Holm",
    "points, crossed",
    "sd of problem, method x problem, seed",
)


def mixed_table(data: Committed) -> str:
    """The fixed effect of each method of three seeds and more, in log-odds and points; p of the log-odds."""
    rows, ps = [], []
    for arm in (METHOD, RL_WARMUP):
        for benchmark in data.sets:
            one, other = data.at(REFERENCE, data.steps, benchmark), data.at(arm, data.steps, benchmark)
            if not one or not other or min(len(one.seeds), len(other.seeds)) < SOME_SEEDS:
                continue
            found = mixed_difference(one.counts, other.counts)
            crossed = mean_difference(one.counts, other.counts)
            ps.append(found.p)
            odds, low, high = found.odds
            rows.append(
                [
                    *(arm, benchmark, f"{len(other.seeds)}, {len(one.seeds)}"),
                    f"{odds:+.2f} ({low:+.2f}, {high:+.2f})",
                    _points(*found.points),
                    "",
                    _points(crossed.value, crossed.low, crossed.high),
                    f"{found.problem:.2f}, {found.by_method:.2f}, {found.seed:.2f}",
                ]
            )
    place = HEAD.index("p, Holm")
    for row, p in zip(rows, holm(ps), strict=True):
        row[place] = probability(p)
    return table(HEAD, rows) if rows else NOTHING


def _points(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} ({100 * low:+.1f}, {100 * high:+.1f})"
