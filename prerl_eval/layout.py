"""Text of the tables that commands print: their width, percentages, and lines that fit."""

from __future__ import annotations

import textwrap

WIDTH = 100


def percent(value: float | None) -> str:
    """A fraction of 1 in percent with one digit; a dash where it is not known."""
    return "–" if value is None else f"{100 * value:.1f}"


def shorten(text: str, width: int) -> str:
    """At most `width` characters, the middle left out."""
    return text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-(width - width // 2) :]}"


def wrapped(text: str, indent: str) -> list[str]:
    """Lines of at most WIDTH, the second and later ones indented by two more."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")
