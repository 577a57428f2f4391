"""results/faults.md from results/faults/faults.csv: `python -m tests.faults.table` writes it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.faults.catalogue import FAULTS
from tests.faults.launcher import REPO
from tests.faults.trials import Row, read_rows

DATA = REPO / "results" / "faults" / "faults.csv"
PAGE = REPO / "results" / "faults.md"

HEAD = """# Faults

What `make faults` did to the commands, and how often they survived. Real signals, files and disks; a random
model of two layers or the shipped base. All commands are forks of one process that has imported
their libraries. Seeds, dates and versions of each row are in [faults/faults.csv](faults/faults.csv), from
which `python -m tests.faults.table` makes this page.
"""


def page(rows: Sequence[Row]) -> str:
    """The Markdown page of these rows."""
    claimed = [row for row in rows if row.claimed]
    tried, survived = sum(row.tried for row in claimed), sum(row.survived for row in claimed)
    minutes = sum(row.cpu_seconds for row in rows) / 60
    lines = [
        HEAD,
        f"{len(rows)} of {len(FAULTS)} faults: {tried:,} tried, {survived:,} survived, in {minutes:.1f} "
        f"minutes of CPU time ({_dates(rows)}).\n",
        *_table(claimed, "survived"),
    ]
    other = [row for row in rows if not row.claimed]
    if other:
        lines += ["\n## Nothing is promised here\n", *_table(other, "noticed")]
    noted = [f"- {row.fault}: {row.note}" for row in rows if row.note and row.claimed]
    if noted:
        lines += ["\n## Not survived, or not tried\n", *noted]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], heading: str) -> list[str]:
    lines = [
        f"| kind | fault | what was done | {heading} means | tried | {heading} | CPU s |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for row in rows:
        survived = f"**{row.survived}**" if row.failed else str(row.survived)
        cells = (
            row.kind,
            row.fault,
            row.done,
            row.survived_means,
            str(row.tried),
            survived,
            f"{row.cpu_seconds:.0f}",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _dates(rows: Sequence[Row]) -> str:
    dates = sorted({row.date for row in rows})
    return " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "never"


def write_table(data: Path, file: Path) -> None:
    file.write_text(page(read_rows(data)), encoding="utf-8")


if __name__ == "__main__":
    write_table(DATA, PAGE)
