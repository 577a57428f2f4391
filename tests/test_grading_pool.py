import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import wait
from pathlib import Path

import pytest

from prerl_eval.errors import UserError
from prerl_eval.grading import GradingPool, grader_version
from prerl_eval.grading.pool import share_of_cores
from prerl_eval.grading.tolerance import Rules
from prerl_eval.grading.workers import AlgebraWorkers, outcome_of
from prerl_eval.problems import Problem

IGNORES_ITS_ALARM = "(10^{9})!"
SLOW = r"\sum_{k=1}^{10^{9}} \sin(k^2)"

CHILD = """
import sys
from prerl_eval.grading import GradingPool
from prerl_eval.problems import Problem

if __name__ == "__main__":
    with GradingPool(2, bound_seconds=60) as pool:
        problem = Problem("b", "0", "", "5", "math")
        assert pool.submit(problem, r"\\boxed{\\sqrt{25}}", finish_reason="stop").result().status == "correct"
        slow = pool.submit(problem, r"\\boxed{\\sum_{k=1}^{10^{9}} \\sin(k^2)}", finish_reason="stop")
        try:
            print("working", flush=True)
            slow.result()
        except KeyboardInterrupt:
            sys.exit(130)
"""


def problem(gold):
    return Problem("b", "0", "", gold, "math")


def box(answer):
    return f"\\boxed{{{answer}}}"


def test_integers_start_no_worker(monkeypatch):
    def refuse(*args):
        raise AssertionError("a worker was started")

    monkeypatch.setattr("prerl_eval.grading.pool.AlgebraWorkers", refuse)
    with GradingPool() as pool:
        items = [(problem("025"), box(number), "stop", False) for number in range(100)]
        assert [verdict.status for verdict in pool.grade(items)].count("correct") == 1
        with pytest.raises(AssertionError):
            pool.submit(problem("5"), box(r"\sqrt{25}"), finish_reason="stop")


def test_an_ignored_alarm_costs_that_pair_alone():
    items = [(problem(f"{number}"), box(rf"\sqrt{{{number**2}}}"), "stop", False) for number in range(2, 30)]
    with GradingPool(2, bound_seconds=0.5) as pool:
        stuck = pool.submit(problem("5"), box(IGNORES_ITS_ALARM), finish_reason="stop")
        assert {verdict.status for verdict in pool.grade(items)} == {"correct"}
        assert stuck.result().status == "timeout"
        assert stuck.result().answer == IGNORES_ITS_ALARM
        # The worker was replaced: both still work.
        assert {verdict.status for verdict in pool.grade(items)} == {"correct"}


def test_code_that_never_looks_at_the_alarm_is_killed_from_outside():
    workers = AlgebraWorkers(1, cpu_seconds=0.25)
    stuck = workers._pool.schedule(sum, args=[range(10**12)], timeout=workers.wall_seconds)
    after = workers.submit("5", r"\sqrt{25}", Rules())
    wait([stuck, after], timeout=60)
    workers.close(now=True)
    assert outcome_of(stuck)[0] == "timeout"
    assert outcome_of(stuck)[1].startswith("killed")
    assert outcome_of(after) == ("correct", "")


def test_a_slow_pair_is_a_timeout_and_its_worker_lives_on():
    with GradingPool(1, bound_seconds=1.0) as pool:
        verdicts = pool.grade([(problem("5"), box(answer), "stop", False) for answer in (SLOW, r"\sqrt{25}")])
    assert [verdict.status for verdict in verdicts] == ["timeout", "correct"]
    assert "CPU time" in verdicts[0].detail


def test_equal_pairs_are_compared_once():
    with GradingPool(1) as pool:
        texts = [f"attempt {number}: " + box(r"\sqrt{25}") for number in range(20)]
        futures = [pool.submit(problem("5"), text, finish_reason="stop") for text in texts]
        assert len({id(future) for future in futures}) == 1
        assert futures[0].result().status == "correct"


def test_any_thread_may_grade():
    statuses = []

    def work(pool, number):
        verdict = pool.submit(
            problem(str(number)), box(rf"\sqrt{{{number**2}}}"), finish_reason="stop"
        ).result()
        statuses.append(verdict.status)

    with GradingPool(2) as pool:
        threads = [threading.Thread(target=work, args=(pool, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == ["correct"] * 8


def test_closing_answers_what_is_open():
    pool = GradingPool(1, bound_seconds=60)
    slow = pool.submit(problem("5"), box(SLOW), finish_reason="stop")
    pool.close()
    assert slow.result(timeout=30).status == "error"


def test_a_pool_that_was_closed_forgets_what_it_could_not_answer():
    pool = GradingPool(1, bound_seconds=0.5)
    slow = pool.submit(problem("5"), box(SLOW), finish_reason="stop")
    pool.close()
    assert slow.result(timeout=30).status == "error"
    with pool:
        assert pool.submit(problem("5"), box(SLOW), finish_reason="stop").result().status == "timeout"


def test_workers_that_die_idle_are_replaced():
    workers = AlgebraWorkers(1, cpu_seconds=2.0)
    started = workers.submit("5", r"\sqrt{25}", Rules())
    assert outcome_of(started) == ("correct", "")
    before = workers._pool
    for process in list(before._pool_manager.worker_manager.workers):
        os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while before.active and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not before.active
    assert outcome_of(workers.submit("5", r"\sqrt{25}", Rules())) == ("correct", "")
    workers.close(now=True)
    with pytest.raises(RuntimeError):
        workers.submit("5", r"\sqrt{25}", Rules())


def test_an_unknown_grader_is_named():
    with GradingPool() as pool, pytest.raises(UserError, match="'none'"):
        pool.submit(Problem("b", "0", "", "5", "none"), "x", finish_reason="stop")
    assert grader_version(problem("5")).startswith("math/")


@pytest.fixture
def child(tmp_path):
    """A process with two busy grading workers; everything it started carries a mark in its environment."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    mark = f"PRERL_TEST_MARK={uuid.uuid4()}"
    environment = dict(os.environ) | dict([mark.split("=")])
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "working\n"
    yield process, mark
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()


def marked(mark):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def gone(mark, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not marked(mark):
            return True
        time.sleep(0.1)
    return False


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds processes through /proc"
)


@needs_proc
def test_workers_do_not_outlive_a_killed_parent(child):
    process, mark = child
    assert len(marked(mark)) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(mark, 20)


@needs_proc
def test_workers_leave_ctrl_c_to_the_parent(child):
    process, mark = child
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr.read() == ""
    assert gone(mark, 20)


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(20)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert share_of_cores() == 20
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert share_of_cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert share_of_cores() == 1
