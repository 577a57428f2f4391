"""How far training moved from the base: KL(base || checkpoint) per response, results/nano/kl.csv.

On the base's first four responses to each Countdown problem, of every model in WORK that was trained from
the shipped base. A warm-up's KL is what makes warm-ups comparable: at equal KL, is DSRL's any better?
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prerl_eval.console import progress
from prerl_eval.metrics import Floats
from results.study.behavior_course import named
from results.study.collect import read_csv
from results.study.committed import Committed
from results.study.markdown import DASH, NOTHING, table
from results.study.roles import WARMUP, warmup
from results.study.traces import Key, base_run, base_target, scores, subset, targets

FILE = "kl.csv"
COLUMNS = ("model", "arm", "seed", "step", "kl_per_response", "kl_se", "alone_fall", "alone_fall_se")
"""kl_per_response: nats. alone_fall: mean fall of log P(y) of the same responses."""

BENCHMARK, SAMPLES = "countdown", 4
SMALL_KL = 0.5
"""Nats up to which `kl_divergence` takes the estimate that leans on weights."""


def kl_divergence(change: Floats) -> tuple[float, float]:
    """KL(base || other) in nats and its standard error, clustered by problem.

    change: float[P, n], log-probs of the base's responses under the other model less those under the base.
    -change has mean KL; so has exp(change) - 1 - change (Schulman 2020, "Approximating KL divergence"), whose
    error is several times smaller where models are close; where they are not it hangs on a few weights. It
    is taken where it is below SMALL_KL.
    """
    close = np.expm1(change) - change
    return mean_of_problems(close if close.mean() < SMALL_KL else -change)


def mean_of_problems(values: Floats) -> tuple[float, float]:
    """Mean of float[P, n] and its standard error, clustered by problem."""
    means = values.mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def collect(work: Path, into: Path) -> list[str]:
    """Add what kl.csv lacks, checkpoint by checkpoint; returns the names of the new ones.

    Raises UserError as `traces.base_run` does.
    """
    wanted = targets(work)
    rows = {(row["model"], int(row["step"])): row for row in read_csv(into / FILE)}
    missing = [target for target in wanted if (target.model, target.step) not in rows]
    if not missing:
        return []
    run = subset(base_run(work), work / "traces-kl", first_samples)
    base = scores(run, base_target(run))
    with progress("kl", len(wanted), done=len(wanted) - len(missing), unit="checkpoints") as advance:
        for target in missing:
            there = scores(run, target)
            given, alone = (_changes(base[space], there[space]) for space in ("given", "alone"))
            arm, _, seed = named(target.model)
            figures = (*kl_divergence(given), *mean_of_problems(-alone))
            facts = (target.model, arm, seed, target.step, *(f"{x:.6f}" for x in figures))
            rows[target.model, target.step] = dict(zip(COLUMNS, map(str, facts), strict=True))
            _write(into / FILE, [rows[key] for key in sorted(rows)])
            advance(1, target.name)
    return [target.name for target in missing]


def first_samples(table: pa.Table) -> NDArray[np.bool_]:
    """The first SAMPLES responses to each problem of BENCHMARK, bool[N]."""
    chosen = pc.and_(pc.less(table["sample_index"], SAMPLES), pc.equal(table["benchmark"], BENCHMARK))
    return np.asarray(chosen, dtype=bool)


def _changes(base: Mapping[Key, float], there: Mapping[Key, float]) -> Floats:
    """float[P, SAMPLES], of the problems in order."""
    return np.asarray([there[key] - base[key] for key in sorted(base)]).reshape(-1, SAMPLES)


def _write(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    half = file.with_name(f".{file.name}.partial")
    with half.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(half, file)


# --- the table -------------------------------------------------------------------------------------


def kl_table(data: Committed) -> str:
    """Markdown: KL and fall of log P(y) at the end of each warm-up, and KL after all updates; per arm.

    S: updates of the warm-up; an arm without one is shown after as many updates as DSRL's has.
    """
    places: dict[tuple[str, int], list[dict[str, str]]] = {}
    for row in read_csv(data.study.folder / FILE):
        places.setdefault((row["arm"], int(row["step"])), []).append(row)
    rows = []
    for arm in sorted({arm for arm, _ in places}):
        length = warmup(data, arm)
        early, late = places.get((arm, length or WARMUP), []), places.get((arm, data.steps), [])
        cells = [_over_seeds(early, "kl_per_response"), _over_seeds(early, "alone_fall")]
        rows.append([arm, str(length or DASH), *cells, _over_seeds(late, "kl_per_response")])
    head = ["", "S", "KL after S", "fall of log P(y) after S", f"KL after {data.steps}"]
    return table(head, rows) if rows else NOTHING


def _over_seeds(rows: Sequence[Mapping[str, str]], column: str) -> str:
    """Mean ± sd over seeds and their number; of one seed its own value ± its standard error."""
    if not rows or column not in rows[0]:
        return DASH
    values = np.array([float(row[column]) for row in rows])
    if len(values) > 1:
        return f"{_digits(values.mean())} ± {_digits(values.std(ddof=1))} ({len(values)})"
    error = rows[0]["kl_se" if column == "kl_per_response" else "alone_fall_se"]
    return f"{_digits(values[0])}, error {_digits(float(error))} (1)"


def _digits(value: float) -> str:
    """Two digits that say something."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.2g}"
