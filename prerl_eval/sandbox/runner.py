"""Running a program against its tests, and many of them at once.

Covers one run from the job to its outcome, the pool of threads that wait for runs, and finding out
whether isolation works here. What a program may do is settled in isolation.py and limits.py.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self, get_args

from prerl_eval.errors import UserError
from prerl_eval.sandbox import calls, harness, wire
from prerl_eval.sandbox.isolation import ENVIRONMENT, Isolation, Unavailable, bubblewrap, unisolated
from prerl_eval.sandbox.limits import DEFAULTS, Limits

Said = Literal["pass", "fail", "syntax", "timeout", "bad tests", "error"]
SAID: tuple[Said, ...] = get_args(Said)

CACHE_SIZE = 20_000
"""Outcomes remembered, the newest."""

CLOSED = "the grader was closed"


@dataclass(frozen=True, slots=True)
class Job:
    """A program and what it must do.

    program: Python that defines `entry_point`. prompt: Python that runs before it and before the
    tests, for imports and helpers; "" for none. tests: Python that defines check(candidate), or
    calls the function by its name; neither the program nor its process ever holds them.
    """

    program: str
    entry_point: str
    tests: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    said: "pass"; "fail" (a test failed, or the program ended before); "syntax" (it is no Python);
    "timeout"; "bad tests" (no Python, or they never call the function); "error" (no verdict came,
    and the detail says why).
    """

    said: Said
    detail: str = ""


def run_job(job: Job, isolation: Isolation, limits: Limits = DEFAULTS) -> Outcome:
    """Run one job; with isolation, everything that it started has ended when this returns."""
    with Run(isolation) as run:
        return run.judge(job, limits)


class Run:
    """One started sandbox; `end` may be called from another thread, and then it has no verdict."""

    def __init__(self, isolation: Isolation):
        self._isolation = isolation
        self._folder = contextlib.ExitStack()
        home = "/"
        if not isolation.isolated:
            own = tempfile.TemporaryDirectory(prefix="prerl-run-", ignore_cleanup_errors=True)
            home = self._folder.enter_context(own)
        self._process = subprocess.Popen(
            isolation.argv(_source()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            # Inside an isolated one, HOME is its own.
            env=ENVIRONMENT | {"HOME": home},
            # Ctrl-C is for this process, which ends the run itself.
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()
        self._process.communicate()
        self._folder.close()

    def judge(self, job: Job, limits: Limits) -> Outcome:
        """Hand the job over and wait for its outcome."""
        nonce = secrets.randbits(128)
        order = {
            **{name: getattr(job, name) for name in ("program", "prompt", "entry_point", "tests")},
            "packages": self._isolation.packages,
            "nonce": nonce,
            "program_limits": limits.of_program(),
            "judge_limits": limits.of_judge(),
        }
        try:
            said, trouble = self._process.communicate(wire.pack(order), timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            return Outcome("timeout", f"not done within {limits.wall_seconds:g} s")
        statuses = _statuses(said, nonce)
        if not statuses or (statuses == ["begun"] and self._process.returncode < 0):
            return Outcome("error", self._why(trouble))
        if statuses == ["begun"]:
            # Nobody outside ended it: the program took the judge's limits away, or its life.
            return Outcome("fail")
        found = next(known for known in SAID if known == statuses[-1])
        spent = f"no result within {limits.cpu_seconds} s of CPU time" if found == "timeout" else ""
        return Outcome(found, spent)

    def end(self) -> None:
        """Kill it: with isolation the whole tree, without it the judge and what stayed in its group."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _why(self, trouble: bytes) -> str:
        last = trouble.decode("utf-8", "replace").strip().splitlines()[-1:]
        return f"the sandbox ended without a verdict ({(last or [f'code {self._process.returncode}'])[0]})"


def _statuses(said: bytes, nonce: int) -> list[str]:
    """The statuses in the judge's messages, as far as they are the judge's."""
    statuses = []
    while said:
        size = 8 + int.from_bytes(said[:8], "big")
        try:
            number, status = wire.unpack(said[8:size])
        except (ValueError, TypeError):
            break
        statuses += [status] if number == nonce else []
        said = said[size:]
    return statuses


@lru_cache(maxsize=1)
def _source() -> str:
    """The harness as one text for `python -c`: prerl itself is not visible inside."""
    modules = (wire, calls, harness)
    texts = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in modules]
    return (
        "import sys\n"
        f"for name in ('prerl_eval', 'prerl_eval.sandbox', {wire.__name__!r}, {calls.__name__!r}):\n"
        "    sys.modules[name] = type(sys)(name)\n"
        f"exec({texts[0]!r}, sys.modules[{wire.__name__!r}].__dict__)\n"
        f"exec({texts[1]!r}, sys.modules[{calls.__name__!r}].__dict__)\n"
        f"exec({texts[2]!r})\n"
    )


@lru_cache(maxsize=2)
def find_isolation(unsafe: bool = False) -> Isolation:
    """How programs are run here: isolated, where that was seen to work.

    unsafe: where it does not work, run them all the same, within limits and with this process's
    rights. Raises UserError where it does not work and `unsafe` is not set, and where this is not Linux.
    """
    if sys.platform != "linux":
        raise UserError(f"model-written code runs on Linux only, and this is {sys.platform}; grade it there")
    try:
        isolation = bubblewrap()
        outcome = run_job(Job("def f(): return 1", "f", "def check(f): assert f() == 1"), isolation)
        if outcome.said == "pass":
            return isolation
        raise Unavailable(f"{isolation.name}: {outcome.said} {outcome.detail}".rstrip())
    except (Unavailable, OSError) as error:
        if unsafe:
            return unisolated(str(error))
        raise UserError(
            f"model-written code cannot be isolated here ({error}); install bubblewrap 0.8 or later and "
            "allow user namespaces, or pass --unsafe-code-execution to run it with your own rights"
        ) from error


class ProgramPool:
    """Runs jobs side by side; a job that waits holds its own place alone. Equal jobs run once.

    workers: runs at once.
    """

    def __init__(self, workers: int, isolation: Isolation, limits: Limits = DEFAULTS):
        self._isolation, self._limits = isolation, limits
        # A sandbox dies with the thread that started it: these live as long as the pool.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="prerl-sandbox")
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._running: set[Run] = set()
        self._known: dict[Job, Future[Outcome]] = {}

    def submit(self, job: Job) -> Future[Outcome]:
        """The outcome to come; after `close(now=True)` an error. Raises RuntimeError after `close`."""
        with self._lock:
            known = self._known.get(job)
            if known is None:
                known = self._known[job] = self._threads.submit(self._run, job)
                if len(self._known) > CACHE_SIZE:
                    del self._known[next(iter(self._known))]
            return known

    def _run(self, job: Job) -> Outcome:
        try:
            outcome = self._run_once(job)
        except OSError as error:
            outcome = Outcome("error", f"no sandbox was started: {error}")
        if outcome.said != "error":
            return outcome
        with self._lock:  # it says nothing about the program: ask again next time
            self._known.pop(job, None)
        return Outcome("error", CLOSED) if self._closed.is_set() else outcome

    def _run_once(self, job: Job) -> Outcome:
        if self._closed.is_set():
            return Outcome("error", CLOSED)
        with Run(self._isolation) as run:
            with self._lock:
                self._running.add(run)
                if self._closed.is_set():
                    run.end()
            try:
                return run.judge(job, self._limits)
            finally:
                with self._lock:
                    self._running.discard(run)

    def close(self, *, now: bool) -> None:
        """End the runs: at once, or after what they were given."""
        if now:
            with self._lock:
                self._closed.set()
                for run in self._running:
                    run.end()
        self._threads.shutdown()
