"""`python -m tests.faults`: try faults, write what came of them, exit with 1 where one was not survived."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.faults import catalogue
from tests.faults.launcher import REPO
from tests.faults.stage import Stage
from tests.faults.table import write_table
from tests.faults.trials import merged, read_rows, try_fault, write_rows


def main() -> int:
    """Exit code 1 where a fault that prerl claims to survive was not survived."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--only", action="append", metavar="KIND", choices=catalogue.KINDS, help=", ".join(catalogue.KINDS)
    )
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of faults/faults.csv and faults.md")
    arguments = parser.parse_args()
    out = arguments.out or REPO / ("runs" if arguments.quick else "results")
    chosen = [fault for fault in catalogue.FAULTS if not arguments.only or fault.kind in arguments.only]
    file = out / "faults" / "faults.csv"
    rows = []
    with tempfile.TemporaryDirectory(prefix="prerl-faults-") as name, Stage(Path(name)) as stage:
        for fault in chosen:
            rows.append(try_fault(fault, stage, arguments.seed, arguments.quick))
            # Another kind's rows stay: each says its own date and versions.
            kept = merged(read_rows(file), rows, [fault.name for fault in catalogue.FAULTS])
            write_rows(file, kept)
            write_table(file, out / "faults.md")
    print(
        f"{file}: {sum(row.survived for row in rows):,} of {sum(row.tried for row in rows):,} faults survived"
    )
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
