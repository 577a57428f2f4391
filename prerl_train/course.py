"""The course of a training run as series of numbers: read, split by phase, smoothed.

Covers metrics.jsonl and evals.jsonl of a run folder; drawing them is plot.py. Imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prerl_eval.errors import UserError
from prerl_train import journal

Numbers = NDArray[np.float64]

WARM_UPS = {
    "prerl": "log P(y)",
    "warmup-rl": "log P(y|x)",
    "warmup-swapped": "log P(y|x'), another problem's x'",
    "joint": "log P(y|x) with a share of log P(y)",
    "anneal": "log P(y), by degrees log P(y|x)",
}
"""Phases that a switch may end, and what their updates are made on."""


@dataclass(frozen=True)
class Course:
    """One run over N updates. entries: of metrics.jsonl, in order. evals: of evals.jsonl."""

    label: str
    entries: Sequence[Mapping[str, Any]]
    evals: Sequence[Mapping[str, Any]]

    @cached_property
    def steps(self) -> Numbers:
        """(N,) the update of each entry."""
        return np.array([entry["step"] for entry in self.entries], dtype=float)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """[start, end) of the entries of each phase, in order."""
        phases = [entry.get("phase") for entry in self.entries]
        starts = [index for index in range(1, len(phases)) if phases[index] != phases[index - 1]]
        return list(pairwise([0, *starts, len(phases)]))

    @property
    def switches(self) -> list[float]:
        """Where the phase changes: halfway between the last update of one and the first of the next."""
        return [float(self.steps[start - 1] + self.steps[start]) / 2 for start, _ in self.spans[1:]]

    @property
    def warm_up(self) -> str | None:
        """The phase that the first switch ends, if it is a warm-up."""
        first = self.entries[0].get("phase")
        return first if self.switches and first in WARM_UPS else None

    def series(self, value: Callable[[Mapping[str, Any]], float | None]) -> Numbers:
        """(N,) `value` of each entry, NaN where it is None."""
        found = [value(entry) for entry in self.entries]
        return np.array([math.nan if number is None else number for number in found], dtype=float)

    def smooth(self, values: Numbers, window: int) -> Numbers:
        """(N,) `smoothed`, phase by phase: nothing is averaged across a switch."""
        return np.concatenate([smoothed(values[start:end], window) for start, end in self.spans])


def read_course(run: Path, label: str) -> Course:
    """The metrics of a run. Raises UserError where there are none (yet)."""
    file = run / "metrics.jsonl"
    if not file.is_file():
        raise UserError(
            f"no metrics.jsonl in {run}; give the folder of a training run (prerl-train dsrl ...)"
        )
    entries = journal.read(file)
    if not entries:
        raise UserError(f"{file} holds no update yet; wait for the first one")
    return Course(label, entries, journal.read(run / "evals.jsonl"))


def smoothed(values: Numbers, window: int) -> Numbers:
    """(N,) local average over `window` (odd) values; NaN where none of them is known.

    A line fitted to the window with tricube weights, read off in its middle (LOESS of degree 1,
    Cleveland 1979). Unlike a running mean it follows a slope to the very end of a phase.
    """
    half = window // 2
    offsets = np.arange(-half, half + 1)
    padded = np.concatenate([np.full(half, np.nan), values, np.full(half, np.nan)])
    around = np.lib.stride_tricks.sliding_window_view(padded, window)
    weights = (1 - (np.abs(offsets) / (half + 1)) ** 3) ** 3 * ~np.isnan(around)
    weighted = weights * np.nan_to_num(around)
    w, wx, wxx = weights.sum(1), weights @ offsets, weights @ offsets**2
    wy, wxy = weighted.sum(1), weighted @ offsets
    spread = w * wxx - wx**2
    # One known value, or all on one side at one place: no slope, only a mean.
    fits = spread > 1e-9 * np.maximum(w, 1) ** 2
    line = (wxx * wy - wx * wxy) / np.where(fits, spread, 1)
    mean = wy / np.where(w > 0, w, 1)
    return np.where(w > 0, np.where(fits, line, mean), np.nan)


def smoothing_window(courses: Sequence[Course]) -> int:
    """Updates that are averaged: a tenth of the longest run, odd; 1, which is none, for short runs."""
    return 2 * round(max(len(course.entries) for course in courses) / 20) + 1
