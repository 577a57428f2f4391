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
        lines += [line for entry in entries for line in wrapped(_sentence(entry, times), "  ")]
        lines += [_HEAD, *(line for entry in entries for line in _rows(entry))]
    notes = [*report["notes"], *_worth(report["paths"])]
    lines += ["", *(line for note in notes for line in wrapped(f"note: {note}", ""))]
    legend = (
        "change: mean log-ratio to the base in nats, 95% interval; cut: share that became at least "
        f"{times:.3g} times less likely; mass x: probability of that kind by importance weights, trained / "
        "base (≥: part of it was not seen). A mean change below 0 alone does not mean that mass was lost, "
        "nor does a cut: other responses of the kind may have taken it (docs/score.md). rare: correct "
        "responses to problems that the base solves with a chance of at most 5%."
    )
    return [*lines, *wrapped(legend, "")]


_HEAD = (
    "  "
    + " " * 21
    + f"{'log P(y|x) change':>21}{'cut, %':>8}{'log P(y) change':>21}{'cut, %':>8}{'mass x':>19}"
)


def _rows(entry: Mapping[str, Any]) -> list[str]:
    rows = []
    for kind in KINDS:
        given, alone = entry["given_prompt"][kind], entry["alone"][kind]
        cells = [
            f"{shorten(entry['checkpoint'], 12) if kind == KINDS[0] else '':<13}{kind:<8}",
            *(
                f"{_with_ends(space, 'change'):>21}{percent(space['pruned']['value']):>8}"
                for space in (given, alone)
            ),
            f"{_mass(entry, kind):>19}",
        ]
        rows.append("  " + "".join(cells))
    return rows


def _mass(entry: Mapping[str, Any], kind: str) -> str:
    """Trained / base; "≥" where part of the mass was not seen, a dash where it rests on few problems."""
    if entry["mass"] is None or entry["weights"]["thin"]:
        return "–"
    text = _with_ends(entry["mass"][kind], "ratio", sign="", digits=2)
    return f"≥{text}" if entry["weights"]["partial"] else text


def _with_ends(facts: Mapping[str, Any], key: str, sign: str = "+", digits: int = 1) -> str:
    """ "-1.2 (-1.5, -0.9)"; a dash where there is nothing."""
    if facts[key] is None:
        return "–"
    ends = [facts[end] for end in ("low", "high")]
    text = f"{facts[key]:{sign}.{digits}f}"
    if None not in ends:
        text += " (" + ", ".join(f"{end:{sign}.{digits}f}" for end in ends) + ")"
    return text.replace("-", "−")


def _sentence(entry: Mapping[str, Any], times: float) -> str:
    """What was pruned, as at least so many times less likely, and what went with it."""
    shares = {kind: entry["given_prompt"][kind]["pruned"]["value"] for kind in KINDS}
    spared = entry["spared"]
    against = "no difference seen"
    if spared["p"] is not None and spared["p"] < 0.05:
        against = "correct ones less often" if spared["value"] < 0 else "correct ones more often"
    rare = "" if shares["rare"] is None else f", {percent(shares['rare'])}% of its rare correct ones"
    return (
        f"{entry['checkpoint']}: {percent(shares['wrong'])}% of the base's wrong responses became at least "
        f"{times:.3g} times less likely, {percent(shares['correct'])}% of its correct ones{rare} ({against})."
    )


def _worth(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be known before a mass is believed."""
    notes = []
    for entry in entries:
        weights, where = entry["weights"], f"{entry['checkpoint']} on {entry['benchmark']}"
        if weights and weights["thin"]:
            notes.append(
                f"masses of {where} would rest on few of its problems (effectively "
                f"{weights['problems']:.1f} of {entry['problems']}): not told"
            )
        elif weights and weights["partial"]:
            notes.append(
                f"{percent(1 - weights['seen'])}% of the mass of {where} is on responses unlike the base's "
                "samples, correct or wrong; to know, sample it"
            )
    return notes
