"""Figures as a table of at most 100 columns for people, and as CSV.

Covers showing what figures.py made. A number is never without its unit, a ratio never without both rates.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from behavior.cells import ENDS, PROBLEMS
from behavior.ratios import METRICS
from prerl_eval.errors import UserError
from prerl_eval.layout import WIDTH, percent, shorten, wrapped

Figures = Mapping[str, Any]

TITLES = {
    "per_response": "per response",
    "per_1k_tokens": "per 1,000",
    "presence": "responses with any",
    "share_of_thoughts": "share of thoughts",
}
SHARES = ("presence", "share_of_thoughts")
NAME = 22

CSV_COLUMNS = (
    "run",
    "part",
    "first_step",
    "last_step",
    "label",
    "responses",
    "tokens",
    "count",
    "rate",
    "value",
    "lo",
    "hi",
    "base",
    "ratio",
    "ratio_lo",
    "ratio_hi",
)


def render(figures: Figures) -> str:
    """The table: rates of each run, ratios against the base, notes."""
    lexicon = figures["lexicon"]
    unit = f"counts are {lexicon['unit']}, lengths {figures['token_unit']}"
    lines = wrapped(f"lexicon {lexicon['name']} {lexicon['version']} ({lexicon['source']}): {unit}", "")
    heads = (
        ("count", 7),
        ("/resp.", 8),
        ("95%", 13),
        ("/1,000", 8),
        ("95%", 13),
        ("any", 6),
        ("thoughts", 8),
    )
    lines += ["", _row("", *heads)]
    for name, run in figures["runs"].items():
        lines.append(shorten(f"{name}: {_about(run)}", WIDTH))
        for label, rates in run["labels"].items():
            lines.append(_rates_row(f"  {label}", rates))
            parts = [(end, run["groups"][end]) for end in ENDS if run["groups"][end]["responses"]]
            if len(parts) > 1:
                lines += [
                    _rates_row(f"    {end} ({part['responses']:,})", part["labels"][label])
                    for end, part in parts
                ]
    if figures["base"] is not None and len(figures["runs"]) > 1:
        lines += ["", *_ratios(figures)]
    lines.append("")
    for note in [*figures["notes"][:-1], _legend(figures), figures["notes"][-1]]:
        lines += wrapped(note, "")
    return "\n".join(lines)


def _about(run: Figures) -> str:
    problems = f"over {PROBLEMS:,}" if run["problems"] is None else f"{run['problems']:,}"
    facts = [f"{run['responses']:,} responses to {problems} problems", f"{run['tokens']:,} long"]
    if run["steps"]:
        first, last = run["steps"][0], run["steps"][-1]
        facts.append(f"step {first}" if first == last else f"steps {first}–{last}")
    return ", ".join([*facts, f"{percent(run['masked_share'])}% masked"])


def _row(name: str, *cells: tuple[str, int]) -> str:
    return (f"{shorten(name, NAME):<{NAME}}" + "".join(f" {text:>{width}}" for text, width in cells)).rstrip()


def _rates_row(name: str, rates: Figures) -> str:
    return _row(
        name,
        (f"{rates['count']:,}", 7),
        (number(rates["per_response"]), 8),
        (between(rates["per_response_ci"]), 13),
        (number(rates["per_1k_tokens"]), 8),
        (between(rates["per_1k_tokens_ci"]), 13),
        (percent(rates["presence"]), 6),
        (percent(rates["share_of_thoughts"]), 8),
    )


def _ratios(figures: Figures) -> Iterator[str]:
    base = figures["base"]
    heads = (("", 25), ("base", 8), ("run", 8), ("ratio", 7), ("95%", 13), ("problems", 9))
    yield _row(f"against {base}", *heads)
    for name, run in figures["runs"].items():
        if name == base:
            continue
        yield shorten(name, WIDTH)
        if not run["against_base"]["all"]["problems"]:
            yield "  no problem in common"
            continue
        for label in run["labels"]:
            for kind, title in (("all", ""), ("matched", ", like length")):
                against = run["against_base"][kind]
                for metric in METRICS[:2] if kind == "matched" else METRICS[:3]:
                    yield _ratio_row(label, TITLES[metric] + title, metric, against)


def _ratio_row(label: str, title: str, metric: str, against: Figures) -> str:
    ratio = against["labels"][label][metric]
    shown = percent if metric in SHARES else number
    return _row(
        f"  {label}",
        (f"{title:<25}", 25),
        (shown(ratio["base"]), 8),
        (shown(ratio["value"]), 8),
        ("–" if ratio["ratio"] is None else f"×{number(ratio['ratio'])}", 7),
        (between(None if ratio["low"] is None else [ratio["low"], ratio["high"]]), 13),
        (f"{against['problems']:,}", 9),
    )


def _legend(figures: Figures) -> str:
    unit = "words" if figures["token_unit"] == "words" else "tokens"
    text = (
        f"/resp. and /1,000: counts per response and per 1,000 {unit}, totals over totals; any: % of "
        "responses with one; thoughts: % of thoughts (between blank lines) with the label. 95%: intervals "
        "over problems."
    )
    if figures["base"] is not None:
        text += (
            " Ratios are of these means, problems paired and resampled together; like length: finished "
            "responses only, weighted as the base's lengths are. No ratio where the base has none."
        )
    return text


def number(value: float | None) -> str:
    """A rate with about three digits that matter, a dash where nothing is known."""
    if value is None:
        return "–"
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    if value < 0.01:
        return f"{value:.1g}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def between(ends: Sequence[float | None] | None) -> str:
    """An interval; without bound where its upper end is None."""
    if ends is None:
        return "–"
    return f"{number(ends[0])}–{'∞' if ends[1] is None else number(ends[1])}"


# --- CSV -----------------------------------------------------------------------------------------


def write_csv(figures: Figures, file: Path) -> None:
    """One line per run, part, label and rate; rates are fractions of 1 or counts, never percent.

    part: all, an end, "window" (of steps), "paired" and "matched" (against the base; value and base are over
    the common problems, lo and hi belong to the ratio there). Raises UserError where the file cannot be
    written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            for name, run in figures["runs"].items():
                for line in _csv_lines(run):
                    writer.writerow({"run": name, **line})
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}); give another --csv") from error


def _csv_lines(run: Figures) -> Iterator[dict[str, Any]]:
    yield from _csv_rates("all", run)
    for end, part in run["groups"].items():
        yield from _csv_rates(end, part)
    for window in run["windows"]:
        yield from _csv_rates("window", window)
    against = run.get("against_base", {})
    for part, kind in (("paired", "all"), ("matched", "matched")):
        for label, ratios in against.get(kind, {}).get("labels", {}).items():
            for rate, ratio in ratios.items():
                yield {
                    "part": part,
                    "label": label,
                    "rate": rate,
                    "value": ratio["value"],
                    "base": ratio["base"],
                    "ratio": ratio["ratio"],
                    "ratio_lo": ratio["low"],
                    "ratio_hi": ratio["high"],
                }


def _csv_rates(part: str, run: Figures) -> Iterator[dict[str, Any]]:
    for label, rates in run["labels"].items():
        for rate in METRICS:
            low, high = rates[f"{rate}_ci"] or ("", "")
            yield {
                "part": part,
                "first_step": run.get("first", ""),
                "last_step": run.get("last", ""),
                "label": label,
                "responses": run["responses"],
                "tokens": run["tokens"],
                "count": rates["count"],
                "rate": rate,
                "value": rates[rate],
                "lo": low,
                "hi": high,
            }
