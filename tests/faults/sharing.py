"""Two writers of one folder, signals that ask a command to end, and runs that are continued in other ways."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prerl_eval import store
from tests.behavior_server import configure
from tests.behavior_traces import judge_run
from tests.faults.kills import Work, stored_rows
from tests.faults.stage import BASE, Stage, annotation, content, counting, one_line, parts, scoring, unchanged
from tests.faults.torn import judging
from tests.faults.training import check_equal, training, undisturbed
from tests.faults.trials import Fault, Trials
from tests.test_behavior_judge import labels

Command = Callable[[Path], Sequence[object]]


def collide(
    stage: Stage, trials: Trials, command: Command, run: Path, lock: Path, check: Callable[[], None]
) -> None:
    """A second of the same command while the first holds the lock."""
    with trials.one(f"{command(run)[1]}, one after the other"):
        first = stage.start(command(run), run.parent / "log")
        while not (lock.is_file() and lock.read_text()):
            assert first.poll() is None, first.said()[-600:]
            time.sleep(0.005)
        line = one_line(
            stage.finish(command(run), run.parent / "second", code=2), str(PROGRAMS[command(run)[0]])
        )
        assert "is being written by process" in line, line
        assert first.wait() == 0, first.said()[-600:]
        check()


PROGRAMS = {
    "prerl_eval.cli": "prerl-eval",
    "prerl_train.cli": "prerl-train",
    "behavior.cli": "prerl-behavior",
}


def second_writer(stage: Stage, trials: Trials) -> None:
    run = trials.place("run") / "run"
    whole = content(stage.sampled)

    def sampled() -> None:
        assert content(run) == whole

    collide(stage, trials, stage.sampling, run, run / "lock", sampled)
    if trials.times < 2:
        return
    scored = shutil.copytree(stage.sampled, trials.place("scored") / "run")

    def same_scores() -> None:
        assert annotation(scored, "logp-x") == annotation(stage.annotated, "logp-x")

    collide(
        stage,
        trials,
        lambda run: scoring(run, stage.tiny),
        scored,
        scored / "annotations" / "logp-x" / "lock",
        same_scores,
    )
    judged = judge_run(trials.place("judged") / "run", 40)
    configure(stage.server, delay=0.2)

    def all_judged() -> None:
        assert sorted(labels(judged)) == list(range(40))

    lock = judged / "annotations" / "judge-keyword-judge" / "lock"
    collide(stage, trials, lambda run: judging(stage, run), judged, lock, all_judged)
    trained = trials.place("trained") / "run"

    def same_training() -> None:
        check_equal(trained, undisturbed(stage))

    collide(stage, trials, training, trained, trained / "lock", same_training)


def race(stage: Stage, trials: Trials) -> None:
    """Three of one command at the same moment."""
    wanted = content(stage.sampled)
    for number in range(trials.times):
        with trials.one(f"race {number}"):
            folder = trials.place(f"{number}")
            run = folder / "run"
            started = [stage.start(stage.sampling(run), folder / f"log-{n}") for n in range(3)]
            codes = sorted(command.wait() for command in started)
            assert codes[0] == 0, [command.said()[-300:] for command in started]
            # One that started late found nothing left to do.
            assert set(codes) <= {0, 2}, codes
            for command in started:
                assert command.returncode == 0 or "is being written by" in one_line(
                    command.said(), "prerl-eval"
                )
            assert content(run) == wanted


def stop_sampling(stage: Stage, trials: Trials) -> None:
    work = Work(problems=80, n=16)
    whole = trials.place("whole") / "run"
    stage.finish(work.command(whole), whole.parent / "log")
    wanted = content(whole)
    for number in range(trials.times):
        sent, code = [(signal.SIGINT, 130), (signal.SIGTERM, 143)][number % 2]
        with trials.one(f"signal {sent.name} {number}"):
            run = trials.place(f"{number}") / "run"
            log = run.parent / "log"
            command = stage.start(work.command(run), log)
            while not (run / "run.json").exists() and command.poll() is None:
                time.sleep(0.01)
            time.sleep(trials.rng.uniform(0.3, 2.5))
            command.send_signal(sent)
            assert command.wait() == code, command.said()[-600:]
            assert "Traceback" not in command.said()
            before = parts(run)
            assert stored_rows(run) == len(store.stored_keys(run))
            stage.finish(work.command(run), log)
            unchanged(before, parts(run))
            assert content(run) == wanted


def stop_annotating(stage: Stage, trials: Trials) -> None:
    """Scoring in small batches, and counting, at a random moment after they have begun."""
    run = trials.place("long") / "run"
    stage.finish(Work(problems=50, n=8).command(run), run.parent / "log")
    commands: list[tuple[Command, str]] = [
        (lambda run: scoring(run, BASE, "--batch-tokens", 60), "logp-x"),
        (counting, "words-seal"),
    ]
    wholes = {}
    for command, name in commands:
        whole = shutil.copytree(run, run.parent / name)
        stage.finish(command(whole), run.parent / "log")
        wholes[name] = annotation(whole, name)
    for number in range(trials.times):
        command, name = commands[number % 2]
        sent, code = [(signal.SIGINT, 130), (signal.SIGTERM, 143)][number // 2 % 2]
        with trials.one(f"signal {sent.name} to {command(run)[1]}"):
            mine = shutil.copytree(run, trials.place(f"{number}") / "run")
            log = mine.parent / "log"
            started = stage.start(command(mine), log)
            while not (mine / "annotations" / name / "about.json").exists() and started.poll() is None:
                time.sleep(0.001)
            time.sleep(trials.rng.uniform(0, 1) if name == "logp-x" else 0)
            started.send_signal(sent)
            # Counting may be through by then.
            assert started.wait() in (code, 0 if name == "words-seal" else code), started.said()[-600:]
            assert "Traceback" not in started.said()
            before = parts(mine, name)
            stage.finish(command(mine), log)
            unchanged(before, parts(mine, name))
            assert annotation(mine, name) == wholes[name]


def continue_sampling(stage: Stage, trials: Trials) -> None:
    """A run that grew in two steps against one that was asked for all at once; and other batches."""
    for number, (first, flags) in enumerate(
        [
            ((6, 2), ()),
            ((3, 4), ()),
            ((2, 1), ("--workers", 2)),
            ((6, 3), ("--workers", 1)),
        ][: trials.times]
    ):
        with trials.one(f"{first[0]} problems x {first[1]}, then 6 x 4 {flags}"):
            run = trials.place(f"{number}") / "run"
            stage.finish(stage.sampling(run, *first), run.parent / "log")
            before = parts(run)
            stage.finish(stage.sampling(run, 6, 4, *flags), run.parent / "log")
            unchanged(before, parts(run))
            assert content(run) == content(stage.sampled)


def change_batches(stage: Stage, trials: Trials) -> None:
    with trials.one("--batch-size 5, then 6"):
        run = shutil.copytree(stage.sampled, trials.place("batches") / "run")
        command = stage.sampling(run)
        command[command.index("--batch-size") + 1] = 6
        line = one_line(stage.finish(command, run.parent / "log", code=2), "prerl-eval")
        assert "batch_size: 5 -> 6" in line, line
        assert content(run) == content(stage.sampled)


EQUAL = "equals the undisturbed one in all but times"

WRITERS = [
    Fault(
        "writers",
        "a second writer of one folder",
        "run, score, judge and train, each given again while the first holds the lock",
        "the second ends with 2 and one line, the first's result equals the undisturbed one",
        4,
        1,
        second_writer,
    ),
    Fault(
        "writers",
        "three writers at the same moment",
        "prerl-eval run, three times at once",
        f"one does the work, the others end with 2 and one line or find it done; the run {EQUAL}",
        6,
        1,
        race,
    ),
]
SIGNALS = [
    Fault(
        "signals",
        "SIGINT and SIGTERM to prerl-eval run",
        "sent at a random moment of the first seconds",
        f"exit code 130 or 143, no traceback, what is stored stays; finished, the run {EQUAL}",
        8,
        1,
        stop_sampling,
    ),
    Fault(
        "signals",
        "SIGINT and SIGTERM to score and count --annotate",
        "sent at a random moment",
        "exit code 130 or 143, no traceback, what is stored stays; finished, the annotation equals the "
        "undisturbed one",
        8,
        2,
        stop_annotating,
    ),
]
RESUME = [
    Fault(
        "resume",
        "--n and --limit raised, --workers changed",
        "a smaller run, then the larger one in the same folder",
        f"stored parts keep their bytes; the run {EQUAL}, which was asked for all at once",
        4,
        1,
        continue_sampling,
    ),
    Fault(
        "resume",
        "another --batch-size",
        "given in the folder of a run",
        "refused in one line, since other batches may change last bits; nothing changes",
        1,
        1,
        change_batches,
    ),
]
