"""What a fault is, how often it was tried and survived, and the file that keeps the counts.

    results/faults/faults.csv     one row per fault; results/faults.md is made from it (table.py)

Does not cover what is done to prerl: the modules of this package each list their FAULTS.
"""

from __future__ import annotations

import csv
import platform
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from prerl_eval.provenance import now, versions
from tests.faults.stage import Skip, Stage

NAMED = ("prerl", "torch", "transformers", "trl")


@dataclass(frozen=True)
class Fault:
    """One kind of fault that prerl claims to survive.

    done: what is done to it. survived: what must be true afterwards. times, quick: how often it is tried
    in full and by --quick; a fault that is defined by its cases counts those. claimed: False where a
    figure is given though nothing is promised; it then never fails the whole.
    """

    kind: str
    name: str
    done: str
    survived: str
    times: int
    quick: int
    attempt: Callable[[Stage, Trials], None]
    claimed: bool = True


@dataclass
class Trials:
    """The count of one fault: `with trials.one("what"): ...` is a try, survived where nothing is raised."""

    times: int
    rng: random.Random
    folder: Path
    tried: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)

    @contextmanager
    def one(self, what: str, times: int = 1) -> Iterator[None]:
        """times: so many faults that are checked together."""
        self.tried += times
        try:
            yield
        except Skip:
            self.tried -= times
            raise
        except Exception as error:  # noqa: BLE001 - a fault that is not survived is a result
            self.lost.append(f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            print(f"    {self.lost[-1]}", file=sys.stderr)
            traceback.print_exc(limit=-3)
        else:
            self.survived += times

    def place(self, name: str) -> Path:
        """A new folder of this fault."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True)
class Row:
    """A line of faults.csv.

    cpu_seconds: of the commands and of this process. versions: name and version, blanks between. note: what
    was lost, or why nothing was tried.
    """

    kind: str
    fault: str
    done: str
    survived_means: str
    claimed: bool
    tried: int
    survived: int
    seconds: float
    cpu_seconds: float
    seed: int
    date: str
    versions: str
    note: str

    @property
    def failed(self) -> bool:
        return self.claimed and self.survived < self.tried


def try_fault(fault: Fault, stage: Stage, seed: int, quick: bool) -> Row:
    """Do it, and print a line."""
    start, used = time.monotonic(), stage.cpu_seconds()
    folder = stage.folder / f"{fault.kind}-{fault.name}".replace(" ", "-").replace("/", "-")
    trials = Trials(fault.quick if quick else fault.times, random.Random(f"{seed} {fault.name}"), folder)
    note = ""
    try:
        fault.attempt(stage, trials)
    except Skip as reason:
        note = f"not tried: {reason}"
    except Exception as error:  # noqa: BLE001 - what goes wrong in its preparation is a failure too
        trials.tried += 1
        trials.lost.append(f"preparation: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        traceback.print_exc()
    if not trials.lost:
        shutil.rmtree(folder, ignore_errors=True)
    known = versions()
    row = Row(
        fault.kind,
        fault.name,
        fault.done,
        fault.survived,
        fault.claimed,
        trials.tried,
        trials.survived,
        round(time.monotonic() - start, 1),
        round(stage.cpu_seconds() - used, 1),
        seed,
        now()[:10],
        " ".join([f"python {platform.python_version()}", *(f"{n} {known[n]}" for n in NAMED if n in known)]),
        note or "; ".join(trials.lost[:3]),
    )
    counts = f"{row.survived:4d} of {row.tried:4d}  {row.seconds:6.1f} s ({row.cpu_seconds:.1f} CPU)"
    print(f"{counts}  {fault.kind}: {fault.name}  {note}", flush=True)
    return row


def read_rows(file: Path) -> list[Row]:
    """The rows of a faults.csv; none where there is no file."""
    if not file.is_file():
        return []
    kinds = {
        "claimed": lambda text: text == "True",
        "tried": int,
        "survived": int,
        "seconds": float,
        "cpu_seconds": float,
        "seed": int,
    }
    with file.open(newline="", encoding="utf-8") as stream:
        return [
            Row(**{name: kinds.get(name, str)(text) for name, text in row.items()})
            for row in csv.DictReader(stream)
        ]


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [one.name for one in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def merged(before: Sequence[Row], rows: Sequence[Row], order: Sequence[str]) -> list[Row]:
    """`rows`, and of `before` those of other faults, in the order of the names; unknown ones go."""
    found = {row.fault: row for row in (*before, *rows)}
    return [found[name] for name in order if name in found]
