"""Disks that fill up: the command stops with one line, loses nothing stored, and goes on once there is room.

Each try mounts a small file system and gives the command a random share of the room that it wants. Where none
can be mounted (it needs root), only files that may not grow are tried.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behavior.judge.cache import read_log
from prerl_eval.annotations import annotation_folder
from tests.faults.kills import Work
from tests.faults.stage import (
    Stage,
    annotation,
    content,
    counting,
    make_room,
    one_line,
    parts,
    scoring,
    small_disk,
    unchanged,
)
from tests.faults.torn import judged, judging
from tests.faults.training import check_equal, training, undisturbed
from tests.faults.trials import Fault, Trials
from tests.test_behavior_judge import NAME, labels

PAGE = 4
"""KiB, the smallest piece of a disk."""


@dataclass(frozen=True)
class Filled:
    """What a full disk is done to. begin: makes what the command starts from.

    stored: what must still be there after the failure, with the same bytes. check: of the finished run.
    """

    command: Callable[[Path], Sequence[object]]
    program: str
    begin: Callable[[Path], object]
    stored: Callable[[Path], dict[str, Any]]
    check: Callable[[Path], None]


def fill(stage: Stage, trials: Trials, filled: Filled) -> None:
    """Let the command run out of room at a random place, then give it room."""
    before, after = _room(stage, trials.place("room"), filled)
    for number in range(trials.times):
        with trials.one(f"try {number}"):
            room = before + PAGE * trials.rng.randrange(1, (after - before) // PAGE)
            _run_out_of_room(stage, trials.place(f"{number}"), filled, room)


def _room(stage: Stage, folder: Path, filled: Filled) -> tuple[int, int]:
    """KiB that are taken before the command, and after it where it has all the room that it wants."""
    disk = folder / "disk"
    with small_disk(disk, 200 * 1024):
        filled.begin(disk / "run")
        before = shutil.disk_usage(disk).used // 1024
        stage.finish(filled.command(disk / "run"), folder / "log")
        return before, shutil.disk_usage(disk).used // 1024


def _run_out_of_room(stage: Stage, folder: Path, filled: Filled, room: int) -> None:
    disk, log = folder / "disk", folder / "log"
    run = disk / "run"
    with small_disk(disk, room):
        filled.begin(run)
        line = one_line(stage.finish(filled.command(run), log, code=1), filled.program)
        assert "make room" in line, line
        before = filled.stored(run)
        make_room(disk)
        stage.finish(filled.command(run), log)
        unchanged(before, filled.stored(run))
        filled.check(run)


def nothing(folder: Path) -> None:
    """A command that makes its folder begins with none."""


def fill_sampling(stage: Stage, trials: Trials) -> None:
    work = Work(problems=20, n=8, ckpt=stage.tiny, batch_size=16)
    whole = trials.place("whole") / "run"
    stage.finish(work.command(whole), whole.parent / "log")
    wanted = content(whole)

    def check(run: Path) -> None:
        assert content(run) == wanted

    fill(stage, trials, Filled(work.command, "prerl-eval", nothing, parts, check))


def fill_scoring(stage: Stage, trials: Trials) -> None:
    _fill_annotation(stage, trials, lambda run: scoring(run, stage.tiny), "prerl-eval", "logp-x")


def fill_counting(stage: Stage, trials: Trials) -> None:
    _fill_annotation(stage, trials, counting, "prerl-behavior", "words-seal")


def _fill_annotation(
    stage: Stage, trials: Trials, command: Callable[[Path], Sequence[object]], program: str, name: str
) -> None:
    wanted = annotation(stage.annotated, name)

    def check(run: Path) -> None:
        assert annotation(run, name) == wanted

    def begin(folder: Path) -> None:
        shutil.copytree(stage.sampled, folder)

    def stored(run: Path) -> dict[str, Any]:
        return parts(run, name)

    fill(stage, trials, Filled(command, program, begin, stored, check))


def fill_judging(stage: Stage, trials: Trials) -> None:
    whole = judged(stage, trials)

    def begin(folder: Path) -> None:
        shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("annotations"))

    def stored(run: Path) -> dict[str, Any]:
        return read_log(annotation_folder(run, NAME) / "replies.jsonl").replies

    def check(run: Path) -> None:
        assert labels(run) == labels(whole)

    fill(
        stage,
        trials,
        Filled(lambda run: judging(stage, run), "prerl-behavior", begin, stored, check),
    )


def fill_training(stage: Stage, trials: Trials) -> None:
    """What is stored beyond the last checkpoint may go: it is made again."""
    whole = undisturbed(stage)

    def check(run: Path) -> None:
        check_equal(run, whole)

    fill(stage, trials, Filled(training, "prerl-train", nothing, lambda run: {}, check))


def limit_files(stage: Stage, trials: Trials) -> None:
    """Of commands as they write, without root: no file may grow beyond a random number of bytes."""
    work = Work(problems=12, n=8, ckpt=stage.tiny, batch_size=16)
    whole = trials.place("whole") / "run"
    stage.finish(work.command(whole), whole.parent / "log")
    largest = max(file.stat().st_size for file in whole.rglob("*") if file.is_file())
    for number in range(trials.times):
        with trials.one(f"limit {number}"):
            run = trials.place(f"{number}") / "run"
            log, limit = run.parent / "log", trials.rng.randrange(largest // 8, largest // 3)
            # Its log is a file too, and smaller.
            said = stage.finish(work.command(run), log, code=1, largest_file=limit)
            assert "make room" in one_line(said, "prerl-eval"), said
            stage.finish(work.command(run), log)
            assert content(run) == content(whole)


STOPPED = (
    "exit code 1, one line says to make room, stored parts keep their bytes; the same command then ends "
)
EQUAL = STOPPED + "as the undisturbed one"
FULL = "a file system that is full after a random number of KiB"

FAULTS = [
    Fault("disk", "full disk under prerl-eval run", FULL, EQUAL, 6, 1, fill_sampling),
    Fault("disk", "full disk under prerl-eval score", FULL, EQUAL, 3, 1, fill_scoring),
    Fault("disk", "full disk under count --annotate", FULL, EQUAL, 3, 1, fill_counting),
    Fault("disk", "full disk under judge", FULL, STOPPED + "with the same labels", 4, 1, fill_judging),
    Fault(
        "disk",
        "full disk under prerl-train dsrl",
        FULL,
        "exit code 1, one line says to make room; the same command then ends with the same bits",
        4,
        1,
        fill_training,
    ),
    Fault(
        "disk",
        "no room for a file of prerl-eval run",
        "no file may grow beyond a random number of bytes",
        EQUAL,
        4,
        1,
        limit_files,
    ),
]
