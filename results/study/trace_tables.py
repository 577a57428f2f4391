"""Tables of what became of the base's responses: were wrong ones pruned, rare correct ones lost or recovered?

Covers estimates over problems and training seeds from mass.parquet, both random. Does not cover which
responses there are (trace_mass.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prerl_eval.comparison.mass import KINDS, PRUNED, THIN
from prerl_eval.comparison.shares import share_interval, variance
from prerl_eval.metrics import Floats
from results.study.committed import Committed
from results.study.markdown import DASH, NOTHING
from results.study.markdown import table as markdown_table
from results.study.trace_mass import Responses, changes, checkpoints_of, read_mass, responses_of


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval over problems, and over seeds where there are several; NaN: unknown."""

    value: float
    low: float
    high: float


def ratio(above: Floats, below: Floats) -> tuple[float, Floats]:
    """Sum of `above` float[S, P] by sum of `below` float[P or S, P], mean over seeds; influences [S, P].

    NaN where nothing is below. A seed's ratio moves like the mean of its influences.
    """
    below = np.broadcast_to(below, above.shape)
    whole = below.sum(axis=1, keepdims=True)
    if not (whole > 0).all():
        return math.nan, np.full(above.shape, math.nan)
    shares = above.sum(axis=1, keepdims=True) / whole
    mean = float(shares.mean())
    return mean, (above - shares * below) * (above.shape[1] / whole) + (shares - mean)


def mean_change(data: Responses, kind: str, change: Floats) -> Estimate:
    """Mean log-ratio of a kind in nats. change: float[S, N]. t interval."""
    value, z = ratio(data.sums(kind, change), data.sums(kind, np.ones(change.shape[1]))[0])
    reach = _reach(z)
    return Estimate(value, value - reach, value + reach)


def share(data: Responses, kind: str, marked: Floats, among: Floats | None = None) -> Estimate:
    """Share of a kind's responses that are marked (float[S, N] of 0 and 1), of those `among` where given."""
    below = data.sums(kind, np.ones(marked.shape) if among is None else among)
    value, z = ratio(data.sums(kind, marked if among is None else marked * among), below)
    if math.isnan(value):
        return Estimate(math.nan, 0.0, 1.0)
    units = float(data.has[kind][below.sum(axis=0) > 0].sum())
    return Estimate(value, *share_interval(value, *variance(z.mean(axis=0), [z]), units))


def mass_ratio(data: Responses, kind: str, change: Floats) -> Estimate:
    """Probability of a kind by importance weights, trained by base (docs/score.md); t interval of its log.

    NaN where it would rest on fewer than THIN problems under some seed (Kish's effective number).
    """
    summed = np.stack(
        [np.bincount(data.problem, row, minlength=data.problems) for row in _weights(data, change)]
    )
    effective = summed.sum(axis=1) ** 2 / (summed**2).sum(axis=1)
    if effective.min() < THIN:
        return Estimate(math.nan, math.nan, math.nan)
    value, z = ratio(data.sums(kind, np.exp(change)), data.sums(kind, np.ones(change.shape[1]))[0])
    reach = _reach(z / value)
    return Estimate(value, value * math.exp(-reach), value * math.exp(reach))


def weight_seen(data: Responses, change: Floats) -> Estimate:
    """Mean importance weight: 1 where the base's responses show all that the trained model does."""
    value, z = ratio(
        np.stack([np.bincount(data.problem, row, minlength=data.problems) for row in _weights(data, change)]),
        np.bincount(data.problem, data.weights["correct"] + data.weights["wrong"]).astype(np.float64),
    )
    reach = _reach(z)
    return Estimate(value, value - reach, value + reach)


def _weights(data: Responses, change: Floats) -> Floats:
    return np.exp(change) * (data.weights["correct"] + data.weights["wrong"])


def _reach(z: Floats) -> float:
    """Half the width of the 95% t interval of a mean with influences float[S, P]; NaN for one problem."""
    from scipy.special import stdtrit

    spread, freedom = variance(z.mean(axis=0), [z])
    return float(stdtrit(freedom, 0.975)) * math.sqrt(spread) if freedom > 0 else math.nan


# --- tables ----------------------------------------------------------------------------------------


def mass_table(data: Committed) -> str:
    """Markdown: per benchmark and checkpoint, each kind's change, share cut and mass, trained by base."""
    head = ["", "seeds", "responses", "log P(y\\|x), nats", "cut, %", "log P(y), nats", "mass ×"]
    blocks = []
    for benchmark, table, base in _benchmarks(data.study.folder):
        rows = []
        for label, names in _checkpoints(table):
            given, alone = changes(table, names, "given"), changes(table, names, "alone")
            partial = weight_seen(base, given).high < 1
            for kind in KINDS:
                mass = mass_ratio(base, kind, given)
                rows.append(
                    [
                        label if kind == KINDS[0] else "",
                        str(len(names)) if kind == KINDS[0] else "",
                        kind,
                        _text(mean_change(base, kind, given), "+.2f"),
                        _text(share(base, kind, _cut(given)), ".1f", 100),
                        _text(mean_change(base, kind, alone), "+.2f"),
                        DASH if math.isnan(mass.value) else "≥ " * partial + _text(mass, ".2f"),
                    ]
                )
            difference = _text(spared(base, given), "+.1f", 100)
            rows.append(["", "", "wrong less correct", DASH, difference, DASH, DASH])
        blocks.append(f"**{_title(benchmark, base)}**\n\n{markdown_table(head, rows)}")
    return "\n\n".join(blocks) or NOTHING


def spared(data: Responses, change: Floats) -> Estimate:
    """Share of wrong responses that are cut less that of correct ones; t interval."""
    sides = []
    for kind in ("wrong", "correct"):
        marked = _cut(change)
        sides.append(ratio(data.sums(kind, marked), data.sums(kind, np.ones(marked.shape))))
    (wrong, of_wrong), (correct, of_correct) = sides
    reach = _reach(of_wrong - of_correct)
    return Estimate(wrong - correct, wrong - correct - reach, wrong - correct + reach)


def spared_at(folder: Path, benchmark: str, arm: str, step: int) -> tuple[Estimate, int] | None:
    """`spared` at one step of an arm, and of how many seeds; None where it was not measured."""
    for name, table, base in _benchmarks(folder):
        names = dict(_checkpoints(table)).get(f"{arm}@{step}") if name == benchmark else None
        if names:
            return spared(base, changes(table, names, "given")), len(names)
    return None


def recovery_table(data: Committed) -> str:
    """Markdown: each kind's responses cut after ten updates, and what the rest of training did.

    cut after ten updates (a warm-up's end); cut after all; of the former, not cut after all ("recovered").
    """
    head = ["", "seeds", "responses", "cut at 10, %", "cut at 40, %", "of those cut at 10, back at 40, %"]
    blocks = []
    for benchmark, table, base in _benchmarks(data.study.folder):
        rows = []
        for arm, early, late in _pairs(table):
            before, after = _cut(changes(table, early, "given")), _cut(changes(table, late, "given"))
            rows += [
                [
                    arm if kind == KINDS[0] else "",
                    str(len(early)) if kind == KINDS[0] else "",
                    kind,
                    _text(share(base, kind, before), ".1f", 100),
                    _text(share(base, kind, after), ".1f", 100),
                    _text(share(base, kind, 1 - after, before), ".0f", 100),
                ]
                for kind in KINDS
            ]
        if rows:
            blocks.append(f"**{_title(benchmark, base)}**\n\n{markdown_table(head, rows)}")
    return "\n\n".join(blocks) or NOTHING


def _cut(change: Floats) -> Floats:
    """1 where a response became at least ten times less likely."""
    return (change < -PRUNED).astype(np.float64)


def _title(benchmark: str, data: Responses) -> str:
    kinds = ", ".join(f"{data.weights[kind].sum():,.0f} {kind}" for kind in KINDS)
    return f"{benchmark}: {data.problems} problems; of the base's responses {kinds}"


def _benchmarks(folder: Path) -> Iterator[tuple[str, pa.Table, Responses]]:
    table = read_mass(folder)
    if table is None:
        return
    for benchmark in table["benchmark"].unique().to_pylist():
        part = table.filter(pc.equal(table["benchmark"], benchmark))
        problem = np.unique(np.asarray(part["problem_id"].to_pylist(), dtype=object), return_inverse=True)[1]
        stands_for = np.asarray(part["stands_for"], dtype=np.float64)
        yield benchmark, part, responses_of(problem, np.asarray(part["correct"], dtype=bool), stands_for)


def _checkpoints(table: pa.Table) -> list[tuple[str, list[str]]]:
    """(ARM@STEP, the columns of its seeds), in order."""
    found: dict[tuple[str, int], list[str]] = {}
    for arm, _, step, name in sorted(checkpoints_of(table)):
        found.setdefault((arm, step), []).append(name)
    return [(f"{arm}@{step}", names) for (arm, step), names in sorted(found.items())]


def _pairs(table: pa.Table) -> Iterator[tuple[str, list[str], list[str]]]:
    """(arm, columns at step 10, columns at step 40) of the seeds that have both."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    for arm, seed, step, name in sorted(checkpoints_of(table)):
        found.setdefault(arm, {}).setdefault(seed, {})[step] = name
    for arm, seeds in found.items():
        both = [steps for steps in seeds.values() if {10, 40} <= set(steps)]
        if both:
            yield arm, [steps[10] for steps in both], [steps[40] for steps in both]


def _text(found: Estimate, form: str, scale: float = 1.0) -> str:
    if math.isnan(found.value):
        return DASH
    value, low, high = (f"{scale * number:{form}}" for number in (found.value, found.low, found.high))
    return f"{value} ({low}, {high})".replace("-", "−")
