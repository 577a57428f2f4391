"""kill -9 of commands that sample, score and count: at random moments, and at every file operation.

The kills of `prerl-eval run` strike at a random number of stored rows, ten to a run. After each, every
part file is what it was, byte for byte. After the last resume the run equals the undisturbed one in every
column but the times, each key once, and nothing stored was generated again.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from prerl_eval import store
from prerl_eval.annotations import annotation_folder
from tests.faults.launcher import Command
from tests.faults.stage import BASE, Stage, annotation, content, counting, parts, scoring, unchanged
from tests.faults.trials import Fault, Trials

KILLS_PER_RUN = 10


@dataclass(frozen=True)
class Work:
    """The job that is disturbed: a checkpoint on the first `problems` of countdown, n samples each."""

    problems: int
    n: int
    ckpt: Path = BASE
    batch_size: int = 16

    @property
    def rows(self) -> int:
        return self.problems * self.n

    def command(self, out: Path) -> list[object]:
        return [
            *("prerl_eval.cli", "run", "--ckpt", self.ckpt, "--bench", "countdown", "--out", out),
            *("--limit", self.problems, "--n", self.n, "--batch-size", self.batch_size),
            *("--engine", "transformers"),
        ]


def stored_rows(run: Path) -> int:
    return sum(pq.ParquetFile(part).metadata.num_rows for part in store.parts(run))


def fingerprints(run: Path) -> dict[str, str]:
    return {part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in store.parts(run)}


def kill(command: Command) -> None:
    command.send_signal(signal.SIGKILL)
    command.wait()
    deadline = time.monotonic() + 20
    while orphans(command.pid):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.05)


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


def kill_when(command: Command, reached: Callable[[], bool]) -> None:
    """SIGKILL the command once something is true of its files. Raises AssertionError where it ends before."""
    while not reached():
        if command.poll() is not None:
            raise AssertionError(f"it ended ({command.returncode}) before its kill: {command.said()[-600:]}")
        time.sleep(0.01)
    kill(command)


def torment(stage: Stage, work: Work, kills: int, folder: Path, rng: random.Random) -> list[int]:
    """Kill one run `kills` times on its way to the end; the stored rows at each. Raises AssertionError."""
    out, log = folder / "run", folder / "log"
    found: list[int] = []
    before: dict[str, str] = {}
    for number in range(kills):
        stored = found[-1] if found else 0
        # Leaves room for the kills to come: each start stores rows in bursts.
        ceiling = work.rows * (number + 1) // (kills + 1)
        target = max(rng.randint(min(stored + 1, ceiling), ceiling), stored)
        kill_when(stage.start(work.command(out), log), lambda wanted=target: stored_rows(out) >= wanted)
        (out / "samples" / ".part-99999.tmp").write_bytes(os.urandom(64))
        after = fingerprints(out)
        assert before.items() <= after.items(), f"kill {number}: a stored part changed"
        found.append(stored_rows(out))
        assert len(store.stored_keys(out)) == found[-1], f"kill {number}: a key is stored twice"
        before = after
    said = stage.finish(work.command(out), log)
    to_go = re.search(r"samples, ([\d,]+) to go", said)
    assert to_go, said
    assert int(to_go[1].replace(",", "")) == work.rows - found[-1], (
        "the resumed run asked for more than was missing"
    )
    assert before.items() <= fingerprints(out).items(), "a stored part changed while the run was finished"
    assert len(store.stored_keys(out)) == stored_rows(out) == work.rows
    return found


def kill_sampling(stage: Stage, trials: Trials) -> None:
    work = Work(problems=200, n=16) if trials.times > KILLS_PER_RUN else Work(problems=60, n=8)
    undisturbed = trials.place("undisturbed")
    stage.finish(work.command(undisturbed / "run"), undisturbed / "log")
    wanted = content(undisturbed / "run")
    for first in range(0, trials.times, KILLS_PER_RUN):
        kills = min(KILLS_PER_RUN, trials.times - first)
        with trials.one(f"kills {first + 1} to {first + kills}", kills):
            trial = trials.place(f"trial-{first}")
            torment(stage, work, kills, trial, trials.rng)
            assert content(trial / "run") == wanted, "the finished run differs from the undisturbed one"
            shutil.rmtree(trial)


def at_every_operation(
    stage: Stage,
    trials: Trials,
    command: Callable[[Path], Sequence[object]],
    look: Callable[[Path], object],
    start: Path | None = None,
    name: str | None = None,
) -> None:
    """Kill at the 1st, 2nd, ... file operation until the command lives to its end; then finish each.

    start: a run to begin from, copied. look: what must be equal in the end. name: the annotation whose parts
    must stay, instead of the samples.
    """

    def fresh(label: str) -> tuple[Path, Path]:
        folder = trials.place(label)
        if start is not None:
            shutil.copytree(start, folder / "run")
        return folder / "run", folder / "log"

    whole, log = fresh("undisturbed")
    stage.finish(command(whole), log)
    wanted = look(whole)
    for number in range(1, trials.times + 1):
        run, log = fresh(f"operation-{number}")
        victim = stage.start(command(run), log, die_at=(run, number))
        if victim.wait() == 0:
            break
        with trials.one(f"operation {number}"):
            assert victim.returncode == -signal.SIGKILL, victim.said()[-600:]
            before = parts(run, name)
            stage.finish(command(run), log)
            unchanged(before, parts(run, name))
            assert look(run) == wanted, "the finished run differs from the undisturbed one"
            shutil.rmtree(run)


def sampling_operations(stage: Stage, trials: Trials) -> None:
    at_every_operation(stage, trials, stage.sampling, content)


def scoring_operations(stage: Stage, trials: Trials) -> None:
    at_every_operation(
        stage,
        trials,
        lambda run: scoring(run, stage.tiny),
        lambda run: annotation(run, "logp-x"),
        stage.sampled,
        "logp-x",
    )


def counting_operations(stage: Stage, trials: Trials) -> None:
    at_every_operation(
        stage, trials, counting, lambda run: annotation(run, "words-seal"), stage.sampled, "words-seal"
    )


def kill_scoring(stage: Stage, trials: Trials) -> None:
    """On its way to the end, each time after one more part is stored."""
    run = trials.place("score") / "run"
    stage.finish(Work(problems=50, n=8).command(run), run.parent / "log")
    whole = shutil.copytree(run, run.with_name("whole"))
    # Small batches: it takes some seconds, and parts are stored every two.
    command = scoring(run, BASE, "--batch-tokens", 60)
    stage.finish(scoring(whole, BASE, "--batch-tokens", 60), run.parent / "log")
    wanted = annotation(whole, "logp-x")
    folder = annotation_folder(run, "logp-x")
    before: dict[str, bytes] = {}
    with trials.one("kills on the way to the end", trials.times):
        for _ in range(trials.times):
            started = stage.start(command, run.parent / "log")
            had, wait = len(before), time.monotonic() + trials.rng.uniform(0, 1)

            def reached(had: int = had, wait: float = wait) -> bool:
                return len(store.parts_in(folder)) > had and time.monotonic() > wait

            kill_when(started, reached)
            after = parts(run, "logp-x")
            unchanged(before, after)
            before = after
        stage.finish(command, run.parent / "log")
        unchanged(before, parts(run, "logp-x"))
        assert annotation(run, "logp-x") == wanted, "the finished scores differ from the undisturbed ones"


EQUAL = "stored parts keep their bytes; the finished {} equals the undisturbed one bit for bit"
EVERY = (
    "SIGKILL at its 1st, 2nd, 3rd ... opening for writing, renaming or removing of a file; same command again"
)

FAULTS = [
    Fault(
        "kill",
        "kill -9 of prerl-eval run",
        "SIGKILL at a random number of stored rows, ten to a run of 3,200; same command again",
        "no stored part changes, no process is left, only missing rows are sampled, the finished run "
        "equals the undisturbed one in all but times",
        50,
        2,
        kill_sampling,
    ),
    Fault(
        "kill",
        "kill -9 of run at each file operation",
        EVERY,
        EQUAL.format("run"),
        60,
        3,
        sampling_operations,
    ),
    Fault(
        "kill",
        "kill -9 of prerl-eval score",
        "SIGKILL each time another part of scores is stored; same command again",
        EQUAL.format("annotation"),
        3,
        1,
        kill_scoring,
    ),
    Fault(
        "kill",
        "kill -9 of score at each file operation",
        EVERY,
        EQUAL.format("annotation"),
        40,
        3,
        scoring_operations,
    ),
    Fault(
        "kill",
        "kill -9 of count --annotate at each file operation",
        EVERY,
        EQUAL.format("annotation"),
        40,
        3,
        counting_operations,
    ),
]
