"""What a measurement finds: rows against a peer, lines of growth, notes; and whether bounds hold.

A row is one figure of prerl beside one of a named peer from the same run of the same machine. The ratio is
measured by itself (the median of pairs in turn, where a comparison makes pairs), so it need not be the
quotient of both figures. A line is a figure at growing sizes; its exponents are slopes of log(figure) over
log(size). Does not cover what is measured, nor where it is written (record.py) and shown (table.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

EXPONENT = 1.15
"""Bound of a line that should grow no faster than its sizes."""


class Unavailable(Exception):
    """What a measurement needs is not on this machine; the message says what."""


@dataclass(frozen=True)
class Row:
    """One comparison. unit: of both figures. ratio_is: how to read the ratio, "times its time".

    bound: of the ratio; None where nothing is claimed. differing: results on which both sides disagree
    though they must not; more than 0 is a bound that did not hold.
    """

    name: str
    unit: str
    prerl: float
    peer_name: str
    peer: float
    ratio: float
    ratio_is: str
    bound: float | None = None
    bound_is: Literal["at most", "at least"] = "at most"
    differing: int = 0

    @property
    def held(self) -> bool | None:
        """None where nothing is claimed."""
        if self.differing:
            return False
        if self.bound is None:
            return None
        return self.ratio <= self.bound if self.bound_is == "at most" else self.ratio >= self.bound

    def described(self) -> dict[str, Any]:
        """For the data file."""
        return rounded(asdict(self)) | {"held": self.held}


@dataclass(frozen=True)
class Line:
    """A figure at growing sizes. of: what the sizes count, "samples".

    peer: the peer's figure at each size, None where not measured. bound: of both slopes.
    """

    name: str
    unit: str
    of: str
    sizes: Sequence[int]
    prerl: Sequence[float]
    peer_name: str = ""
    peer: Sequence[float | None] = ()
    bound: float = EXPONENT

    @property
    def exponent(self) -> float:
        """Slope of the least-squares line through all points, on log scales."""
        return slope(self.sizes, self.prerl)

    @property
    def last(self) -> float:
        """Slope between the two largest sizes, where fixed costs such as a start count least."""
        return slope(self.sizes[-2:], self.prerl[-2:])

    @property
    def held(self) -> bool:
        """Whether neither slope is too large."""
        return self.exponent <= self.bound and self.last <= self.bound

    def described(self) -> dict[str, Any]:
        """For the data file."""
        slopes = {"exponent": round(self.exponent, 4), "last": round(self.last, 4), "held": self.held}
        return rounded(asdict(self)) | slopes


@dataclass
class Measured:
    """All that one measurement found. notes: sentences with figures that stand in no row."""

    rows: list[Row] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.rows + other.rows, self.lines + other.lines, self.notes + other.notes)

    @property
    def held(self) -> bool:
        """Whether no bound was missed."""
        return all(found.held is not False for found in (*self.rows, *self.lines))

    def described(self) -> dict[str, Any]:
        """For the data file."""
        return {
            "rows": [row.described() for row in self.rows],
            "lines": [line.described() for line in self.lines],
            "notes": self.notes,
        }


def read_measured(described: dict[str, Any]) -> Measured:
    """What `described` wrote; everything that follows from the figures is computed again."""
    follows = {"held", "exponent", "last"}
    rows = [{key: value for key, value in row.items() if key not in follows} for row in described["rows"]]
    lines = [{key: value for key, value in line.items() if key not in follows} for line in described["lines"]]
    return Measured([Row(**row) for row in rows], [Line(**line) for line in lines], list(described["notes"]))


def rounded(facts: dict[str, Any]) -> dict[str, Any]:
    """Every figure with six significant digits: more than any of them is worth."""

    def at(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [at(item) for item in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return {key: at(value) for key, value in facts.items()}


def slope(sizes: Sequence[int], figures: Sequence[float]) -> float:
    """Least-squares slope of log(figure) over log(size): 1 for a figure in proportion to the size."""
    return float(np.polyfit(np.log(sizes), np.log(figures), 1)[0])


def show(measured: Measured) -> None:
    """Print what was found, for someone who watches."""
    for row in measured.rows:
        bound = "" if row.bound is None else f"   bound: {row.bound_is} {row.bound:g}"
        missed = "   MISSED" if row.held is False else ""
        print(f"\n{row.name} ({row.unit})")
        print(f"  prerl {row.prerl:,.4g}   {row.peer_name} {row.peer:,.4g}")
        print(f"  {row.ratio:.4g} {row.ratio_is}{bound}{missed}")
    for line in measured.lines:
        points = ", ".join(
            f"{size:,}: {value:.4g}" for size, value in zip(line.sizes, line.prerl, strict=True)
        )
        print(f"\n{line.name} ({line.unit} against {line.of})\n  {points}")
        if line.peer_name:
            print(f"  {line.peer_name}: {', '.join('-' if at is None else f'{at:.4g}' for at in line.peer)}")
        missed = "" if line.held else "   MISSED"
        print(f"  exponent {line.exponent:.2f}, last step {line.last:.2f}   bound: {line.bound:g}{missed}")
    for note in measured.notes:
        print(f"  {note}")


def script(measure: Callable[[bool], Measured]) -> None:
    """`python -m tests.speed.MODULE [--quick]`: print one measurement, store nothing."""
    parser = argparse.ArgumentParser(description=sys.modules[measure.__module__].__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sets, same comparisons")
    measured = measure(parser.parse_args().quick)
    show(measured)
    sys.exit(0 if measured.held else 1)
