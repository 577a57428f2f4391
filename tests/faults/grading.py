"""Answers that hang or kill their grader, and programs that attack their sandbox.

Completions are imported by `prerl-eval grade`, which grades as runs and rewards do.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

from prerl_eval import store
from prerl_eval.errors import UserError
from prerl_eval.grading.pool import CPU_SECONDS
from prerl_eval.sandbox import find_isolation
from tests.attacks import attacks, run_attack
from tests.faults.stage import Skip, Stage
from tests.faults.trials import Fault, Trials
from tests.test_grade_file import CARD
from tests.test_grading_pool import IGNORES_ITS_ALARM, SLOW, box

HANGING = (SLOW, IGNORES_ITS_ALARM, r"\sum_{k=1}^{10^{8}} \cos(k^3)", "9^{9^{9^{9}}}")
"""Answers that no comparison ends in time for."""

GOOD = 60
"""Answers beside them that need computer algebra."""


def importing(folder: Path, answers: list[str], golds: list[str]) -> list[object]:
    """`prerl-eval grade` of these answers, one problem each, with one worker."""
    problems = [{"id": str(n), "problem": f"What is {n}?", "answer": gold} for n, gold in enumerate(golds)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    (folder / "sums.toml").write_text(CARD)
    rows = [{"id": str(n), "out": box(answer)} for n, answer in enumerate(answers)]
    (folder / "g.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        *("prerl_eval.cli", "grade", folder / "g.jsonl", "--bench", folder / "sums.toml"),
        *("--response-field", "out", "--out", folder / "run", "--workers", 1),
    ]


def statuses(run: Path) -> list[str]:
    rows = store.read_samples(run).to_pylist()
    return [row["status"] for row in sorted(rows, key=lambda row: int(row["problem_id"]))]


def numbers() -> tuple[list[str], list[str]]:
    """Right answers, and their golds."""
    return [rf"\sqrt{{{n**2 + 1}}}" for n in range(GOOD)], [rf"(1+{n}^2)^{{1/2}}" for n in range(GOOD)]


def hang(stage: Stage, trials: Trials) -> None:
    """Among right answers; a hanging one may cost its bound of time, and no other verdict."""
    answers, golds = numbers()
    folder = trials.place("good")
    start = time.monotonic()
    stage.finish(importing(folder, answers, golds), folder / "log")
    alone = time.monotonic() - start
    assert set(statuses(folder / "run")) == {"correct"}
    for number in range(trials.times):
        answer = HANGING[number % len(HANGING)]
        with trials.one(f"{answer} in place {number}"):
            folder = trials.place(f"hang-{number}")
            place = trials.rng.randrange(GOOD)
            mixed = [*answers[:place], answer, *answers[place:]]
            start = time.monotonic()
            stage.finish(importing(folder, mixed, [*golds[:place], "5", *golds[place:]]), folder / "log")
            took = time.monotonic() - start
            found = statuses(folder / "run")
            assert found.pop(place) in ("timeout", "wrong", "error"), "the hanging answer is taken for right"
            assert Counter(found) == {"correct": GOOD}
            # The clock's bound is four times that of CPU time, and a second; a new worker takes some too.
            assert took < 2 * alone + 4 * CPU_SECONDS + 1 + 10, f"{took:.0f} s, without it {alone:.0f} s"


def children(parent: int, mark: str) -> list[int]:
    """Descendants of a process whose command line holds `mark`."""
    family, found = {parent}, []
    for _ in range(4):
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, above = int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
                if above in family and pid not in family:
                    family.add(pid)
                    if mark in (stat.parent / "cmdline").read_text():
                        found.append(pid)
            except OSError:
                continue
    return found


def crash(stage: Stage, trials: Trials) -> None:
    """Every process of the grader that does algebra is killed while it works on an answer."""
    answers, golds = numbers()
    for number in range(trials.times):
        with trials.one(f"crash {number}"):
            folder = trials.place(f"crash-{number}")
            run, log = folder / "run", folder / "log"
            command = importing(folder, [SLOW, *answers], ["5", *golds])
            started = stage.start(command, log)
            victims: list[int] = []
            while len(victims) < 2 and started.poll() is None:
                victims = children(started.pid, "forkserver")
                time.sleep(0.01)
            time.sleep(trials.rng.uniform(0.1, 1))
            # The first is the server that the workers are forked from.
            killed = children(started.pid, "forkserver")[1:]
            assert killed, "it had ended before anything was killed"
            for victim in killed:
                os.kill(victim, signal.SIGKILL)
            assert started.wait() == 0, started.said()[-600:]
            found = Counter(statuses(run))
            assert found.total() == GOOD + 1, "rows are missing"
            assert set(found) <= {"correct", "error", "timeout"}, f"a verdict is wrong: {dict(found)}"
            stage.finish(["prerl_eval.cli", "regrade", run, "--workers", 1], log)
            assert Counter(statuses(run)) == {"correct": GOOD, "timeout": 1}, "regrade leaves errors"


def attack_sandbox(stage: Stage, trials: Trials) -> None:
    """The programs of tests/cases/attacks, each in a world of its own."""
    try:
        isolation = find_isolation()
    except UserError as error:
        raise Skip(str(error)) from error
    listed = attacks()
    for attack in listed if trials.times >= len(listed) else trials.rng.sample(listed, trials.times):
        with trials.one(attack.name):
            said, changes = run_attack(attack, isolation)
            assert (said, changes) == (attack.expect, []), f"{said} instead of {attack.expect}; {changes}"


FAULTS = [
    Fault(
        "grading",
        "answers that hang their grader",
        f"one among {GOOD} right ones, one worker",
        "every row has its verdict, the hanging one is not right, and it costs at most its bound of time",
        8,
        1,
        hang,
    ),
    Fault(
        "grading",
        "grading processes that crash",
        "SIGKILL of the grading process at a random moment of a slow comparison",
        "every row has a verdict, none is wrong but `error`, and `regrade` mends those",
        4,
        1,
        crash,
    ),
    Fault(
        "sandbox",
        "programs that attack their sandbox",
        "each program of tests/cases/attacks is run as an answer",
        "the expected verdict; no file, process, connection or kernel setting outside has changed",
        1000,
        4,
        attack_sandbox,
    ),
]
