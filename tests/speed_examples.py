"""Measurements for the tests of measuring; each writes its name into the file that RECORD names."""

import os
from pathlib import Path

from tests.speed.rows import Line, Measured, Row, Unavailable


def _made(name: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(f"{name}\n")


def _row(name: str, ratio: float) -> Row:
    return Row(name, "s", 2.0, "a peer", 4.0, ratio, "times its time", bound=1.0)


def fast(quick: bool = False) -> Measured:
    _made("fast")
    line = Line("a line", "s", "rows", (10, 100), (1.0, 2.0), "a peer", (None, 1.0))
    return Measured([_row("fast", 0.25 if quick else 0.5)], [line], ["A note."])


def slow(quick: bool = False) -> Measured:
    _made("slow")
    return Measured([_row("slow", 1.5)])


def broken(quick: bool = False) -> Measured:
    _made("broken")
    raise ValueError("no such luck")


def absent(quick: bool = False) -> Measured:
    _made("absent")
    raise Unavailable("no such program here")
