"""Opening, resuming and appending to a store against the rows that it holds.

Opening: reading what every figure is computed from, each part by itself. Resuming: the whole of
`prerl-eval run` on a run that lacks nothing, in a process of its own: which rows are there, that settings
and prompts agree, the record written again. Appending: one more part of 1,000 rows, durable (fsync); the peer
of both is pyarrow alone, which reads all parts as one data set, or writes the same rows into a file.
Wall seconds for appending, where the disk works, CPU seconds for the rest; medians.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prerl_eval import store
from prerl_eval.tally import COLUMNS
from tests.speed.process import run_command
from tests.speed.rows import Line, Measured, script
from tests.speed.stores import BASE, BENCHMARK, PROBLEMS, grown_run, real_run

SIZES = (1_000, 10_000, 100_000, 1_000_000)
APPENDED = 1000
TURNS = 3
FLAT = 0.3
"""Bound of the exponent of appending, which should not depend on what is there but lists the parts."""


def measure(quick: bool = False) -> Measured:
    """One line for each of the three."""
    sizes = SIZES[:2] if quick else SIZES
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        real = real_run(folder / "real", PROBLEMS)
        for size in sizes:
            run = grown_run(real, folder / str(size), PROBLEMS, size // PROBLEMS)
            for key, value in measure_store(run, size // PROBLEMS, folder).items():
                figures.setdefault(key, []).append(value)
    pyarrow = "pyarrow alone"
    lines = [
        Line(
            "opening a store",
            "CPU s",
            "rows",
            sizes,
            figures["opening"],
            f"{pyarrow}, the same columns",
            figures["reading"],
        ),
        Line("resuming a run that lacks nothing", "CPU s", "rows", sizes, figures["resuming"]),
        Line("resuming, peak memory", "MB", "rows", sizes, figures["memory"]),
        Line(
            f"appending {APPENDED:,} rows",
            "s",
            "rows",
            sizes,
            figures["appending"],
            f"{pyarrow}, a new file",
            figures["writing"],
            bound=FLAT,
        ),
    ]
    return Measured(lines=lines)


def measure_store(run: Path, n: int, folder: Path) -> dict[str, float]:
    """Figures of one store; what is appended is not counted by any other."""
    flags = ("--ckpt", BASE, "--bench", BENCHMARK, "--engine", "transformers", "--out", run)
    resumed = run_command("prerl_eval.cli", "run", *flags, "--n", str(n), "--limit", str(PROBLEMS))
    opening, reading = in_turn(
        time.process_time,
        lambda: store.read_samples(run, COLUMNS),
        lambda: pq.read_table(run / "samples", columns=list(COLUMNS)),
    )
    rows = store.read_part(store.parts(run)[0]).slice(0, APPENDED)
    appending, writing = in_turn(
        time.perf_counter, lambda: store.write_part(run, rows), lambda: write_file(rows, folder / "one")
    )
    return {
        "opening": opening,
        "reading": reading,
        "resuming": resumed.cpu,
        "memory": resumed.memory,
        "appending": appending,
        "writing": writing,
    }


def in_turn(clock: Callable[[], float], *sides: Callable[[], object]) -> list[float]:
    """Median seconds of each side, after a turn that only warms up."""
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(TURNS + 1):
        for side, found in zip(sides, seconds, strict=True):
            start = clock()
            side()
            if turn:
                found.append(clock() - start)
    return [statistics.median(found) for found in seconds]


def write_file(table: pa.Table, file: Path) -> None:
    """Rows in a new file, durable."""
    with file.open("wb") as stream:
        pq.write_table(table, stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())


if __name__ == "__main__":
    script(measure)
