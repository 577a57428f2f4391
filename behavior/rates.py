"""Rates of counted words with 95% intervals over problems.

Covers one set of responses: ratios of totals (per response, per 1,000 tokens), and shares (presence,
share of thoughts). The picture of the data is prerl_eval.metrics': problems are a random sample, all
responses to one problem are one draw. Comparing with a base is ratios.py. Formulas, sources, measured
coverage: docs/behavior.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from behavior.cells import Table
from prerl_eval.metrics import DOUBT, Z95, interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """A rate and its 95% interval; None where it cannot be known (nothing to divide by, one problem)."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class LabelRates:
    """What is said of one label over some responses. count: in the lexicon's unit."""

    count: int
    occurrences: int
    masked: int
    per_response: Rate
    per_1k_tokens: Rate
    presence: Rate
    share_of_thoughts: Rate


def label_rates(table: Table, labels: Sequence[str], tokens: str) -> dict[str, LabelRates]:
    """Rates of every label over the responses of a table. tokens: the column that counts length."""
    problems = np.unique(table.problem)
    responses, length, thoughts = table.per_problem(problems, "responses", tokens, "thoughts").T
    found = {}
    for label in labels:
        columns = [f"{name}/{label}" for name in ("count", "present", "labelled_thoughts")]
        count, present, labelled = table.per_problem(problems, *columns).T
        found[label] = LabelRates(
            count=round(float(count.sum())),
            occurrences=round(table.total(f"occurrences/{label}")),
            masked=round(table.total(f"masked_occurrences/{label}")),
            per_response=count_rate(count, responses, responses),
            per_1k_tokens=count_rate(count, length / 1000, responses),
            presence=share(present, responses),
            share_of_thoughts=share(labelled, thoughts),
        )
    return found


def count_rate(count: Floats, size: Floats, responses: Floats) -> Rate:
    """Events per unit of size, Σ count / Σ size over P problems, and its interval.

    count, size, responses: float[P]. A gamma interval, the exact one of a Poisson count (Fay and Feuer,
    Statistics in Medicine 16, 1997, without their continuity term) for as many events as would give the
    variance seen between problems:

        events = C² / V · (1.96 / t)²,  C = Σ count,  V = P / (P-1) · Σ (count - rate · size)²

    with t the 97.5% quantile for P - 1 degrees of freedom. Where problems agree more closely than Poisson
    counts would, V is drawn towards C with the weight 4 / (P + 4) (ours): few problems do not show their
    spread. No event at all: the upper end is that of 0 events among P, one per response.
    """
    from scipy.special import gammaincinv, stdtrit

    problems, total, sizes = len(count), float(count.sum()), float(size.sum())
    if not sizes:
        return Rate(None)
    rate = total / sizes
    if problems < 2:
        return Rate(rate)
    widening = float(stdtrit(problems - 1, 0.975) / Z95) ** 2
    if not total:
        return Rate(0.0, 0.0, -math.log(0.025) * widening / problems * float(responses.sum()) / sizes)
    seen = problems / (problems - 1) * float(((count - rate * size) ** 2).sum())
    seen += max(0.0, total - seen) * DOUBT / (problems + DOUBT)
    events = total**2 / seen / widening
    low, high = gammaincinv(events, 0.025), gammaincinv(events + 1, 0.975)
    return Rate(rate, rate * float(low) / events, rate * float(high) / events)


def share(part: Floats, whole: Floats) -> Rate:
    """A share of all, Σ part / Σ whole over P problems, with the interval of prerl_eval.metrics.

    part, whole: float[P], 0 <= part <= whole. Problems of unequal size enter by their linearised values,
    rate + (part - rate · whole) / mean(whole), which have the mean and the variance of the ratio.
    """
    if not whole.sum():
        return Rate(None)
    rate = float(part.sum() / whole.sum())
    low, high = interval(rate + (part - rate * whole) / whole.mean())
    return Rate(rate, float(low), float(high))
