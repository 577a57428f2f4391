"""`prerl-eval summary`, `compare` and `passk` against the number of stored samples: CPU time and memory.

Each command runs in a process of its own on a run of results/base-nano, or on two of them (rows drawn from
two seeds), 10 problems × 10 samples up to 200 × 500; its start is in the figures. The peer reads the
columns that the summary needs from the same Parquet parts by pyarrow alone, in a process of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from prerl_eval.tally import COLUMNS
from tests.speed.process import Cost, run_command, run_program
from tests.speed.rows import Line, Measured, script
from tests.speed.stores import grown_run, real_run

SHAPES = ((10, 10), (25, 40), (100, 100), (200, 500))
"""(problems, samples of each)"""

READ = """
import sys
import pyarrow.parquet
pyarrow.parquet.read_table(sys.argv[1] + "/samples", columns=sys.argv[2].split(","))
"""

PEER = "reading the same Parquet by pyarrow alone"


def measure(quick: bool = False) -> Measured:
    """Two lines (time, memory) for each command."""
    shapes = SHAPES[:2] if quick else SHAPES
    costs: dict[str, list[Cost]] = {"summary": [], "compare": [], "passk": [], "read": []}
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        real = real_run(folder / "real", shapes[-1][0])
        for problems, n in shapes:
            base, other = (
                grown_run(real, folder / f"{seed}-{problems}", problems, n, seed) for seed in (0, 1)
            )
            for command, cost in measure_store(base, other, folder).items():
                costs[command].append(cost)
    sizes = [problems * n for problems, n in shapes]
    names = {
        "summary": "`prerl-eval summary` of one run",
        "compare": "`prerl-eval compare` of two runs",
        "passk": "`prerl-eval passk` of two runs, with picture",
    }
    read = costs["read"]
    lines = []
    for command, label in names.items():
        with_peer = command == "summary"
        lines += [
            Line(
                label,
                "CPU s",
                "samples of a run",
                sizes,
                [cost.cpu for cost in costs[command]],
                PEER if with_peer else "",
                [cost.cpu for cost in read] if with_peer else [],
            ),
            Line(
                f"{label}, peak memory",
                "MB",
                "samples of a run",
                sizes,
                [cost.memory for cost in costs[command]],
                PEER if with_peer else "",
                [cost.memory for cost in read] if with_peer else [],
            ),
        ]
    return Measured(lines=lines)


def measure_store(base: Path, other: Path, folder: Path) -> dict[str, Cost]:
    """What each command costs on these runs."""
    picture = folder / "passk.png"
    return {
        "summary": run_command("prerl_eval.cli", "summary", base),
        "compare": run_command("prerl_eval.cli", "compare", base, other),
        "passk": run_command("prerl_eval.cli", "passk", base, other, "--out", picture),
        "read": run_program(READ, base, ",".join(COLUMNS)),
    }


if __name__ == "__main__":
    script(measure)
