"""What faults are done to: models, sampled runs, commands, a judge's server; each made when first wanted.

Also the comparisons of runs that several faults need. Everything lives in one temporary folder.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import pyarrow.compute as pc

from prerl_eval import store
from prerl_eval.annotations import annotation_folder, read_annotations
from tests.faults.launcher import REPO, Command, Launcher
from tests.tiny import save_model

BASE = REPO / "results" / "base-nano"
TIMES = ("seconds",)
KEY = ("benchmark", "problem_id", "sample_index", "step")


class Skip(Exception):
    """A fault cannot be had on this machine; the message says why."""


class Stage:
    """A folder, a launcher, and what was prepared so far; a context manager."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        self._stack.__enter__()
        self.launcher = self._stack.enter_context(Launcher())
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.__exit__(*exception)

    def start(self, command: Sequence[object], log: Path, **disturbance: object) -> Command:
        return self.launcher.start(command, log, **disturbance)

    def finish(self, command: Sequence[object], log: Path, code: int = 0, **disturbance: object) -> str:
        """Run a command to its end; what it printed. Raises AssertionError for another exit code."""
        log.write_bytes(b"")
        done = self.start(command, log, **disturbance)
        if done.wait() != code:
            raise AssertionError(f"exit code {done.returncode} instead of {code}: {done.said()[-600:]}")
        return done.said()

    def cpu_seconds(self) -> float:
        """CPU time so far: of the commands that have ended, and of this process."""
        return self.launcher.cpu_seconds() + time.process_time()

    @cached_property
    def tiny(self) -> Path:
        """A random model of two small layers."""
        return save_model(self.folder / "tiny")

    @cached_property
    def server(self) -> str:
        """Address of the judge's server."""
        from tests.behavior_server import fault_server

        return self._stack.enter_context(fault_server())

    def sampling(self, out: Path, problems: int = 6, n: int = 4, *flags: object) -> list[object]:
        """`prerl-eval run` of the tiny model on countdown."""
        return [
            *(
                "prerl_eval.cli",
                "run",
                "--ckpt",
                self.tiny,
                "--bench",
                "countdown",
                "--engine",
                "transformers",
            ),
            *("--limit", problems, "--n", n, "--max-tokens", 24, "--batch-size", 5, "--out", out, *flags),
        ]

    @cached_property
    def sampled(self) -> Path:
        """An undisturbed run of `sampling`."""
        self.finish(self.sampling(self.folder / "sampled"), self.folder / "log")
        return self.folder / "sampled"

    @cached_property
    def annotated(self) -> Path:
        """A copy of `sampled` with log-probs of the tiny model and words of the preset seal."""
        run = shutil.copytree(self.sampled, self.folder / "annotated")
        self.finish(scoring(run, self.tiny), self.folder / "log")
        self.finish(counting(run), self.folder / "log")
        return run


def scoring(run: Path, ckpt: Path, *flags: object) -> list[object]:
    return [*("prerl_eval.cli", "score", run, "--ckpt", ckpt, "--name", "x", "--per-token"), *flags]


def counting(run: Path) -> list[object]:
    """`prerl-behavior count --annotate`, with a lexicon whose words the tiny model says."""
    return ["behavior.cli", "count", run, "--lexicon", "seal", "--annotate"]


def content(run: Path) -> list[dict[str, object]]:
    """All rows but their times, in key order."""
    table = store.read_samples(run).drop_columns(list(TIMES))
    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in KEY])).to_pylist()


def annotation(run: Path, name: str) -> list[dict[str, object]]:
    """All rows of an annotation, in key order."""
    rows = read_annotations(run, name).to_pylist()
    return sorted(rows, key=lambda row: [str(row[column]) for column in (*KEY, "label", "start")])


def parts(run: Path, name: str | None = None) -> dict[str, bytes]:
    """The part files of a run, or of an annotation of it."""
    folder = annotation_folder(run, name) if name else run / "samples"
    return {part.name: part.read_bytes() for part in store.parts_in(folder)}


def unchanged(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    assert before.items() <= after.items(), "a stored part changed"


def one_line(said: str, command: str) -> str:
    """The last line of what a command said: its own, and no traceback."""
    assert "Traceback" not in said, said[-600:]
    last = said.rstrip().splitlines()[-1]
    assert last.startswith(f"{command}: "), last
    return last


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own of that size. Raises Skip where none can be mounted."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise Skip("cannot mount a small tmpfs here (needs root)")
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """Raises CalledProcessError where a process still has a file open there after a while."""
    for _ in range(50):
        done = subprocess.run(["umount", str(folder)], capture_output=True)
        if done.returncode == 0:
            return
        time.sleep(0.2)
    done.check_returncode()


def make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
