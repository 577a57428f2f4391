"""Sums over responses, kept so that memory does not grow with the input and problems stay apart.

Every rate, interval and ratio is computed from these sums. A cell holds the responses to one problem, of
one step, one length and one way to end. Does not cover counting (count.py) or estimators (rates.py).
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENDS = ("finished", "clipped", "looping")
"""How a response ended; each is in one class. Where its maker does not say, and it does not loop, it
counts as finished."""

PROBLEMS = 4096
"""Problems that are told apart; more are pooled by hash into as many groups, which resampling draws whole.
Groups of independent problems are independent too, so intervals stay honest and memory flat."""

SHARED = (
    "responses",
    "tokens",
    "known",
    "words",
    "characters",
    "masked",
    "thoughts",
    "unknown_ends",
    "unprompted",
)
"""Sums that every cell has. tokens are of the `known` responses. masked: characters."""

PER_LABEL = ("count", "present", "occurrences", "labelled_thoughts", "masked_occurrences")
"""Sums that every cell has per label. count is in the lexicon's unit; present: responses with any."""

BINS = 64
"""More length bins than any text reaches; see `length_bin`."""


class Problems:
    """Numbers for problems, the same in every source that was counted with one object."""

    def __init__(self, most: int = PROBLEMS):
        self._numbers: dict[str, int] = {}
        self._most = most

    def number(self, problem: str) -> int:
        """0, 1, ... for the first `most` problems, then a group by hash."""
        number = self._numbers.get(problem)
        if number is not None:
            return number
        if len(self._numbers) < self._most:
            return self._numbers.setdefault(problem, len(self._numbers))
        return self._most + zlib.crc32(problem.encode("utf-8", "replace")) % self._most

    @property
    def limit(self) -> int:
        """Above every number."""
        return 2 * self._most

    @property
    def pooled(self) -> bool:
        """Whether there may be groups."""
        return len(self._numbers) == self._most


def length_bin(characters: int) -> int:
    """Half octaves of length: lengths in one bin differ by a factor of less than 1.42 (√2)."""
    # The whole part of 2 log2(n): n² has one bit more each time that n grows by √2.
    return min((characters * characters).bit_length(), BINS - 1)


@dataclass(frozen=True)
class Table:
    """Cells as arrays over the R cells. sums: float[R, C], one column per name in `columns`."""

    step: NDArray[np.int64]
    problem: NDArray[np.int64]
    length: NDArray[np.int64]
    end: NDArray[np.int64]
    sums: NDArray[np.float64]
    columns: dict[str, int]

    def where(self, chosen: NDArray[np.bool_]) -> Table:
        """Only some of the cells. chosen: bool[R]."""
        return Table(
            self.step[chosen],
            self.problem[chosen],
            self.length[chosen],
            self.end[chosen],
            self.sums[chosen],
            self.columns,
        )

    def total(self, column: str) -> float:
        """The sum of a column over all cells."""
        return float(self.sums[:, self.columns[column]].sum())

    def per_problem(self, problems: NDArray[np.int64], *columns: str) -> NDArray[np.float64]:
        """Sums per problem: float[P, len(columns)], a row for each of the sorted numbers `problems`.

        Cells of other problems are left out.
        """
        place = np.searchsorted(problems, self.problem)
        inside = place < len(problems)
        inside[inside] = problems[place[inside]] == self.problem[inside]
        values = self.sums[:, [self.columns[column] for column in columns]][inside]
        sums = np.zeros((len(problems), len(columns)))
        np.add.at(sums, place[inside], values)
        return sums


class Cells:
    """Collects sums. labels: of the lexicon, which give the columns "<sum>/<label>"."""

    def __init__(self, labels: Sequence[str], problems: Problems):
        names = [*SHARED, *(f"{name}/{label}" for label in labels for name in PER_LABEL)]
        self.columns = {name: number for number, name in enumerate(names)}
        self._problems = problems
        self._places: dict[int, int] = {}
        self._sums = array("d")

    def add(self, step: int, problem: str, characters: int, end: str, values: Sequence[float]) -> None:
        """Add one response. values: in the order of `columns`."""
        number = step * self._problems.limit + self._problems.number(problem)
        key = (number * BINS + length_bin(characters)) * len(ENDS) + ENDS.index(end)
        place = self._places.get(key)
        if place is None:
            self._places[key] = len(self._sums)
            self._sums.extend(values)
            return
        for value in values:
            self._sums[place] += value
            place += 1

    def table(self) -> Table:
        """All cells; they stay as they are."""
        key = np.fromiter(self._places, dtype=np.int64, count=len(self._places))
        rest, end = np.divmod(key, len(ENDS))
        rest, length = np.divmod(rest, BINS)
        step, problem = np.divmod(rest, self._problems.limit)
        sums = np.array(self._sums).reshape(len(key), len(self.columns))
        return Table(step, problem, length, end, sums, self.columns)
