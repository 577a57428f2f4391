"""What a comparison says, in a sentence: only what its tests and bands allow to be said.

Covers one benchmark and one method; figures beside each other are render.py's. A difference that is
not seen is never called no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prerl_eval.layout import percent

LEVEL = 0.05


def verdict(entry: Mapping[str, Any]) -> str:
    """One sentence on an entry of `compare`'s comparisons: per sample, with many samples, crossing, luck.

    "~" marks a Pass@k with k > n/4, of which the samples say little.
    """
    clauses = [
        _per_sample(entry["avg"]),
        *_with_many(entry["pass"]),
        *_crossing(entry["crossover"]),
        *_against_luck(entry["support"]),
    ]
    return "; ".join(clauses)


def points(value: float | None) -> str:
    """A difference of fractions in signed points with one digit."""
    if value is None:
        return "–"
    return f"{100 * value:+.1f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """ "p = 0.012", "p < 0.001"; a dash where there is none."""
    if p is None:
        return "p –"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _per_sample(avg: Mapping[str, Any]) -> str:
    difference = points(avg["difference"])
    if avg["p_holm"] is not None and avg["p_holm"] < LEVEL:
        more = "more" if avg["difference"] > 0 else "less"
        return f"correct {more} often (Avg {difference}, {p_value(avg['p_holm'])})"
    if avg["ci"][0] is None:
        return f"Avg {difference}, too few problems to say more"
    low, high = avg["ci"]
    corrected = " after correction for several tests" if low > 0 or high < 0 else ""
    return f"no difference in Avg seen{corrected} ({difference}, 95% {points(low)} to {points(high)})"


def _with_many(curve: Mapping[str, Any]) -> list[str]:
    """What the band of the whole Pass@k difference says at the largest k > 1 at which it is off zero."""
    last = curve["k"][-1]
    if last == 1 or curve["band"][-1][0] is None:
        return []
    signs = [(low > 0) - (high < 0) for low, high in curve["band"]]
    off = [index for index in range(1, last) if signs[index]]
    if not off:
        low, high = curve["band"][-1]
        difference = points(curve["difference"][-1])
        return [f"no difference in Pass@{last} seen ({difference}, band {points(low)} to {points(high)})"]
    start = end = off[-1]
    while start > 1 and signs[start - 1] == signs[end]:
        start -= 1
    alike = range(start, end + 1)
    # Better evidence, where there is some: k <= n/4.
    certain = [index for index in alike if not curve["uncertain"][index]]
    index = (certain or alike)[-1]
    where = f"{'' if certain else '~'}Pass@{index + 1} {points(curve['difference'][index])}"
    more = "more" if signs[end] > 0 else "fewer"
    if end == last - 1:
        return [f"{more} problems solved in many samples ({where})"]
    ks = f"up to {end + 1}" if start == 1 else f"{start + 1} to {end + 1}" if start < end else f"{end + 1}"
    return [f"{more} problems solved in {ks} samples ({where}), beyond that no difference seen"]


def _crossing(crossing: Mapping[str, Any]) -> list[str]:
    if crossing["k"] is None:
        return []
    none = f"chance of none {_chance(crossing['p_none'])}"
    if crossing["claimed"]:
        evidence = ", ".join(filter(None, (f"{crossing['low']}–{crossing['high']}", none, crossing["note"])))
        return [f"the curves cross at k = {crossing['k']} ({evidence})"]
    return [f"a crossing at k = {crossing['k']} is not certain ({none})"]


def _chance(p: float | None) -> str:
    if p is None:
        return "unknown"
    return "< 0.1%" if p < 0.001 else f"{100 * p:.1f}%"


def _against_luck(support: Mapping[str, Any]) -> list[str]:
    """Problems lost or found beyond what an unchanged model loses and finds."""
    if not support["matched"]:
        return []
    losing, finding = (support["excess"][rate] for rate in ("retention", "discovery"))
    m = support["matched"]["m"]
    within = f"in {m} sample{'s' if m > 1 else ''}"
    clauses = []
    if losing["p"] is not None and losing["p"] < LEVEL:
        kept, luck = (percent(support[which]["retention"]["value"]) for which in ("matched", "null"))
        clauses.append(f"keeps {kept}% of the problems that the base solves {within} (unchanged: {luck}%)")
    if finding["p"] is not None and finding["p"] < LEVEL and finding["value"] > 0:
        new, luck = (percent(support[which]["discovery"]["value"]) for which in ("matched", "null"))
        clauses.append(f"{new}% of the problems that it solves {within} are new (unchanged: {luck}%)")
    return clauses
