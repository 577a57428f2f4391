"""`prerl-behavior count` on files of growing size: CPU time, and peak memory, which must not grow with them.

    python -m tests.speed.count_memory [--sizes 100 500 2000]

Responses are made up (words of a small vocabulary, phrases of reflection among them), 4 to a problem, with
prompts that are quoted, so that every part of the counting has work. Each size is counted by a process of
its own. The peer reads the same file by Python's json alone, line by line.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.speed.process import Cost, run_command, run_program
from tests.speed.rows import Line, Measured, Row, show

SIZES = (10**7, 10**8, 10**9)
GROWTH = 1.5
"""Memory for the largest file over that for the smallest."""
FLAT = 0.1
"""Bound of the exponent of memory: a tenfold file may take a quarter more."""

WORDS = "the sum of these numbers is equal to some value so we take this term and find each side".split()  # noqa: SIM905
PHRASES = (
    "Wait, let me check this again",
    "Alternatively",
    "That seems right",
    "the waiter is waiting",
    "$x^2 + 1$",
)

READ = """
import json, sys
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        json.loads(line)
"""


def write_file(file: Path, size: int) -> None:
    """A jsonl file of at least `size` bytes; the same seed for every size."""
    draws = random.Random(0)
    paragraphs = [
        " ".join([draws.choice(PHRASES), *draws.choices(WORDS, k=60)]).capitalize() + "." for _ in range(5000)
    ]
    written = problem = 0
    with file.open("w") as stream:
        while written < size:
            prompt = f"Problem {problem}: " + " ".join(draws.choices(WORDS, k=40))
            for _ in range(4):
                text = "\n\n".join([prompt, *draws.choices(paragraphs, k=draws.randint(3, 40))])
                written += stream.write(json.dumps({"prompt": prompt, "completion": text}) + "\n")
            problem += 1


def count(size: int) -> tuple[Cost, Cost]:
    """What counting a file of so many bytes costs, and what reading it does."""
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        file = Path(folder) / "made-up.jsonl"
        write_file(file, size)
        return run_command("behavior.cli", "count", file), run_program(READ, file)


def measure_sizes(sizes: Sequence[int]) -> Measured:
    """Two lines and the memory of the largest against the smallest."""
    costs = [count(size) for size in sizes]
    own = [cost for cost, _ in costs]
    peer = [cost for _, cost in costs]
    name, reader = "`prerl-behavior count`", "reading the same file by json alone"
    row = Row(
        name=f"memory of {name} for {sizes[-1] / 1e6:,.0f} MB of text",
        unit="MB",
        prerl=own[-1].memory,
        peer_name=f"itself for {sizes[0] / 1e6:,.0f} MB",
        peer=own[0].memory,
        ratio=own[-1].memory / own[0].memory,
        ratio_is="times as much",
        bound=GROWTH,
    )
    unit = "bytes of text"
    time = Line(name, "CPU s", unit, sizes, [c.cpu for c in own], reader, [c.cpu for c in peer])
    memory = Line(f"{name}, peak memory", "MB", unit, sizes, [c.memory for c in own], bound=FLAT)
    rate = sizes[-1] / 1e6 / own[-1].cpu
    return Measured([row], [time, memory], [f"{name} counts {rate:.1f} MB of its file per CPU second."])


def measure(quick: bool = False) -> Measured:
    """10 MB to 1 GB."""
    return measure_sizes((10**6, 10**7) if quick else SIZES)


def main() -> None:
    """Parse sizes, measure, exit 1 where memory grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500], help="megabytes (10^6 bytes)")
    measured = measure_sizes([10**6 * size for size in parser.parse_args().sizes])
    show(measured)
    sys.exit(0 if measured.held else 1)


if __name__ == "__main__":
    main()
