"""A judge whose server fails, and whose process is killed: every item in the end, no reply bought twice.

The server is tests/behavior_server.py, a real one in a process of its own. Its faults are drawn by the
seed; each fault that it has made is one try.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from behavior.judge.cache import read_log
from prerl_eval.annotations import annotation_folder, read_about
from tests.behavior_server import FAULTS as SERVER_FAULTS
from tests.behavior_server import configure, stats
from tests.behavior_traces import LABELS, judge_run
from tests.faults.kills import kill_when
from tests.faults.stage import Stage
from tests.faults.torn import judging
from tests.faults.trials import Fault, Trials
from tests.test_behavior_judge import NAME, cost, labels, log_lines

PRICES = ("--price-in", 1.0, "--price-out", 4.0)
ITEMS = 250
TOLD = {
    "429": "429, slow down",
    "500": "500, half of them billed",
    "slow": "no reply in time, billed",
    "cut": "connection dropped in the reply, billed",
    "empty": "empty reply",
    "schema": "broken or wrong JSON",
    "refusal": "refusal",
    "forged": "reply that forges the trace's marker",
}


def fail(stage: Stage, trials: Trials) -> None:
    """Judge until the server has made so many faults: 30% of its replies."""
    number = 0
    while trials.tried < trials.times:
        seed = trials.rng.randrange(10_000)
        configure(stage.server, faults=0.3, seed=seed, slow=1.5)
        items = min(ITEMS, 4 * (trials.times - trials.tried))
        run = judge_run(trials.place(f"{number}") / "run", items)
        number += 1
        command = judging(stage, run, *PRICES, "--max-cost", 20, "--timeout", 1)
        stage.finish(command, run.parent / "log")
        seen = stats(stage.server)
        made = Counter(seen["faults"])
        with trials.one(f"server seed {seed}", made.total()):
            check(run, items, seen)
            print(f"      {', '.join(f'{made[kind]} x {TOLD[kind]}' for kind in SERVER_FAULTS)}", flush=True)


def check(run: Path, items: int, seen: dict[str, Any]) -> None:
    """Every item has one status, labels where that is ok, and no reply was bought twice."""
    found = labels(run)
    assert sorted(found) == list(range(items)), "items are missing"
    statuses: Counter[str] = Counter()
    for number, marks in found.items():
        (status,) = [note for label, _, _, note in marks if label == "status"]
        statuses[status] += 1
        expected = [label for place, label in enumerate(LABELS) if place != number % 5]
        assert [mark[0] for mark in marks if mark[0] != "status"] == (expected if status == "ok" else [])
    made = Counter(seen["faults"])
    assert statuses["refused"] == made["refusal"]
    assert statuses["invalid"] == made["empty"] + made["schema"] + made["forged"]
    assert set(seen["delivered"].values()) == {1}, "a reply was bought twice"
    about = read_about(run, NAME)["requests"]
    assert about["sent"] == seen["requests"]
    assert about["cost"] <= cost(seen["billed"]) <= about["cost_at_most"], "the bill is not within its bounds"


def spend(stage: Stage, trials: Trials) -> None:
    """A budget that does not suffice, at 30% faults; then more of it."""
    for number in range(trials.times):
        with trials.one(f"budget {number}"):
            configure(stage.server, faults=0.3, seed=trials.rng.randrange(10_000), slow=1.5)
            run = judge_run(trials.place(f"{number}") / "run", 60)
            limit = round(trials.rng.uniform(0.02, 0.06), 4)
            flags = (*PRICES, "--max-output", 400, "--timeout", 1)
            for most in (limit, 1.5 * limit):
                command = judging(stage, run, *flags, "--max-cost", most)
                said = stage.finish(command, run.parent / "log", code=1)
                assert f"of --max-cost {most:g} is spent" in " ".join(said.split()), said[-400:]
                assert cost(stats(stage.server)["billed"]) <= most, "more was spent than allowed"
            stage.finish(judging(stage, run, "--max-output", 400, "--timeout", 1), run.parent / "log")
            assert sorted(labels(run)) == list(range(60))


def kill_judge(stage: Stage, trials: Trials) -> None:
    for number in range(trials.times):
        with trials.one(f"kill {number}"):
            configure(stage.server, delay=0.04)
            run = judge_run(trials.place(f"{number}") / "run", 80)
            log = annotation_folder(run, NAME) / "replies.jsonl"
            wanted = trials.rng.randint(1, 60)

            def reached(log: Path = log, wanted: int = wanted) -> bool:
                return log.is_file() and log.read_bytes().count(b'"reply"') >= wanted

            kill_when(stage.start(judging(stage, run), run.parent / "log"), reached)
            before, had = log_lines(run), read_log(log)
            stage.finish(judging(stage, run), run.parent / "log")
            assert log_lines(run)[: len(before)] == before, "the log lost a line"
            sent = Counter(line["key"] for line in log_lines(run) if line["event"] == "sent")
            in_flight = {key for key, _ in had.in_flight.values()}
            assert {key for key, count in sent.items() if count > 1} <= in_flight, "a reply was bought twice"
            assert {marks[-1][-1] for marks in labels(run).values()} == {"ok"}
            assert len(labels(run)) == 80


def stop_judge(stage: Stage, trials: Trials) -> None:
    for number in range(trials.times):
        sent, code = [(signal.SIGINT, 130), (signal.SIGTERM, 143)][number % 2]
        with trials.one(f"signal {sent.name}"):
            configure(stage.server, delay=0.1)
            run = judge_run(trials.place(f"{number}") / "run", 60)
            log = annotation_folder(run, NAME) / "replies.jsonl"
            command = stage.start(judging(stage, run), run.parent / "log")
            wanted = trials.rng.randint(4, 40)
            while command.poll() is None and not (
                log.is_file() and log.read_bytes().count(b'"reply"') >= wanted
            ):
                time.sleep(0.01)
            command.send_signal(sent)
            assert command.wait() == code, command.said()[-600:]
            assert "Traceback" not in command.said()
            assert len(labels(run)) >= wanted, "replies that had arrived are not stored"
            stage.finish(judging(stage, run), run.parent / "log")
            assert sorted(labels(run)) == list(range(60))


SERVER = Fault(
    "judge",
    "a judge's server that fails",
    "30% of replies: " + ", ".join(TOLD.values()),
    "every item has one status and its labels, no reply is bought twice, the bill is within stated bounds",
    300,
    12,
    fail,
)
BUDGET = Fault(
    "judge",
    "a budget that ends, with such a server",
    "--max-cost below what is needed, twice, then none",
    "the server never bills more than the limit; exit code 1; in the end every item has its labels",
    3,
    1,
    spend,
)
KILLS = [
    Fault(
        "kill",
        "kill -9 of prerl-behavior judge",
        "SIGKILL at a random number of replies",
        "no reply that had arrived is bought again, every item has its labels in the end",
        5,
        1,
        kill_judge,
    )
]
SIGNALS = [
    Fault(
        "signals",
        "SIGINT and SIGTERM to prerl-behavior judge",
        "sent after a random number of replies",
        "exit code 130 or 143, no traceback, what had arrived is stored; complete after the same command",
        4,
        1,
        stop_judge,
    )
]
FAULTS = [SERVER, BUDGET]
