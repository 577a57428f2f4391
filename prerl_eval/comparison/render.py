"""A comparison as text of at most 100 columns: first what it says, then the figures.

Covers layout; the sentences are verdict.py's, the figures compare.py's, their meaning docs/compare.md's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prerl_eval.comparison.verdict import p_value, points
from prerl_eval.layout import percent, shorten, wrapped

NAME, RANGE = 12, 20
"""Widths of a method's name and of a difference with its interval."""

VISIBLE_FLOOR = 0.005
"""Pass@n of guessing from which it is printed."""

Entry = Mapping[str, Any]
Column = tuple[str, int, Callable[[Entry], str], Callable[[Entry], str]]
"""(title, width, cell of the base, cell of a method)."""


def render_comparison(facts: Mapping[str, Any]) -> str:
    """The whole text of `prerl-eval compare`: verdicts, notes, tables, legend."""
    entries = facts["comparisons"]
    lines = _head(facts)
    names = list(dict.fromkeys(entry["benchmark"] for entry in entries))
    for name in names:
        lines.append(name)
        for entry in entries:
            if entry["benchmark"] == name:
                lines += wrapped(f"{entry['method']}: {entry['verdict']}.", "  ")
    for note in cautions(facts):
        lines += wrapped(f"note: {note}", "")
    for name in names:
        lines += [
            "",
            *_details([entry for entry in entries if entry["benchmark"] == name], facts["base"]["name"]),
        ]
    return "\n".join([*lines, "", *wrapped(f"{legend(entries)} All figures: --json.", "")])


def _head(facts: Mapping[str, Any]) -> list[str]:
    def named(side: Mapping[str, Any]) -> str:
        seeds = f" ({side['seeds']} seeds)" if side["seeds"] > 1 else ""
        return f"{side['name']}{seeds}"

    others = ", ".join(named(side) for side in facts["methods"])
    return [*wrapped(f"{others} against {named(facts['base'])}", ""), ""]


def cautions(facts: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing a verdict: seeds, and what differs between runs."""
    about: dict[str, list[str]] = {}
    for entry in facts["comparisons"]:
        for clause in filter(None, entry["avg"]["note"].split("; ")):
            # One line for all methods of which the same is to be said.
            about.setdefault(clause.replace(f"of {entry['method']}", "of {}"), []).append(entry["method"])
    notes = [clause.replace("{}", ", ".join(dict.fromkeys(names))) for clause, names in about.items()]
    return [*notes, *facts["notes"]]


def _details(entries: Sequence[Entry], base: str) -> list[str]:
    first = entries[0]
    n = min(min(entry["n"].values()) for entry in entries)
    lines = [f"{first['benchmark']}, {first['problems']} problems, n = {n}"]
    floor = first["floor"]
    if floor is not None and floor[n - 1] >= VISIBLE_FLOOR:
        lines.append(
            f"  guessing alone (the base's answers to other problems): Avg {percent(floor[0])}, "
            f"Pass@{n} {percent(floor[n - 1])}"
        )
    for columns in columns_of(entries):
        lines += _table(columns, entries, base)
    return lines


def columns_of(entries: Sequence[Entry]) -> list[list[Column]]:
    """The tables of one benchmark's entries: scores, saturation, answers and their cost."""
    n = min(min(entry["n"].values()) for entry in entries)
    return [_scores(n), _saturation(entries), _answers(entries)]


def _table(columns: Sequence[Column], entries: Sequence[Entry], base: str) -> list[str]:
    titles = "".join(f"  {title:>{width}}" for title, width, _, _ in columns)
    rows = [(base, [own(entries[0]) for _, _, own, _ in columns])]
    rows += [(entry["method"], [cell(entry) for _, _, _, cell in columns]) for entry in entries]
    lines = ["  " + " " * NAME + titles]
    for name, cells in rows:
        if any(cells):
            text = "".join(
                f"  {cell:>{width}}" for cell, (_, width, _, _) in zip(cells, columns, strict=True)
            )
            lines.append(f"  {shorten(name, NAME):<{NAME}}{text}".rstrip())
    return lines


def _scores(n: int) -> list[Column]:
    def at_n(entry: Entry, key: str) -> Any:
        return entry["pass"][key][n - 1]

    mark = "~" if n > 1 else ""
    return [
        (f"Avg@{n}", 7, lambda e: percent(e["avg"]["base"]), lambda e: percent(e["avg"]["method"])),
        ("difference, 95%", RANGE, _blank, lambda e: _range(e["avg"]["difference"], e["avg"]["ci"])),
        ("p, Holm", 7, _blank, lambda e: p_value(e["avg"]["p_holm"]).removeprefix("p ").removeprefix("= ")),
        (f"Pass@{n}", 8, lambda e: percent(at_n(e, "base")), lambda e: percent(at_n(e, "method"))),
        (f"{mark}difference, band", RANGE, _blank, lambda e: _range(at_n(e, "difference"), at_n(e, "band"))),
        ("crossing k", 11, _blank, _crossing),
    ]


def _saturation(entries: Sequence[Entry]) -> list[Column]:
    """Retention, discovery and rare survival beside those of an unchanged model."""
    support = entries[0]["support"]
    m = (support["matched"] or support["at_n"])["m"]

    def rate(name: str) -> Callable[[Entry], str]:
        def cell(entry: Entry) -> str:
            found = entry["support"]
            if found["matched"] is None:
                return percent(found["at_n"][name]["value"])
            return _against(
                found["matched"][name]["value"], found["null"][name]["value"], found["excess"][name]
            )

        return cell

    def newly(key: str) -> Callable[[Entry], str]:
        return lambda entry: f"{len(entry[key]['ids'])} ({len(entry[key]['survive'])})"

    return [
        (f"retention @{m}", 15, _blank, rate("retention")),
        (f"discovery @{m}", 15, _blank, rate("discovery")),
        ("rare kept", 15, _blank, _rare("problems")),
        ("newly solved", 12, _blank, newly("newly_solved")),
        ("newly lost", 12, _blank, newly("newly_lost")),
    ]


def _answers(entries: Sequence[Entry]) -> list[Column]:
    """Diversity and cost: means of both sides, with the difference where it is more than luck."""

    def distinct(which: str, key: str) -> Callable[[Entry], str]:
        def cell(entry: Entry) -> str:
            figures = entry["distinct"].get(which)
            return (
                ""
                if figures is None
                else f"{figures[key]:.1f}" + (_star(figures, 0) if key == "method" else "")
            )

        return cell

    def tokens(key: str) -> Callable[[Entry], str]:
        def cell(entry: Entry) -> str:
            figures = entry["tokens"] and entry["tokens"]["per_sample"]
            return (
                "–"
                if not figures
                else f"{figures[key]:,.0f}" + (_star(figures, 0) if key == "method" else "")
            )

        return cell

    def cost(key: str) -> Callable[[Entry], str]:
        def cell(entry: Entry) -> str:
            figures = entry["tokens"] and entry["tokens"]["per_correct"]
            if not figures or figures[key] is None:
                return "–"
            return f"{figures[key]:,.0f}" + (_star(figures, 1) if key == "method" else "")

        return cell

    columns: list[Column] = [
        (
            f"answers in {entries[0]['distinct']['k']}",
            15,
            distinct("answers", "base"),
            distinct("answers", "method"),
        ),
        ("tokens", 15, tokens("base"), tokens("method")),
        ("per correct", 15, cost("base"), cost("method")),
    ]
    if any("solutions" in entry["distinct"] for entry in entries):
        solutions = ("solutions", 15, distinct("solutions", "base"), distinct("solutions", "method"))
        columns.insert(1, solutions)
        columns.insert(2, ("rare solutions", 15, _blank, _rare("solutions")))
    return columns


def _rare(which: str) -> Callable[[Entry], str]:
    def cell(entry: Entry) -> str:
        stages = entry["rare"][which]
        if not stages:
            return ""
        stage = stages[-1]
        return _against(stage["survival"]["value"], stage["null_survival"], stage["excess"])

    return cell


def _blank(entry: Entry) -> str:
    return ""


def _range(value: float, ends: Sequence[float | None] | None) -> str:
    """ "+17.2 (+10.5, +23.8)" in points."""
    if ends is None or ends[0] is None:
        return points(value)
    text = f"{points(value)} ({points(ends[0])}, {points(ends[1])})"
    if len(text) <= RANGE:
        return text
    # Few problems: three digits before the point, and the one after it says nothing.
    return "{} ({}, {})".format(*(points(number)[:-2] for number in (value, *ends)))


def _crossing(entry: Entry) -> str:
    """Where the curves cross; with a question mark where that may be luck."""
    crossing = entry["crossover"]
    if crossing["k"] is None:
        return "none seen"
    if not crossing["claimed"]:
        return f"{crossing['k']}?"
    return f"{crossing['k']} ({crossing['low']}–{crossing['high']})"


def _against(value: float | None, unchanged: float | None, excess: Mapping[str, Any]) -> str:
    """A share in %, * where it differs from an unchanged model's, and that in brackets."""
    differs = "*" if excess["p"] is not None and excess["p"] < 0.05 else ""
    return f"{percent(value)}{differs} ({percent(unchanged)})"


def _star(figures: Mapping[str, Any], no_change: float) -> str:
    ends = figures["ci"]
    return "*" if ends and (ends[0] > no_change or ends[1] < no_change) else " "


def legend(entries: Sequence[Entry]) -> str:
    """What stands in the tables."""
    kind = entries[0]["support"]["null_kind"]
    unchanged = f" In brackets: an unchanged model, from {_null_words(kind)}." if kind else ""
    return (
        "Scores in %, differences in points. p, Holm: corrected for all benchmarks and methods here. band: "
        "95% for the whole Pass@k curve at once; ~: k > n/4, uncertain; crossing k?: not certain. retention "
        "@m: of the problems that the base solves in m samples, the share that the method solves too; "
        "discovery @m: of the method's, the share that the base does not solve; rare kept: of the problems "
        "that the base solves with a chance of at most 5%, the share still solved (rare solutions: the same "
        f"of single correct solutions).{unchanged} newly solved, newly lost: problems, in brackets those "
        "that are not luck. answers: expected distinct answers; solutions: distinct correct ones; per "
        "correct: tokens for each correct answer. *: differs at the 5% level, each test by itself."
    )


def _null_words(kind: str) -> str:
    return "two halves of the base's samples (--null RUN is better)" if kind == "split half" else kind
