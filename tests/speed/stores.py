"""Stores of any size made up of real rows: sampled, graded, stored once by `prerl-eval run`, then repeated.

Each row is one of its problem's real rows, drawn from a seed, with a sample index of its own; the
store is as one sampling run would have left it, but for how often a text occurs. Parts of 2,000 rows: a
run of a million rows has 500, as many as a run of days leaves.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from prerl_eval import store
from prerl_eval.plan import RunOptions
from prerl_eval.run import evaluate
from prerl_eval.run_record import read_record, write_record

BASE = Path(__file__).resolve().parents[2] / "results" / "base-nano"
BENCHMARK = "countdown"
PROBLEMS = 200
"""All that Countdown has."""
REAL = 2
"""Real samples of each problem."""
PART = 2000


def options(out: Path, problems: int, n: int) -> RunOptions:
    """A run of results/base-nano on the first problems of Countdown."""
    return RunOptions(
        ckpt=[str(BASE)], bench=[BENCHMARK], n=n, limit=problems, engine="transformers", out=out
    )


def real_run(out: Path, problems: int) -> Path:
    """Sample, grade and store REAL samples of each problem."""
    (run,) = evaluate(options(out, problems, REAL))
    return run


def grown_run(real: Path, out: Path, problems: int, n: int, seed: int = 0) -> Path:
    """A finished run of n samples of each of the first problems of a real run."""
    record = read_record(real)
    entry = record["benchmarks"][BENCHMARK]
    if problems > entry["problems"]:
        raise ValueError(f"{real} holds {entry['problems']} problems, not {problems}")
    record["benchmarks"][BENCHMARK] = entry | {"n": n, "problems": problems, "limit": problems}
    record["settings"] = record["settings"] | {"seed": seed}
    write_record(out, record)
    table = store.read_samples(real)
    ids = table["problem_id"].to_pylist()
    kept = list(dict.fromkeys(ids))[:problems]
    rows_of: dict[str, list[int]] = {name: [] for name in kept}
    for row, name in enumerate(ids):
        if name in rows_of:
            rows_of[name].append(row)
    first = np.array([rows_of[name] for name in kept])  # problems x REAL
    draws = np.random.default_rng(seed)
    for start in range(0, problems * n, PART):
        place = np.arange(start, min(start + PART, problems * n))
        problem, index = place // n, place % n
        part = table.take(pa.array(first[problem, draws.integers(REAL, size=len(place))]))
        column = part.column_names.index("sample_index")
        part = part.set_column(column, "sample_index", pa.array(index, pa.int32()))
        store.write_part(out, part.cast(store.SCHEMA))
    return out
