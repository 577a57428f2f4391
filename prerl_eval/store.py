"""The sample store: a run is a directory of atomic Parquet parts and one run.json.

    RUN/run.json                     settings, cards, versions: how the numbers were made
    RUN/samples/part-00000.parquet   sample rows; written under a temporary name, fsynced, renamed
    RUN/lock                         held by the one writer; the kernel drops it when the writer dies

A kill at any moment loses at most the rows that no part held yet, and never a row that was stored.
Any tool reads the rows by glob (pandas, polars, DuckDB, datasets). Covers the rows and their parts. Does not
cover run.json (run_record.py), the lock (run_lock.py) and what is said of rows afterwards (annotations.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prerl_eval.durable import disk_trouble, sync, sync_path
from prerl_eval.errors import UserError
from prerl_eval.run_record import SCHEMA_VERSION, read_record

SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("benchmark", pa.string()),
        ("problem_id", pa.string()),
        ("sample_index", pa.int32()),
        ("step", pa.int32()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("opens_thinking", pa.bool_()),
        ("status", pa.string()),
        ("answer", pa.string()),
        ("answer_class", pa.string()),
        ("gold", pa.string()),
        ("extra", pa.string()),
        ("grader", pa.string()),
        ("detail", pa.string()),
        ("seed", pa.int64()),
        ("seconds", pa.float32()),
    ],
    metadata={"prerl_schema_version": str(SCHEMA_VERSION)},
)

FIRST_PART = "part-00000.parquet"

RowKey = tuple[str, str, int, int]
"""(benchmark, problem_id, sample_index, step): unique within a run."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One graded completion. Field names are the store's columns.

    sample_index: 0-based, below n. step: 0 outside training, else the update it was sampled for.
    prompt: the exact text the model continued. token_ids: sampled ids, None when the server hides
    them. tokens: completion tokens. finish_reason: "stop", "length" or the server's own word.
    opens_thinking: the prompt ended inside an open thinking block. extra: the problem's facts for
    its grader, as JSON. grader: name and version, "math/1". detail: why a grade failed, else "".
    seed: the request's seed. seconds: wall time of the request, of its batch in a batched engine.
    """

    run_id: str
    benchmark: str
    problem_id: str
    sample_index: int
    step: int
    prompt: str
    completion: str
    token_ids: Sequence[int] | None
    tokens: int
    finish_reason: str
    opens_thinking: bool
    status: str
    answer: str
    answer_class: str
    gold: str
    extra: str
    grader: str
    detail: str
    seed: int
    seconds: float


def rows_to_table(rows: Sequence[SampleRow]) -> pa.Table:
    """Rows as an Arrow table in the store's schema."""
    columns = {name: [getattr(row, name) for row in rows] for name in (f.name for f in fields(SampleRow))}
    # Lone surrogates (a tokenizer's or a server's half character) cannot be stored as UTF-8.
    for name in ("prompt", "completion", "finish_reason", "answer", "answer_class", "detail"):
        columns[name] = [text.encode("utf-8", "replace").decode("utf-8") for text in columns[name]]
    return pa.table(columns, schema=SCHEMA)


def parts(run: Path) -> list[Path]:
    """The finished part files of a run, in the order they were written."""
    return parts_in(run / "samples")


def parts_in(folder: Path) -> list[Path]:
    """The finished part files of a folder, in the order they were written."""
    return sorted(folder.glob("part-*.parquet"))


def read_samples(run: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All stored rows of a run as one table (only `columns` where given), in order of writing.

    Raises UserError where `run` is no run, or where a part was damaged after it was written.
    """
    read_record(run)
    tables = [read_part(part, columns) for part in parts(run)]
    if tables:
        return pa.concat_tables(tables)
    empty = SCHEMA.empty_table()
    return empty.select(list(columns)) if columns else empty


def stored_keys(run: Path) -> set[RowKey]:
    """The keys that a run already holds."""
    table = read_samples(run, ["benchmark", "problem_id", "sample_index", "step"])
    return (
        set(zip(*(column.to_pylist() for column in table.itercolumns()), strict=True))
        if len(table)
        else set()
    )


def write_part(run: Path, table: pa.Table) -> Path:
    """Store `table` as the next part of a run: temporary name, fsync, rename, fsync of the folder.

    Raises RunStopped on a full disk, leaving every earlier part as it was.
    """
    return append_part(run / "samples", table)


def append_part(folder: Path, table: pa.Table) -> Path:
    """Store `table` as the next part of a folder of parts, as `write_part` does for samples."""
    # A part that somebody copied in may have any name.
    numbers = [
        int(name) for part in parts_in(folder) if (name := part.stem.removeprefix("part-")).isdecimal()
    ]
    number = max(numbers, default=-1) + 1
    final = folder / f"part-{number:05d}.parquet"
    _put(final, table)
    return final


def replace_parts(folder: Path, table: pa.Table) -> None:
    """Put `table` in the place of all parts of a folder. A folder of one part is replaced atomically.

    Raises RunStopped on a full disk.
    """
    for part in parts_in(folder):
        if part.name != FIRST_PART:
            _remove(part)
    _put(folder / FIRST_PART, table)


def drop_rows_after(run: Path, step: int) -> int:
    """Remove the rows of later steps: what a training run that resumes at `step` will sample again.

    Returns how many there were. Parts are replaced or removed one by one, each atomically: after a
    kill every part is whole, and the same call finishes the work. The caller holds the RunLock.
    Raises UserError where `run` is no run or a part is damaged, RunStopped on a full disk.
    """
    read_record(run)
    dropped = 0
    for part in parts(run):
        late = sum(row > step for row in read_part(part, ["step"])["step"].to_pylist())
        if not late:
            continue
        table = read_part(part)
        if late < len(table):
            _put(part, table.filter(pc.less_equal(table["step"], step)))
        else:
            _remove(part)
        dropped += late
    return dropped


class PartWriter:
    """Collects rows and stores them in parts, seldom enough for long runs and soon enough for kills.

    A part is written when the oldest waiting row is older than max(2 seconds, 1% of the run's time
    so far) or `max_rows` wait, so a kill costs at most about 1% of a run and a ten-hour run leaves
    a few hundred parts. Rows appended in one call land in one part.

    write: stores what waits as the next part; samples of the run where none is given.
    """

    def __init__(
        self,
        run: Path,
        clock: Callable[[], float],
        max_rows: int = 20_000,
        write: Callable[[list[Any]], object] | None = None,
    ):
        self.run = run
        self._write = write or (lambda rows: write_part(run, rows_to_table(rows)))
        self._clock = clock
        self._start = clock()
        self._oldest: float | None = None
        self._rows: list[Any] = []
        self._max_rows = max_rows

    def append(self, rows: Iterable[Any]) -> None:
        """Add rows that belong together; may store a part."""
        self._rows.extend(rows)
        if self._oldest is None:
            self._oldest = self._clock()
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Store what waits if it has waited long enough, or is much."""
        if self._oldest is None:
            return
        now = self._clock()
        if now - self._oldest >= max(2.0, 0.01 * (now - self._start)) or len(self._rows) >= self._max_rows:
            self.flush()

    def flush(self) -> None:
        """Store what waits, if anything does."""
        if self._rows:
            self._write(self._rows)
        self._rows, self._oldest = [], None


def read_part(part: Path, columns: Sequence[str] | None = None, schema: pa.Schema = SCHEMA) -> pa.Table:
    """One part file (only `columns` where given) of that schema. Raises UserError where it is damaged.

    A changed byte is found: in the data by checksums (older parts have none), in the names, types and
    lengths of columns because the file states them twice.
    """
    expected = pa.schema([schema.field(name) for name in columns]) if columns else schema
    try:
        names = list(columns) if columns else None
        table = pq.read_table(part, columns=names, page_checksum_verification=True)
        if not table.schema.equals(expected):
            raise pa.ArrowInvalid("its columns are not those that prerl writes")
        # The footer has no checksum, and states the rows of each group and of all.
        if len(table) != pq.read_metadata(part).num_rows:
            raise pa.ArrowInvalid("it states two numbers of rows")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{part} is damaged ({str(error).splitlines()[0]}); move it away and run the same command: "
            "its rows are sampled again"
        ) from error
    return table


def _put(part: Path, table: pa.Table) -> None:
    """Write a part, or put another table in its place: whatever happens, the old or the new is there."""
    temporary = part.with_name(f".{part.stem}.tmp")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            # zstd finds few of the bytes that a disk changes; without checksums most would be read as data.
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            sync(file)
        temporary.rename(part)
        sync_path(part.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disk_trouble(error, part.parent.parent) from error


def _remove(part: Path) -> None:
    try:
        part.unlink()
        sync_path(part.parent)
    except OSError as error:
        raise disk_trouble(error, part.parent.parent) from error
