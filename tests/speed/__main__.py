"""Measure every speed claim and how cost grows with work, and write results/speed (`make speed`).

    python -m tests.speed                      all; a run that was stopped goes on where it stopped
    python -m tests.speed --only NAME          one of them again; repeatable
    python -m tests.speed --skip NAME          all but one, which keeps its last figures; repeatable
    python -m tests.speed --quick              small sets, into runs/speed: does it all run?
    python -m tests.speed --tables             only speed.md, from the data
    python -m tests.speed --list               names

Writes OUT/speed.json after each measurement, then OUT.md. The exit code is 1 where a bound
did not hold or a measurement failed; one that needs what this machine lacks says so in the table.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

# Before any measurement starts: two threads on two busy cores were up to 20x slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tests.speed.catalogue import MEASUREMENTS
from tests.speed.record import measure_all
from tests.speed.table import write_markdown

RESULTS = Path("results/speed")


def main() -> None:
    """Parse flags, measure, write; exit 1 where something did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", default=[], choices=MEASUREMENTS, metavar="NAME")
    parser.add_argument("--skip", action="append", default=[], choices=MEASUREMENTS, metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="begin a new run although the last one stopped")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--out", type=Path, help=f"default: {RESULTS}; with --quick: runs/speed")
    parser.add_argument(
        "--vllm", type=Path, default=Path(".venv-vllm/bin/python"), help="Python that has vLLM"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if options.list:
        print(*MEASUREMENTS, sep="\n")
        return
    out = options.out or (Path("runs/speed") if options.quick else RESULTS)
    held = options.tables or measure_all(
        out,
        MEASUREMENTS,
        only=options.only,
        skip=options.skip,
        quick=options.quick,
        fresh=options.fresh,
        vllm=options.vllm,
    )
    print(f"\n{write_markdown(out)}: every figure, bound and date")
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
