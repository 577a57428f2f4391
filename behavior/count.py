"""Counting: every response of a source once, in bounded memory.

Covers the pass over the responses and the sums that it leaves (cells.py). Does not cover finding words
(behavior.finding), rates (rates.py) or showing them (report.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from behavior.cells import Cells, Problems, Table
from behavior.finding import Finder, Found
from behavior.lexicon import Lexicon
from behavior.looping import is_looping
from behavior.sources import Response, Source
from prerl_eval.console import progress

TENTHS = 10
MEGABYTE = 1 << 20


class Sink(Protocol):
    """Takes what was found in each response, for annotations."""

    def add(self, response: Response, found: Found) -> None:
        """Called once per response, in order."""


@dataclass(frozen=True)
class Counted:
    """What one source holds. phrases: occurrences between word boundaries, unmasked, every phrase there.

    places: label -> int[10], counted marks (or thoughts, where those are the unit) by the tenth of the
    response that they begin in.
    """

    source: Source
    table: Table
    phrases: dict[str, int]
    places: dict[str, NDArray[np.int64]]

    @property
    def steps(self) -> list[int]:
        """Steps of the responses, sorted; what the source is called by counts as one."""
        return [int(step) for step in np.unique(self.table.step)]


def count_source(
    source: Source,
    finder: Finder,
    problems: Problems,
    count_tokens: Callable[[str], int] | None = None,
    sink: Sink | None = None,
) -> Counted:
    """Count one source. problems: shared by all sources that are compared.

    count_tokens: counts tokens in place of the stored numbers. Raises UserError as `Source.responses` does.
    """
    lexicon = finder.lexicon
    cells = Cells(list(lexicon.labels), problems)
    phrases: Counter[str] = Counter({phrase.text: 0 for _, phrase in lexicon.entries()})
    places = {label: np.zeros(TENTHS, dtype=np.int64) for label in lexicon.labels}
    size = max(1, source.size // MEGABYTE)
    with progress(f"counting {source.name}", size, unit="MB") as advance:
        shown = read = 0

        def moved(count: int) -> None:
            nonlocal shown, read
            read += count
            if (whole := min(read // MEGABYTE, size)) > shown:
                advance(whole - shown)
                shown = whole

        for response in source.responses(moved):
            found = finder.find(response.text, response.prompt)
            phrases.update(found.phrases)
            values = _sums(lexicon, response, found, count_tokens)
            end = end_of(response)
            cells.add(response.key[3], response.problem, len(response.text), end, values)
            _place(lexicon, response, found, places)
            if sink is not None:
                sink.add(response, found)
        advance(size - shown)
    return Counted(source, cells.table(), dict(phrases), places)


def end_of(response: Response) -> str:
    """The one of cells.ENDS that a response belongs to."""
    if is_looping(response.text):
        return "looping"
    return "clipped" if response.finish_reason == "length" else "finished"


def _sums(
    lexicon: Lexicon, response: Response, found: Found, count_tokens: Callable[[str], int] | None
) -> list[float]:
    """One response's values in the order of the columns of `Cells`."""
    tokens = response.tokens if count_tokens is None else count_tokens(response.text)
    values: list[float] = [
        1,
        tokens or 0,
        tokens is not None,
        len(response.text.split()),
        len(response.text),
        found.masked_share * len(response.text),
        len(found.thoughts),
        not response.finish_reason,
        not response.prompt,
    ]
    for label in lexicon.labels:
        seen = sum(not mark.masked for mark in found.marks if mark.label == label)
        masked = sum(mark.masked for mark in found.marks if mark.label == label)
        labelled = sum(thought.label == label for thought in found.thoughts)
        count = {"occurrences": seen, "presence": min(seen, 1), "thoughts": labelled}[lexicon.unit]
        values += [count, count > 0, seen, labelled, masked]
    return values


def _place(lexicon: Lexicon, response: Response, found: Found, places: dict[str, NDArray[np.int64]]) -> None:
    starts: Sequence[tuple[str | None, int]] = (
        [(thought.label, thought.start) for thought in found.thoughts]
        if lexicon.unit == "thoughts"
        else [(mark.label, mark.start) for mark in found.marks if not mark.masked]
    )
    for label, start in starts:
        if label is not None:
            places[label][TENTHS * start // len(response.text)] += 1
