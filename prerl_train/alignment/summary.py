"""What the measurements of an alignment study say: means, intervals, bins, correlations.

Covers pure functions from rows to numbers and to the table on the terminal; alignment.py measures
the rows. Intervals are 95% percentile bootstraps over problems, since the tokens of one response,
and the responses to one problem, go together. Fixed seed: the same rows give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Row = Mapping[str, Any]
Columns = Mapping[str, NDArray[Any]]
"""Column name -> one value per token."""

BOOTSTRAP_DRAWS = 2000

PROBABILITY = (0.0, 0.2, 0.5, 0.9, 0.99, 1.0)
ENTROPY = (0.0, 0.01, 0.1, 0.5, 1.0, np.inf)
FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

CORRELATES = ("p_y", "p_yx", "p_gap", "entropy_y", "entropy_yx", "position", "relative_position")
"""What a token's cosine is correlated with; p_gap is |p(y|x) - p(y)|."""


def bootstrap(values: ArrayLike, clusters: ArrayLike) -> dict[str, Any]:
    """n, mean and 95% interval (low, high) of values[N], resampled by cluster.

    values that are not a number count in `n` and not in the mean. low, high: None for one cluster.
    """
    values_n, clusters_n = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    defined = np.isfinite(values_n)
    result: dict[str, Any] = {"n": len(values_n), "mean": None, "low": None, "high": None}
    if not defined.any():
        return result
    names, index = np.unique(clusters_n[defined], return_inverse=True)
    sums = np.bincount(index, weights=values_n[defined])
    counts = np.bincount(index)
    result["mean"] = float(sums.sum() / counts.sum())
    if len(names) > 1:
        shares = np.full(len(names), 1 / len(names))
        drawn = np.random.default_rng(0).multinomial(len(names), shares, size=BOOTSTRAP_DRAWS)
        low, high = np.quantile(drawn @ sums / (drawn @ counts), (0.025, 0.975))
        result |= {"low": float(low), "high": float(high)}
    return result


def spread(values: ArrayLike, clusters: ArrayLike) -> dict[str, Any]:
    """`bootstrap` with sd, min, max and how many values are negative."""
    values_n = np.asarray(values, dtype=np.float64)
    return bootstrap(values_n, clusters) | {
        "sd": float(values_n.std(ddof=1)) if len(values_n) > 1 else None,
        "min": float(values_n.min()),
        "max": float(values_n.max()),
        "negative": int((values_n < 0).sum()),
    }


def correlation(one: ArrayLike, other: ArrayLike) -> float | None:
    """Pearson's r; None where either does not vary."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def summarise_responses(rows: Sequence[Row]) -> dict[str, Any]:
    """Whole responses: alignment, its control, the step, and how far apart the log-probs are."""
    problems = np.array([row["problem_id"] for row in rows])
    correct = np.array([row["status"] == "correct" for row in rows])

    def column(name: str) -> Floats:
        return np.array([row[name] for row in rows], dtype=np.float64)

    cosine, mispaired = column("cosine"), column("mispaired_cosine")
    predicted, realised = column("predicted"), column("realised")
    own, generic = bootstrap(cosine, problems)["mean"], bootstrap(mispaired, problems)["mean"]
    return {
        "responses": len(rows),
        "problems": len(set(problems.tolist())),
        "correct": int(correct.sum()),
        "tokens": int(column("tokens").sum()),
        "inner": spread(column("inner"), problems),
        "cosine": spread(cosine, problems),
        "cosine_correct": spread(cosine[correct], problems[correct]) if correct.any() else None,
        "cosine_not_correct": spread(cosine[~correct], problems[~correct]) if (~correct).any() else None,
        "mispaired_inner": spread(column("mispaired_inner"), problems),
        "mispaired_cosine": spread(mispaired, problems),
        "own_minus_mispaired": spread(cosine - mispaired, problems),
        "mispaired_share": generic / own if own else None,
        "norm_ratio": spread(column("norm_yx") / column("norm_y"), problems),
        "logprob_gap": spread(np.abs(column("logp_yx") - column("logp_y")) / column("tokens"), problems),
        "token_gap": spread(column("token_gap"), problems),
        "step": {
            "size": spread(column("step"), problems),
            "predicted": spread(predicted, problems),
            "realised": spread(realised, problems),
            "realised_over_predicted": spread(realised / predicted, problems) if predicted.all() else None,
            "correlation": correlation(predicted, realised),
        },
    }


def token_columns(rows: Sequence[Row]) -> Columns:
    """The tokens of all rows that have them, one array per column; see docs/alignment.md for the columns."""
    measured = [row for row in rows if row["per_token"]]
    lengths = [len(row["per_token"]["token_id"]) for row in measured]
    names = list(measured[0]["per_token"]) if measured else []
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate([np.asarray(row["per_token"][name]) for row in measured]) for name in names
    }
    if not measured:
        return columns
    for name in ("problem_id", "sample_index"):
        columns[name] = np.repeat(np.array([row[name] for row in measured]), lengths)
    columns["position"] = np.concatenate([np.arange(length) for length in lengths])
    columns["relative_position"] = (columns["position"] + 0.5) / np.repeat(lengths, lengths)
    restated = [row["restated"] or 0 for row in measured]
    columns["is_restating"] = columns["position"] < np.repeat(restated, lengths)
    columns["p_y"], columns["p_yx"] = np.exp(columns["logp_y"]), np.exp(columns["logp_yx"])
    columns["p_gap"] = np.abs(columns["p_yx"] - columns["p_y"])
    norms = columns["norm_y"] * columns["norm_yx"]
    columns["cosine"] = np.where(norms > 0, columns["inner"] / np.where(norms > 0, norms, 1.0), np.nan)
    return columns


def summarise_tokens(columns: Columns) -> dict[str, Any]:
    """Bins (every token is in one bin of each kind) and correlations of the tokens' cosine."""
    if not columns:
        return {"n": 0}
    cosine = columns["cosine"]
    defined = np.isfinite(cosine)
    from scipy.stats import rankdata

    return {
        "n": len(cosine),
        "without_gradient": int((~defined).sum()),
        "cosine": bootstrap(cosine, columns["problem_id"]),
        "bins": {kind: _bins(columns, labels, index) for kind, (labels, index) in _kinds(columns).items()},
        "correlations": {
            name: {
                "pearson": correlation(cosine[defined], columns[name][defined]),
                "spearman": correlation(rankdata(cosine[defined]), rankdata(columns[name][defined])),
            }
            for name in CORRELATES
        },
    }


def _kinds(columns: Columns) -> dict[str, tuple[list[str], NDArray[Any]]]:
    """Kind of bin -> the labels of its bins, and every token's bin."""
    longest = int(columns["position"].max())
    powers = [0, *(2**i for i in range(longest.bit_length() + 1))]
    kinds = {
        "p_y": _cut(columns["p_y"], PROBABILITY),
        "p_yx": _cut(columns["p_yx"], PROBABILITY),
        "entropy_yx": _cut(columns["entropy_yx"], ENTROPY),
        "entropy_y": _cut(columns["entropy_y"], ENTROPY),
        "position": (_whole_numbers(powers), np.digitize(columns["position"], powers[1:-1])),
        "relative_position": _cut(columns["relative_position"], FIFTHS),
    }
    if columns["is_restating"].any():
        kinds["restatement"] = (["inside", "after"], 1 - columns["is_restating"].astype(int))
    return kinds


def _cut(values: NDArray[Any], edges: Sequence[float]) -> tuple[list[str], NDArray[Any]]:
    labels = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    if np.isinf(edges[-1]):
        labels[-1] = f"{edges[-2]:g} and more"
    return labels, np.digitize(values, edges[1:-1])


def _whole_numbers(edges: Sequence[int]) -> list[str]:
    return [f"{low}" if low == high - 1 else f"{low}-{high - 1}" for low, high in pairwise(edges)]


def _bins(columns: Columns, labels: Sequence[str], index: NDArray[Any]) -> list[dict[str, Any]]:
    bins = []
    for number, label in enumerate(labels):
        inside = index == number
        if inside.any():
            bins.append(
                {
                    "bin": label,
                    **bootstrap(columns["cosine"][inside], columns["problem_id"][inside]),
                    "norm_y": float(columns["norm_y"][inside].mean()),
                    "norm_yx": float(columns["norm_yx"][inside].mean()),
                }
            )
    return bins


def table(title: str, responses: Mapping[str, Any], tokens: Mapping[str, Any]) -> list[str]:
    """The summary as lines for the terminal."""
    lines = [
        f"{title}: {responses['responses']} responses to {responses['problems']} problems, "
        f"{responses['correct']} correct, {responses['tokens']:,} tokens",
        f"{'':34}{'mean':>9}  {'95% interval':>18}{'sd':>9}{'min':>9}{'max':>9}{'negative':>10}",
    ]
    named = {
        "inner product": responses["inner"],
        "cosine": responses["cosine"],
        "  of correct responses": responses["cosine_correct"],
        "  of all others": responses["cosine_not_correct"],
        "cosine, another prompt": responses["mispaired_cosine"],
        "own minus other prompt": responses["own_minus_mispaired"],
        "|log P(y|x) - log P(y)| per token": responses["logprob_gap"],
        "realised over predicted change": responses["step"]["realised_over_predicted"],
    }
    lines += [_spread_line(name, found) for name, found in named.items() if found]
    if responses["mispaired_share"] is not None:
        lines.append(f"another problem's prompt gives {responses['mispaired_share']:.0%} of the mean cosine")
    if not tokens["n"]:
        return lines
    lines.append(f"{tokens['n']:,} tokens: mean cosine {_number(tokens['cosine']['mean'])}")
    lines.append(
        f"{'':34}{'n':>9}{'cosine':>9}  {'95% interval':>18}{'|grad log p(y)|':>17}{'|grad log p(y|x)|':>19}"
    )
    for kind, bins in tokens["bins"].items():
        lines += [_bin_line(f"{kind} {found['bin']}", found) for found in bins]
    pairs = (
        f"{name} {_number(found['spearman'])}"
        for name, found in tokens["correlations"].items()
        if found["spearman"] is not None
    )
    return [*lines, f"rank correlation of the cosine with {', '.join(pairs)}"]


def _spread_line(name: str, found: Mapping[str, Any]) -> str:
    ends = "".join(f"{_number(found[key]):>9}" for key in ("sd", "min", "max"))
    return f"{name:34}{_number(found['mean']):>9}  {_interval(found):>18}{ends}{found['negative']:>10}"


def _bin_line(name: str, found: Mapping[str, Any]) -> str:
    norms = f"{_number(found['norm_y']):>17}{_number(found['norm_yx']):>19}"
    return f"{name:34}{found['n']:>9,}{_number(found['mean']):>9}  {_interval(found):>18}{norms}"


def _interval(found: Mapping[str, Any]) -> str:
    return "" if found["low"] is None else f"{_number(found['low'])} to {_number(found['high'])}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
