"""The samples of one run, problem by problem, without holding their texts.

One pass over the parts writes every text into a file on disk; what stays in memory is where it lies and
the other columns, a few hundred bytes per sample. Does not cover annotations (marks.py) or the format of
a report (payload.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from prerl_eval.errors import UserError
from prerl_eval.store import SCHEMA, parts

BATCH_ROWS = 256
"""Rows whose texts are in memory at once."""

FACTS = (
    *("benchmark", "problem_id", "sample_index", "step", "tokens", "finish_reason", "opens_thinking"),
    *("status", "answer", "gold", "grader", "detail", "seconds"),
)

Place = tuple[int, int]
"""Where a text lies in the file: its start and its length in bytes."""


class Samples:
    """The samples of a run (of one step where given), by benchmark, problem in natural order, sample index.

    facts: a table of the columns FACTS in that order. problems: benchmark -> its problem ids in order.
    """

    def __init__(
        self,
        run: Path,
        file: IO[bytes],
        *,
        step: int | None = None,
        benchmarks: Sequence[str] = (),
        advance: Callable[[int], None] | None = None,
    ):
        """Copies the texts of `run` to the end of `file`. Raises UserError for a damaged part."""
        self._file = file
        self._prompts: list[Place] = []
        self._known: dict[bytes, int] = {}
        batches, places, prompts = [], [], []
        for batch in _batches(run, advance):
            kept = _wanted(batch, step, benchmarks)
            batches.append(kept.select(FACTS))
            places += [self._put(text) for text in kept["completion"].to_pylist()]
            prompts += [self._number(text) for text in kept["prompt"].to_pylist()]
        schema = pa.schema([SCHEMA.field(name) for name in FACTS])
        table = pa.Table.from_batches(batches, schema)
        order = _order(table)
        self.facts = table.take(order)
        self._completions = np.asarray(places, dtype=np.int64).reshape(-1, 2)[order]
        self._prompt_of = np.asarray(prompts, dtype=np.int64)[order]
        self._slices = _slices(self.facts)
        self.problems: dict[str, list[str]] = {}
        for benchmark, problem in self._slices:
            self.problems.setdefault(benchmark, []).append(problem)

    def __len__(self) -> int:
        return len(self.facts)

    def rows(self, benchmark: str, problem: str) -> range:
        """Where the samples of a problem stand in `facts`; empty where there are none."""
        return self._slices.get((benchmark, problem), range(0))

    def completion(self, row: int) -> bytes:
        """The completion of a row, UTF-8."""
        start, length = self._completions[row]
        return self._get(int(start), int(length))

    def prompt(self, row: int) -> bytes:
        """The prompt of a row, UTF-8."""
        return self._get(*self._prompts[self._prompt_of[row]])

    def _put(self, text: str) -> Place:
        data = text.encode()
        start = self._file.seek(0, 2)
        self._file.write(data)
        return start, len(data)

    def _number(self, prompt: str) -> int:
        digest = hashlib.blake2b(prompt.encode(), digest_size=16).digest()
        if digest not in self._known:
            self._known[digest] = len(self._prompts)
            self._prompts.append(self._put(prompt))
        return self._known[digest]

    def _get(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)


def _batches(run: Path, advance: Callable[[int], None] | None) -> Iterator[Any]:
    for part in parts(run):
        try:
            with pq.ParquetFile(part, page_checksum_verification=True) as file:
                if not file.schema_arrow.equals(SCHEMA):
                    raise pa.ArrowInvalid("its columns are not those that prerl writes")
                for batch in file.iter_batches(BATCH_ROWS, columns=[*FACTS, "prompt", "completion"]):
                    yield batch
                    if advance is not None:
                        advance(len(batch))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{part} is damaged ({str(error).splitlines()[0]}); move it away and run the same command: "
                "its rows are sampled again"
            ) from error


def _wanted(batch: Any, step: int | None, benchmarks: Sequence[str]) -> Any:
    if step is not None:
        batch = batch.filter(pc.equal(batch["step"], step))
    if benchmarks:
        batch = batch.filter(pc.is_in(batch["benchmark"], pa.array(benchmarks, pa.string())))
    return batch


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key: digits by their value, 2 before 10."""
    pieces = re.split(r"([0-9]+)", text)
    return [(0, int(piece), piece) if number % 2 else (1, 0, piece) for number, piece in enumerate(pieces)]


def _order(table: pa.Table) -> NDArray[np.int64]:
    """Rows by benchmark in order of appearance, problem in natural order, sample index."""
    names = table["benchmark"].unique().to_pylist()
    ids = sorted(table["problem_id"].unique().to_pylist(), key=natural)
    ranks = [
        np.asarray(pc.index_in(table[column], pa.array(values, pa.string())), dtype=np.int64)
        for column, values in (("problem_id", ids), ("benchmark", names))
    ]
    return np.lexsort((np.asarray(table["sample_index"]), *ranks))


def _slices(facts: pa.Table) -> dict[tuple[str, str], range]:
    found: dict[tuple[str, str], range] = {}
    keys = zip(facts["benchmark"].to_pylist(), facts["problem_id"].to_pylist(), strict=True)
    for row, key in enumerate(keys):
        found[key] = range(found[key].start if key in found else row, row + 1)
    return found
