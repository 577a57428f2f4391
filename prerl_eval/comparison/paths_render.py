"""The report on paths as text of at most 100 columns; the figures are mass.py's (docs/score.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prerl_eval.comparison.mass import KINDS
from prerl_eval.layout import percent, shorten, wrapped
from prerl_eval.scoring.plan import PREFIX


def render_paths(report: Mapping[str, Any]) -> list[str]:
    """The report as lines of at most 100 columns."""
    times = math.exp(report["pruned_nats"])
    lines = [
        f"paths: the responses of {report['base'].removeprefix(PREFIX)}, by their log-probs after training"
    ]
    for benchmark in dict.fromkeys(entry["benchmark"] for entry in report["paths"]):
        entries = [entry for entry in report["paths"] if entry["benchmark"] == benchmark]
        lines += [
            "",
            f"{benchmark}, {entries[0]['problems']} problems, {entries[0]['responses']:,} responses",
        ]
        lines += [line for entry in entries for line in wrapped(_sentence(entry), "  ")]
        lines += [_HEAD, *(line for entry in entries for line in _rows(entry))]
    notes = [*report["notes"], *_thin(report["paths"])]
    lines += ["", *(line for note in notes for line in wrapped(f"note: {note}", ""))]
    legend = (
        "change: mean log-ratio to the base in nats, 95% interval; cut: share that became at least "
        f"{times:.3g} times less likely; mass x: probability of that kind by importance weights, trained / "
        "base. A mean change below 0 alone does not mean that mass was lost (docs/score.md). rare: correct "
        "responses to problems that the base solves with a chance of at most 5%."
    )
    return [*lines, *wrapped(legend, "")]


_HEAD = (
    "  "
    + " " * 22
    + f"{'log P(y|x) change':>21}{'cut, %':>8}{'log P(y) change':>21}{'cut, %':>8}{'mass x':>18}"
)


def _rows(entry: Mapping[str, Any]) -> list[str]:
    rows = []
    for kind in KINDS:
        given, alone = entry["given_prompt"][kind], entry["alone"][kind]
        cells = [
            f"{shorten(entry['checkpoint'], 13) if kind == KINDS[0] else '':<14}{kind:<8}",
            *(
                f"{_with_ends(space, 'change'):>21}{percent(space['pruned']['value']):>8}"
                for space in (given, alone)
            ),
            f"{_mass(entry, kind):>18}",
        ]
        rows.append("  " + "".join(cells))
    return rows


def _mass(entry: Mapping[str, Any], kind: str) -> str:
    if entry["mass"] is None:
        return "–"
    text = _with_ends(entry["mass"][kind], "ratio", sign="", digits=2)
    return "~" + text.partition(" ")[0] if entry["weights"]["thin"] else text


def _with_ends(facts: Mapping[str, Any], key: str, sign: str = "+", digits: int = 1) -> str:
    """ "-1.2 (-1.5, -0.9)"; a dash where there is nothing."""
    if facts[key] is None:
        return "–"
    ends = [facts[end] for end in ("low", "high")]
    text = f"{facts[key]:{sign}.{digits}f}"
    if None not in ends:
        text += " (" + ", ".join(f"{end:{sign}.{digits}f}" for end in ends) + ")"
    return text.replace("-", "−")


def _sentence(entry: Mapping[str, Any]) -> str:
    """What was pruned and what went with it."""
    shares = {kind: entry["given_prompt"][kind]["pruned"]["value"] for kind in KINDS}
    spared = entry["spared"]
    against = "no difference seen"
    if spared["p"] is not None and spared["p"] < 0.05:
        against = "correct ones less often" if spared["value"] < 0 else "correct ones more often"
    rare = "" if shares["rare"] is None else f", {percent(shares['rare'])}% of the rare correct ones"
    return (
        f"{entry['checkpoint']}: pruned {percent(shares['wrong'])}% of wrong responses and "
        f"{percent(shares['correct'])}% of correct ones{rare} ({against})."
    )


def _thin(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"masses of {entry['checkpoint']} on {entry['benchmark']} rest on few of its problems (effectively "
        f"{entry['weights']['problems']:.1f} of {entry['problems']}): do not trust them"
        for entry in entries
        if entry["weights"] and entry["weights"]["thin"]
    ]
