"""Processes that run computer algebra on model text, and that can be killed.

Two bounds hold a pair. An alarm on the worker's CPU time ends nearly all slow ones from inside: a
busy machine changes no verdict, and the worker lives on. (User time only: a machine short of memory
spends the rest.) Code that never returns to the interpreter, such as "(10^{9})!" in some builds of
sympy's integers, ignores it and is killed from outside by the clock; the other workers do not
notice. Math-Verify's own timeouts (SIGALRM, wall clock, counted as "different") are off.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from concurrent.futures import Future
from types import FrameType
from typing import TYPE_CHECKING

from prerl_eval.grading.tolerance import Rules

if TYPE_CHECKING:
    from pebble import ProcessPool

Outcome = tuple[str, str]
"""("correct" | "wrong" | "timeout" | "error", answer class of a wrong answer or cause)."""

MEMORY = 4 << 30
"""Bytes of address space of a worker; beyond it the pair is an `error`."""

TASKS_PER_WORKER = 2000
"""Pairs after which a worker is replaced: sympy's caches only grow."""


class _OutOfTime(BaseException):
    """The CPU alarm; not an Exception, so that no `except Exception` of sympy's swallows it."""


class AlgebraWorkers:
    """A pool of worker processes, started with the first pair.

    workers: processes. cpu_seconds: bound on the CPU time of a pair; the clock ends it from outside
    after four times as long (plus a second), whatever the machine is doing.
    """

    def __init__(self, workers: int, cpu_seconds: float):
        self.cpu_seconds = cpu_seconds
        self.wall_seconds = 4 * cpu_seconds + 1
        self._workers = workers
        self._lock = threading.Lock()
        self._closed = False
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        from pebble import ProcessPool

        context = multiprocessing.get_context("forkserver")
        # The fork server imports sympy once; replacing a killed worker then takes milliseconds.
        context.set_forkserver_preload(["prerl_eval.grading.symbolic"])
        return ProcessPool(
            max_workers=self._workers,
            max_tasks=TASKS_PER_WORKER,
            initializer=_prepare_worker,
            initargs=[os.getpid()],
            context=context,
        )

    def submit(self, gold: str, answer: str, rules: Rules) -> Future[Outcome]:
        """Compare a pair; the future holds an Outcome or pebble's exception (see `outcome_of`).

        Raises RuntimeError after `close`.
        """
        with self._lock:
            # Pebble gives a pool up for good when a worker dies while all of them are idle.
            if not self._closed and not self._pool.active:
                _end(self._pool)
                self._pool = self._new_pool()
            task: Future[Outcome] = self._pool.schedule(
                judge_within, args=[gold, answer, rules, self.cpu_seconds], timeout=self.wall_seconds
            )
        return task

    def close(self, *, now: bool) -> None:
        """End the workers: at once, or after what they were given."""
        with self._lock:
            self._closed = True
        if not now:
            self._pool.close()  # type: ignore[no-untyped-call]
            self._pool.join()
        else:
            _end(self._pool)


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def outcome_of(task: Future[Outcome]) -> Outcome:
    """The Outcome of a finished task; a worker that was killed or died is a timeout or an error."""
    from pebble import ProcessExpired

    if task.cancelled():
        return "error", "the grader was closed"
    trouble = task.exception()
    if trouble is None:
        return task.result()
    if isinstance(trouble, TimeoutError):
        return "timeout", "killed: the comparison ignored its alarm"
    if isinstance(trouble, ProcessExpired):
        return "error", f"the grader process died (exit code {trouble.exitcode})"
    return "error", f"{type(trouble).__name__}: {trouble}"[:200]


def judge_within(gold: str, answer: str, rules: Rules, cpu_seconds: float) -> Outcome:
    """Runs in a worker: compare a pair within `cpu_seconds` of CPU time."""
    from prerl_eval.grading.symbolic import judge

    try:
        # The interval repeats: a first alarm may be lost inside a destructor.
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds, 0.5)
        same, key = judge(gold, answer, rules)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _OutOfTime:
        return "timeout", f"no decision within {cpu_seconds:g} s of CPU time"
    except MemoryError:
        return "error", "out of memory"
    except Exception as error:  # noqa: BLE001 - sympy on model text: anything can come out of it
        return "error", f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return ("correct", "") if same else ("wrong", key)


def _prepare_worker(parent: int) -> None:
    """Deaf to Ctrl-C (the parent decides), bounded in memory, and gone when the parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGVTALRM, _on_alarm)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard)
    )
    sys.setrecursionlimit(5000)
    if sys.platform == "linux":
        # The fork server is this process's parent; it ends with the process that started it.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    server = os.getppid()
    while os.getppid() == server and _alive(parent):
        time.sleep(1)
    os._exit(1)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _on_alarm(signum: int, frame: FrameType | None) -> None:
    raise _OutOfTime
