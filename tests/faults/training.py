"""Training that is killed, cut, stopped and prolonged: the run must end as if nothing had happened.

The runs are those of tests/test_train_run.py: DSRL on the shipped base, six updates, the first three of
them in P(y), checkpoints at every second. Equal means the same bits of weights, the same rollouts, and the
same metrics but for times.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prerl_eval.errors import UserError
from prerl_train.checkpoints import clear_partial, latest_checkpoint
from tests.faults.kills import kill_when
from tests.faults.stage import Stage
from tests.faults.trials import Fault, Trials
from tests.test_checkpoints import assert_whole, run_saving
from tests.test_train_run import DSRL, SMALL, STEPS, metrics, rollouts, same_weights, weights

SWITCH = 3
"""Updates of the warm-up."""


def training(out: Path, steps: int = STEPS) -> list[object]:
    return ["prerl_train.cli", DSRL[0], *SMALL, *DSRL[1:-1], steps, "--out", out]


def undisturbed(stage: Stage, steps: int = STEPS) -> Path:
    """A run of so many updates that nothing disturbed; made once."""
    run = stage.folder / f"trained-{steps}"
    if not run.exists():
        stage.finish(training(run, steps), stage.folder / "log")
    return run


def check_equal(run: Path, whole: Path, steps: int = STEPS) -> None:
    assert same_weights(weights(run, steps), weights(whole, steps)), "the weights differ"
    assert rollouts(run).equals(rollouts(whole)), "the rollouts differ"
    assert metrics(run) == metrics(whole), "the metrics differ"


def lines(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def kill_at_lines(stage: Stage, trials: Trials, choices: list[int]) -> None:
    """Kill once so many updates are written; 0: while the first is made."""
    whole = undisturbed(stage)
    for number in range(trials.times):
        done = choices[number % len(choices)]
        with trials.one(f"after update {done}"):
            folder = trials.place(f"{done}-{number}")
            run, log = folder / "run", folder / "log"
            command = stage.start(training(run), log)

            def reached(run: Path = run, done: int = done) -> bool:
                return (run / "run.json").exists() and lines(run) >= done

            kill_when(command, reached)
            assert (lines(run) < SWITCH) == (done < SWITCH), f"the kill came late: {lines(run)} updates"
            stage.finish(training(run), log)
            check_equal(run, whole)


def kill_in_warm_up(stage: Stage, trials: Trials) -> None:
    kill_at_lines(stage, trials, [2, 0, 1])


def kill_after_switch(stage: Stage, trials: Trials) -> None:
    kill_at_lines(stage, trials, [4, 3, 5])


def kill_saving(stage: Stage, trials: Trials) -> None:
    """What tests/saving.py leaves: a process killed at each file operation of two saves."""
    out = trials.place("saves")
    run_saving("kills", stage.tiny, out)
    for run in sorted([*out.glob("kill-*"), *out.glob("timed-*")])[: trials.times]:
        with trials.one(run.name):
            clear_partial(run)  # what every start does
            assert latest_checkpoint(run, 1) is not None, "no checkpoint is left"
            for checkpoint in run.glob("checkpoint-*"):
                assert_whole(checkpoint)


def prolong(stage: Stage, trials: Trials) -> None:
    whole = undisturbed(stage, STEPS + 2)
    with trials.one(f"{STEPS} to {STEPS + 2} updates"):
        run = shutil.copytree(undisturbed(stage), trials.place("longer") / "run")
        said = stage.finish(training(run, STEPS + 2), run.parent / "log")
        assert f"{STEPS + 2} updates, 2 to go" in said
        check_equal(run, whole, STEPS + 2)


def stop_training(stage: Stage, trials: Trials) -> None:
    whole = undisturbed(stage)
    for number in range(trials.times):
        sent, code = [(signal.SIGTERM, 143), (signal.SIGINT, 130)][number % 2]
        with trials.one(f"signal {sent.name}"):
            folder = trials.place(f"{number}")
            run, log = folder / "run", folder / "log"
            command = stage.start(training(run), log)
            done = trials.rng.randint(1, STEPS - 2)
            while lines(run) < done and command.poll() is None:
                time.sleep(0.01)
            command.send_signal(sent)
            assert command.wait() == code, command.said()[-600:]
            assert "Traceback" not in command.said()
            stage.finish(training(run), log)
            check_equal(run, whole)


def damage_checkpoint(
    stage: Stage, trials: Trials, name: str, damage: Callable[[bytes, Trials], bytes]
) -> None:
    """Of the newest checkpoint: the one before it must be taken, and the same command must mend all."""
    whole = undisturbed(stage)
    for number in range(trials.times):
        with trials.one(f"damage {number}"):
            run = shutil.copytree(whole, trials.place(f"{number}") / "run")
            file = run / f"checkpoint-{STEPS}" / name
            file.write_bytes(damage(file.read_bytes(), trials))
            found: Path | None = None
            with suppress(UserError):  # a line that names the file is survival too
                found = latest_checkpoint(run, 1)
                assert found == run / f"checkpoint-{STEPS - 2}", f"{found} is taken"
            if number == 0 and found is not None:
                said = stage.finish(training(run), run.parent / "log")
                assert f"{file.parent} is torn ({name}" in said or name == "prerl.json", said[-600:]
                check_equal(run, whole)
            shutil.rmtree(run)


def cut_metrics(stage: Stage, trials: Trials) -> None:
    """Cut anywhere, then resumed from the checkpoint before the last."""
    whole = undisturbed(stage)
    for number in range(trials.times):
        with trials.one(f"cut {number}"):
            run = shutil.copytree(whole, trials.place(f"{number}") / "run")
            shutil.rmtree(run / f"checkpoint-{STEPS}")
            file = run / "metrics.jsonl"
            before = file.read_bytes()
            file.write_bytes(before[: trials.rng.randint(0, len(before) - 1)])
            left = len(metrics(run))
            said = stage.finish(training(run), run.parent / "log")
            lost = max(0, STEPS - 2 - left)
            assert (f"metrics.jsonl lacks {lost} of the updates" in said) == bool(lost), said[-600:]
            kept = metrics(whole)
            assert metrics(run) == kept[: min(left, STEPS - 2)] + kept[STEPS - 2 :]


def cut(data: bytes, trials: Trials) -> bytes:
    """Shorter by more than a last line's end, without which a JSON file says all that it did."""
    said = len(data.rstrip(b"\n"))
    return data[: trials.rng.choice([0, 1, said - 1, trials.rng.randrange(said)])]


def flip(data: bytes, trials: Trials) -> bytes:
    place = trials.rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << trials.rng.randrange(8)]) + data[place + 1 :]


EQUAL = "the same command goes on to the same bits of weights, rollouts and metrics as the undisturbed run"
SKIPPED = "the checkpoint is skipped with a warning that names the file, and the run ends with the same bits"


def _damaged(name: str, verb: str, how: Callable[[bytes, Trials], bytes]) -> Fault:
    def attempt(stage: Stage, trials: Trials) -> None:
        damage_checkpoint(stage, trials, name, how)

    done = "cut at a random byte, 0, 1 and the last" if how is cut else "a random bit of it is flipped"
    return Fault("torn", f"{name} of a checkpoint {verb}", done, SKIPPED, 20, 3, attempt)


KILLS = [
    Fault(
        "train",
        "kill -9 of prerl-train dsrl in the warm-up",
        "SIGKILL before or after an update in P(y)",
        EQUAL,
        3,
        1,
        kill_in_warm_up,
    ),
    Fault(
        "train",
        "kill -9 of prerl-train dsrl after the switch",
        "SIGKILL after an update in P(y given x)",
        EQUAL,
        3,
        1,
        kill_after_switch,
    ),
    Fault(
        "train",
        "kill -9 while checkpoints are saved",
        "SIGKILL at each file operation of two saves, and at 12 random moments",
        "each checkpoint that is there is whole, and there is one",
        100,
        100,
        kill_saving,
    ),
]

TORN = [
    *(
        _damaged(name, verb, how)
        for name in ("model.safetensors", "optimizer.pt", "rng_state.pth")
        for verb, how in (("cut", cut), ("with a changed bit", flip))
    ),
    _damaged("prerl.json", "cut", cut),
    Fault(
        "torn",
        "metrics.jsonl cut",
        "cut at a random byte, and the last checkpoint removed",
        "the run goes on; a line says how many updates are lost; the others are unchanged",
        4,
        1,
        cut_metrics,
    ),
]

RESUME = [
    Fault(
        "resume",
        "more --steps for prerl-train dsrl",
        "6 updates, then 8",
        "equal to a run of 8 in every bit",
        1,
        1,
        prolong,
    )
]

SIGNALS = [
    Fault(
        "signals",
        "SIGTERM and SIGINT to prerl-train dsrl",
        "sent after a random update",
        f"exit code 143 or 130, no traceback; {EQUAL}",
        4,
        1,
        stop_training,
    )
]
