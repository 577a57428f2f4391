"""Fault injection on real runs: `make faults` kills prerl-eval fifty times and looks at what is left.

Each kill is a SIGKILL of the real command at a random number of stored rows. After each: every part
file is what it was, byte for byte. After the last resume: the run equals the undisturbed one in
every column but the times, each key once, and nothing stored was generated again.
The short form of this runs in tests/test_faults.py.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from prerl_eval import store

REPO = Path(__file__).resolve().parent.parent
TIMES = ("seconds",)


@dataclass(frozen=True)
class Work:
    """The job that is disturbed: a checkpoint on the first `problems` of countdown, n samples each."""

    problems: int
    n: int
    ckpt: Path = REPO / "results" / "base-nano"
    batch_size: int = 16

    @property
    def rows(self) -> int:
        return self.problems * self.n

    def command(self, out: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "prerl_eval.cli", "run", "--ckpt", str(self.ckpt)),
            *("--bench", "countdown", "--limit", str(self.problems), "--n", str(self.n)),
            *("--batch-size", str(self.batch_size), "--engine", "transformers", "--out", str(out)),
        ]


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, cwd=REPO, start_new_session=True)


def finish(command: list[str], log: Path) -> None:
    process = start(command, log)
    if process.wait() != 0:
        raise AssertionError(f"the run ended with {process.returncode}:\n{log.read_text()[-2000:]}")


def stored_rows(run: Path) -> int:
    return sum(pq.ParquetFile(part).metadata.num_rows for part in store.parts(run))


def fingerprints(run: Path) -> dict[str, str]:
    return {part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in store.parts(run)}


def content(run: Path) -> list[dict[str, object]]:
    """All rows but their times, in key order."""
    table = store.read_samples(run).drop_columns(list(TIMES))
    keys = [("benchmark", "ascending"), ("problem_id", "ascending"), ("sample_index", "ascending")]
    return table.take(pc.sort_indices(table, sort_keys=keys)).to_pylist()


def kill_at(work: Work, out: Path, log: Path, rows: int) -> int:
    """Start the run and SIGKILL it once `rows` rows are stored; returns the rows found afterwards."""
    process = start(work.command(out), log)
    while process.poll() is None and stored_rows(out) < rows:
        time.sleep(0.01)
    if process.poll() is not None:
        raise AssertionError(
            f"the run ended ({process.returncode}) before {rows} rows:\n{log.read_text()[-2000:]}"
        )
    process.send_signal(signal.SIGKILL)
    process.wait()
    return stored_rows(out)


def orphans(session: int) -> list[int]:
    """Processes of a killed command's session that are still there."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def torment(work: Work, kills: int, folder: Path, rng: random.Random) -> list[str]:
    """Kill one run `kills` times on its way to the end; returns a line per kill. Raises AssertionError."""
    out, log = folder / "run", folder / "log"
    lines = []
    before: dict[str, str] = {}
    for number in range(kills):
        stored = stored_rows(out) if before else 0
        # Leaves room for the kills to come: each start stores rows in bursts.
        ceiling = work.rows * (number + 1) // (kills + 1)
        target = rng.randint(min(stored + 1, ceiling), ceiling)
        found = kill_at(work, out, log, max(target, stored))
        (out / "samples" / ".part-99999.tmp").write_bytes(os.urandom(64))
        after = fingerprints(out)
        assert before.items() <= after.items(), f"kill {number}: a stored part changed"
        assert len(store.stored_keys(out)) == found, f"kill {number}: a key is stored twice"
        before = after
        lines.append(f"killed at {found} of {work.rows} rows (asked for {target})")
    stored = stored_rows(out)
    log.write_bytes(b"")
    finish(work.command(out), log)
    to_go = re.search(r"samples, ([\d,]+) to go", log.read_text())
    assert to_go, log.read_text()
    assert int(to_go[1].replace(",", "")) == work.rows - stored, (
        "the resumed run did not ask for what was missing"
    )
    after = fingerprints(out)
    assert before.items() <= after.items(), "a stored part changed while the run was finished"
    assert len(store.stored_keys(out)) == stored_rows(out) == work.rows
    return lines


def main() -> None:
    """Torment runs until the asked number of kills is reached, and print a table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kills-per-run", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    work = Work(problems=200, n=16)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finish(work.command(folder / "undisturbed"), folder / "log")
        wanted = content(folder / "undisturbed")
        done = 0
        while done < arguments.kills:
            kills = min(arguments.kills_per_run, arguments.kills - done)
            trial = folder / f"trial-{done}"
            trial.mkdir()
            for line in torment(work, kills, trial, rng):
                done += 1
                print(f"{done:3d}  {line}", flush=True)
            assert content(trial / "run") == wanted, "the finished run differs from the undisturbed one"
            print(f"     resumed: {work.rows} rows, equal to the undisturbed run", flush=True)
    print(
        f"{done} kills: no stored row changed, only missing rows were generated, "
        "all runs equal the undisturbed one"
    )


if __name__ == "__main__":
    main()
