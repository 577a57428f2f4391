"""Gradient alignment of every base model: against its control, by token, and what goes with it.

Covers tables and the picture from the committed measurements. Means, bins and their bootstraps over problems
are those of `prerl-train align` (prerl_train/alignment/summary.py). Does not cover the measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prerl_eval.metrics import Floats
from prerl_train.alignment.summary import bootstrap, correlation, summarise_responses, summarise_tokens
from results.study.alignment import responses_of, tokens_of
from results.study.committed import Committed
from results.study.markdown import DASH, NOTHING, table
from results.study.pictures import figure, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHIPPED = "base"

KINDS = {
    "p_y": "p(y)",
    "p_yx": "p(y\\|x)",
    "relative_position": "position, share of length",
    "restatement": "restatement of the problem",
}
"""Kinds of bins that are shown -> what they are by."""

PREDICTORS = {
    "p_y": "p(y)",
    "p_yx": "p(y\\|x)",
    "p_gap": "\\|p(y\\|x) − p(y)\\|",
    "entropy_y": "entropy without x",
    "entropy_yx": "entropy with x",
    "relative_position": "position",
}


def alignment_table(data: Committed) -> str:
    """Markdown: per base model the cosine of whole responses, its control, and of tokens by restatement."""
    responses, tokens = responses_of(data.study.folder), tokens_of(data.study.folder)
    head = [
        *("base model", "responses", "cosine", "another prompt", "own less other"),
        *("tokens restating", "other tokens", "gap per token, nats", "realised / predicted"),
    ]
    rows = []
    for base, label in _bases(data, responses):
        found = summarise_responses(responses[base])
        inside, after = _by_restatement(tokens[base])
        rows.append(
            [
                label,
                f"{found['responses']}, {found['correct']} correct",
                *(_mean(found[key]) for key in ("cosine", "mispaired_cosine", "own_minus_mispaired")),
                _mean(inside),
                _mean(after),
                _mean(found["token_gap"]),
                _mean(found["step"]["realised_over_predicted"], digits=3),
            ]
        )
    return table(head, rows) if rows else NOTHING


def bins_table(data: Committed) -> str:
    """Markdown: mean cosine of tokens by bin, a column per base model."""
    tokens = tokens_of(data.study.folder)
    bases = _bases(data, tokens)
    found = {base: summarise_tokens(tokens[base])["bins"] for base, _ in bases}
    rows = []
    for kind, label in KINDS.items():
        names = list(dict.fromkeys(one["bin"] for bins in found.values() for one in bins.get(kind, [])))
        for name in sorted(names, key=lambda text: (text != "inside", text)):
            cells = []
            for base, _ in bases:
                here = next((one for one in found[base].get(kind, []) if one["bin"] == name), None)
                cells.append(f"{_mean(here)}, {here['n']}" if here else DASH)
            rows.append([f"{label} {name}", *cells])
    head = ["mean cosine, 95%, tokens", *(label for _, label in bases)]
    return table(head, rows) if rows else NOTHING


def predictors_table(data: Committed) -> str:
    """Markdown: rank correlations of a token's cosine; the shipped base also without its restatements."""
    tokens = tokens_of(data.study.folder)
    shown: dict[str, Mapping[str, NDArray[Any]]] = {
        label: tokens[base] for base, label in _bases(data, tokens)
    }
    if not shown:
        return NOTHING
    for base, label in _bases(data, tokens):
        restating = tokens[base]["is_restating"].astype(bool)
        if base == SHIPPED and restating.any():
            shown |= {
                f"{label}, restating": {name: column[restating] for name, column in tokens[base].items()},
                f"{label}, other": {name: column[~restating] for name, column in tokens[base].items()},
            }
    rows = [
        [label, *(_correlation(columns, name) for columns in shown.values())]
        for name, label in PREDICTORS.items()
    ]
    return table(["cosine of a token with", *shown], rows)


def alignment_picture(data: Committed, out: Path) -> None:
    """Mean cosine of tokens by p(y), p(y|x) and position, and of whole responses; a line per base model."""
    tokens = tokens_of(data.study.folder)
    bases = _bases(data, tokens)
    bins = {label: summarise_tokens(tokens[base])["bins"] for base, label in bases}

    lows = (one["low"] for found in bins.values() for kind in found for one in found[kind])
    lowest = min((low for low in lows if low is not None), default=0.0)

    def draw(axes: Axes, kind: str) -> None:
        for index, (label, found) in enumerate(bins.items()):
            ends = [float(one["bin"].split("-")[0]) for one in found[kind]]
            every = sorted(
                {float(one["bin"].split("-")[0]) for bins_ in bins.values() for one in bins_[kind]}
            )
            places = np.array([every.index(end) for end in ends]) + 0.06 * (index - (len(bins) - 1) / 2)
            means, low, high = (
                np.array([np.nan if one[key] is None else one[key] for one in found[kind]])
                for key in ("mean", "low", "high")
            )
            axes.plot(places, means, label=label, **line_style(index))
            axes.vlines(places, low, high, color=line_style(index)["color"], linewidth=0.9)
        names = {
            one["bin"]: float(one["bin"].split("-")[0]) for found in bins.values() for one in found[kind]
        }
        axes.set_xticks(range(len(names)), sorted(names, key=lambda name: names[name]), fontsize=7.5)
        axes.set_ylabel("cosine, mean over tokens")
        axes.set_ylim(min(0.0, lowest) - 0.03, 1.03)

    shown = [(KINDS[kind].replace("\\", ""), kind) for kind in ("p_y", "p_yx", "relative_position")]
    figure(shown, draw, "", out)


def spearman(one: NDArray[Any], other: NDArray[Any], problems: NDArray[Any]) -> tuple[float, float, float]:
    """Rank correlation of the tokens of several problems, and its 95% interval over problems.

    Jackknife over problems of Fisher's z (Efron and Tibshirani 1993, chapter 11), t interval; NaN where
    either does not vary or where there are fewer than three problems.
    """
    value = _ranked(one, other)
    names = np.unique(problems)
    if math.isnan(value) or len(names) < 3:
        return value, math.nan, math.nan
    left_out = [problems != name for name in names]
    without = np.arctanh([_ranked(one[rest], other[rest]) for rest in left_out])
    error = math.sqrt((len(names) - 1) / len(names) * float(((without - without.mean()) ** 2).sum()))
    from scipy.special import stdtrit

    reach = float(stdtrit(len(names) - 1, 0.975)) * error
    return value, math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach)


def _ranked(one: NDArray[Any], other: NDArray[Any]) -> float:
    from scipy.stats import rankdata

    found = correlation(rankdata(one), rankdata(other))
    return math.nan if found is None else found


def _correlation(columns: Mapping[str, NDArray[Any]], name: str) -> str:
    defined = np.isfinite(columns["cosine"])
    there = {key: columns[key][defined] for key in ("cosine", name, "problem_id")}
    value, low, high = spearman(there["cosine"], there[name], there["problem_id"])
    if math.isnan(value):
        return DASH
    return _signed(value) if math.isnan(low) else f"{_signed(value)} ({_signed(low)}, {_signed(high)})"


def _bases(data: Committed, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, label) of the measured bases: the shipped one first, the others in the plan's order."""
    order = [SHIPPED, *data.study.bases]
    known = sorted(found, key=lambda base: (order.index(base) if base in order else len(order), base))
    return [(base, "shipped" if base == SHIPPED else base) for base in known]


def _by_restatement(columns: Mapping[str, NDArray[Any]]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    restating = columns["is_restating"].astype(bool)
    cosine: Floats = columns["cosine"].astype(np.float64)
    inside, after = (
        bootstrap(cosine[those], columns["problem_id"][those]) for those in (restating, ~restating)
    )
    return inside, after


def _mean(found: Mapping[str, Any] | None, digits: int = 2) -> str:
    """ "0.65 (0.61, 0.68)"; a dash where there is nothing."""
    if not found or found["mean"] is None:
        return DASH
    text = f"{found['mean']:.{digits}f}"
    if found["low"] is not None:
        text += f" ({found['low']:.{digits}f}, {found['high']:.{digits}f})"
    return text.replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
