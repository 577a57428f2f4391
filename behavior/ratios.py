"""A run against its base: ratios of means, paired by problem, with bootstrap intervals.

Covers the problems that both answered. Problems are resampled, and both arms of a problem are drawn
together; the interval is one on the logarithm of the ratio. Also among finished responses of like length,
since counts rise with length and with collapse. Formulas and measured coverage: docs/behavior.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.cells import ENDS, Table
from behavior.rates import Floats

RESAMPLES = 2000
BLOCK = 200
"""Resamples at a time: bounds memory."""
SEED = 0

METRICS = ("per_response", "per_1k_tokens", "presence", "share_of_thoughts")


@dataclass(frozen=True)
class Ratio:
    """value and base: the rates of both arms. ratio: value / base, None where the base has none or no event.

    low, high: 95% interval. high None beside a low is without bound: the base may have no event at all, or
    the run has none seen. Both None where one problem cannot tell.
    """

    value: float | None
    base: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """problems: in both arms. ratios: label -> metric -> ratio. left_out: responses of (base, run) that
    have no partner: to problems of one arm only, or of a length that the other arm lacks."""

    problems: int
    ratios: dict[str, dict[str, Ratio]]
    left_out: tuple[int, int]


def compare(base: Table, run: Table, labels: Sequence[str], tokens: str) -> Comparison:
    """All responses to common problems. tokens: the column that counts length."""
    problems = np.intersect1d(base.problem, run.problem)
    columns = _columns(labels, tokens)
    arms = [arm.per_problem(problems, *columns) for arm in (base, run)]

    def rates(weights: Floats) -> Floats:
        return np.stack([_rates(weights @ sums, labels) for sums in arms])

    left_out = [
        round(arm.total("responses") - sums[:, 0].sum()) for arm, sums in zip((base, run), arms, strict=True)
    ]
    return _comparison(len(problems), rates, labels, (left_out[0], left_out[1]))


def compare_matched(base: Table, run: Table, labels: Sequence[str], tokens: str) -> Comparison:
    """Finished responses to common problems, of lengths that both arms have.

    Lengths are those of cells.length_bin. Rates are taken per length and averaged with the base's number
    of responses of that length as weights (direct standardisation), in both arms; in a resample, over the
    lengths that both arms have there.
    """
    finished = [arm.where(arm.end == ENDS.index("finished")) for arm in (base, run)]
    problems = np.intersect1d(finished[0].problem, finished[1].problem)
    lengths = np.intersect1d(finished[0].length, finished[1].length)
    columns = _columns(labels, tokens)
    # float[P, B * C]: a problem's sums for every length.
    arms = [
        np.concatenate(
            [np.zeros((len(problems), 0))]
            + [arm.where(arm.length == length).per_problem(problems, *columns) for length in lengths],
            axis=1,
        )
        for arm in finished
    ]

    def rates(weights: Floats) -> Floats:
        sums = np.stack([(weights @ arm).reshape(len(weights), len(lengths), len(columns)) for arm in arms])
        size = sums[..., :1]
        both = (size > 0).all(axis=0)
        weight = np.where(both, size[0], 0.0)
        means = np.where(both, sums / np.where(size > 0, size, 1.0), 0.0)
        return np.stack([_rates((weight * arm).sum(axis=1), labels) for arm in means])

    inside = [float(arm.reshape(len(problems), len(lengths), len(columns))[..., 0].sum()) for arm in arms]
    left_out = [round(arm.total("responses") - kept) for arm, kept in zip(finished, inside, strict=True)]
    return _comparison(len(problems), rates, labels, (left_out[0], left_out[1]))


def _columns(labels: Sequence[str], tokens: str) -> list[str]:
    names = [f"{name}/{label}" for label in labels for name in ("count", "present", "labelled_thoughts")]
    return ["responses", tokens, "thoughts", *names]


def _rates(sums: Floats, labels: Sequence[str]) -> Floats:
    """Sums float[R, C] -> rates float[R, L, 4] in the order of METRICS; NaN where there is no size."""
    size, tokens, thoughts = sums[:, 0], sums[:, 1], sums[:, 2]
    found = sums[:, 3:].reshape(len(sums), len(labels), 3)
    parts = [found[..., 0], 1000 * found[..., 0], found[..., 1], found[..., 2]]
    wholes = [size, tokens, size, thoughts]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = [part / whole[:, None] for part, whole in zip(parts, wholes, strict=True)]
    return np.stack(rates, axis=-1)


def _comparison(
    problems: int, rates: Callable[[Floats], Floats], labels: Sequence[str], left_out: tuple[int, int]
) -> Comparison:
    """rates: weights of problems float[R, P] -> float[2, R, L, 4], base first."""
    base, run = rates(np.ones((1, problems)))[:, 0]
    drawn = _log_ratios(problems, rates) if problems > 1 else None
    return Comparison(
        problems,
        {
            label: {
                metric: _ratio(run[at, m], base[at, m], None if drawn is None else drawn[:, at, m], problems)
                for m, metric in enumerate(METRICS)
            }
            for at, label in enumerate(labels)
        },
        left_out,
    )


def _log_ratios(problems: int, rates: Callable[[Floats], Floats]) -> Floats:
    drawn = []
    for weights in _resamples(problems):
        base, run = rates(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn.append(np.log(run) - np.log(base))
    return np.concatenate(drawn)


def _resamples(problems: int) -> Iterator[Floats]:
    """How often each problem was drawn: float[BLOCK, P], again and again."""
    draws = np.random.default_rng(SEED)
    for _ in range(RESAMPLES // BLOCK):
        yield draws.multinomial(problems, np.full(problems, 1 / problems), size=BLOCK).astype(np.float64)


def _ratio(value: float, base: float, log_ratios: Floats | None, problems: int) -> Ratio:
    """The percentile interval, widened for few problems (Hesterberg 2015, arXiv 1411.5279: "expanded")."""
    from scipy.special import ndtr, stdtrit

    known, known_base = (None if np.isnan(rate) else float(rate) for rate in (value, base))
    if not known_base or known is None:
        return Ratio(known, known_base)
    ratio = known / known_base
    # Where neither arm has an event, a resample says nothing about the ratio.
    told = np.sort(log_ratios[~np.isnan(log_ratios)]) if log_ratios is not None else np.zeros(0)
    if not len(told):
        return Ratio(known, known_base, ratio)
    if not known:  # no resample of no event has one, which is no proof that there is none
        return Ratio(known, known_base, ratio, 0.0)
    tail = ndtr(np.sqrt(problems / (problems - 1)) * stdtrit(problems - 1, 0.025))
    below = int(tail * len(told))
    low, high = np.exp(told[below]), np.exp(told[len(told) - 1 - below])
    return Ratio(known, known_base, ratio, float(low), float(high) if np.isfinite(high) else None)
