"""The tables of `prerl-behavior agree`. What the numbers are: behavior.agreement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prerl_eval.layout import WIDTH, percent, shorten, wrapped


def render_agreement(found: Mapping[str, Any]) -> str:
    """Tables of at most WIDTH columns: each pair, all together, corrected prevalences."""
    lines = []
    for pair in found["pairs"]:
        if pair["labels"]:
            lines += _pair_lines(pair, found["unit"])
    for label, all_of in found["fleiss"].items():
        lines += wrapped(
            f"{label}, all {len(all_of['judges'])} judges: Fleiss' kappa {_kappa(all_of['kappa'])} on "
            f"{all_of['items']:,} {found['unit']}s ({all_of['left_out']:,} left out)",
            "",
        )
    if found["fleiss"]:
        lines.append("")
    for corrected in found["corrected"]:
        lines += _corrected_lines(corrected)
    return "\n".join(
        [
            *lines,
            *wrapped(
                "In %, with 95% intervals over problems. A, B: marked by each; alike: judged the same; yes, "
                "no: agreement on presence and on absence. kappa: 0 is what chance gives, 1 full agreement. "
                "Missing judgements are left out, never taken for a no.",
                "",
            ),
        ]
    )


def _pair_lines(pair: Mapping[str, Any], unit: str) -> list[str]:
    some = next(iter(pair["labels"].values()))
    width = max(14, *(len(name) for name in pair["labels"]))
    width = min(width, WIDTH - 72)
    lines = [
        f"A {shorten(pair['a'], WIDTH - 2)}",
        f"B {shorten(pair['b'], WIDTH - 2)}",
        f"  {some['problems']:,} problems, {pair['items']:,} {unit}s asked of both",
        f"  {'':<{width}}  {'judged':>7}  {'A':>5}  {'B':>5}  {'alike':>17}  {'yes':>5}  {'no':>5}  kappa",
    ]
    for name, numbers in pair["labels"].items():
        cells = [
            f"{numbers['items']:>7,}",
            f"{percent(numbers['prevalence_a']['value']):>5}",
            f"{percent(numbers['prevalence_b']['value']):>5}",
            f"{_rate(numbers['agreement']):>17}",
            f"{percent(numbers['positive']['value']):>5}",
            f"{percent(numbers['negative']['value']):>5}",
            _kappa(numbers["kappa"]) + ("  few" if numbers["few"] else ""),
        ]
        lines.append(f"  {shorten(name, width):<{width}}  {'  '.join(cells)}")
    if any(numbers["few"] for numbers in pair["labels"].values()):
        lines += wrapped("few: one side marks fewer than 5; the interval of kappa is not to be trusted", "  ")
    return [*lines, ""]


def _corrected_lines(corrected: Mapping[str, Any]) -> list[str]:
    lines = [
        *wrapped(f"{corrected['judge']}, corrected by {corrected['truth']}", ""),
        f"  {'':<24}  {'judged':>7}  {'known':>6}  {'yes':>17}  {'found':>6}  {'spared':>6}  "
        f"{'corrected':>17}",
    ]
    for name, numbers in corrected["labels"].items():
        cells = [
            f"{numbers['judged']:>7,}",
            f"{numbers['known']:>6,}",
            f"{_rate(numbers['apparent']):>17}",
            f"{percent(numbers['sensitivity']['value']):>6}",
            f"{percent(numbers['specificity']['value']):>6}",
            f"{_rate(numbers['prevalence']):>17}",
        ]
        lines.append(f"  {shorten(name, 24):<24}  {'  '.join(cells)}")
    lines += wrapped("found, spared: of the true yes and no, the share judged so", "  ")
    return [*lines, ""]


def _rate(estimate: Mapping[str, float | None]) -> str:
    if estimate["value"] is None:
        return "–"
    return f"{percent(estimate['value'])} {percent(estimate['low'])}–{percent(estimate['high'])}"


def _kappa(estimate: Mapping[str, float | None]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "none"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
