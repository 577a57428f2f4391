"""Grading many completions at once, beside whatever produces them.

Covers the dispatch on a problem's grader, the cache on (gold, extracted answer, rules) and the
hand-over to worker processes. `GradingPool` is the one way to grade: evaluation, import, regrade
and the training reward all use it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from prerl_eval.errors import UserError
from prerl_eval.grading import choice, code, countdown, exact, math
from prerl_eval.grading.verdict import Verdict
from prerl_eval.grading.workers import AlgebraWorkers, Outcome, outcome_of
from prerl_eval.problems import Problem
from prerl_eval.sandbox import ProgramPool, find_isolation

CACHE_SIZE = 200_000
"""Pairs remembered, the newest."""

GRADERS = {
    "math": math.VERSION,
    "countdown": countdown.GRADER,
    "choice": choice.GRADER,
    "exact": exact.GRADER,
    code.NAME: code.GRADER,
}
"""Graders by the name that cards use: name and version."""

STATED = {"choice": choice.grade_choice, "exact": exact.grade_exact}
"""Graders of answers that are stated in words and need no computer algebra."""

CPU_SECONDS = 2.0
"""Default bound of one comparison: all but one pair of the real outputs tested take under 0.9 s."""


def grader_version(problem: Problem) -> str:
    """Name and version of the problem's grader, "math/1": what a graded row records.

    Raises UserError where the problem names an unknown grader.
    """
    if problem.grader not in GRADERS:
        raise UserError(
            f"{problem.benchmark}: unknown grader {problem.grader!r}; "
            f"its card may name one of: {', '.join(sorted(GRADERS))}"
        )
    return GRADERS[problem.grader]


CLOSED = "the grader was closed"


class GradingPool:
    """Grades completions; may be called from any thread, and starts processes only when needed.

    Processes import the main script, as multiprocessing's do: it needs `if __name__ == "__main__":`.

    workers: processes for computer algebra, and programs run at once (default: `share_of_cores`).
    bound_seconds: CPU time after which a comparison is a `timeout`. accept_box_in_thinking: the looser
    rule, boxes inside thinking count too. unsafe_code: run model-written code also where it cannot be
    isolated.
    """

    def __init__(
        self,
        workers: int | None = None,
        bound_seconds: float = CPU_SECONDS,
        accept_box_in_thinking: bool = False,
        unsafe_code: bool = False,
    ):
        self._size = workers or share_of_cores()
        self._bound = bound_seconds
        self._accept_box_in_thinking = accept_box_in_thinking
        self._lock = threading.Lock()
        self._unsafe_code = unsafe_code
        self._workers: AlgebraWorkers | None = None
        self._programs: ProgramPool | None = None
        self._cache: dict[math.Pair, Future[Verdict]] = {}
        self._open: dict[math.Pair, Future[Verdict]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(now=kind is not None)

    def close(self, *, now: bool = True) -> None:
        """End the worker processes and programs; what they have not answered becomes an `error`."""
        with self._lock:
            workers, self._workers = self._workers, None
            programs, self._programs = self._programs, None
        if workers is not None:
            workers.close(now=now)
        if programs is not None:
            programs.close(now=now)
        for pair in list(self._open):
            self._settle(pair, _verdict(pair, ("error", CLOSED)))

    def submit(
        self, problem: Problem, text: str, *, finish_reason: str, opens_thinking: bool = False
    ) -> Future[Verdict]:
        """Grade one completion; the future never raises: a failure of the grader is a status.

        finish_reason: "length" where the completion was cut off, "" where nobody knows.
        opens_thinking: the prompt ended inside an open thinking block.
        Raises UserError where the problem names an unknown grader, and where its answers are code that
        cannot be isolated here (see `unsafe_code`).
        """
        grader_version(problem)
        if problem.grader == "countdown":
            return _done(countdown.grade_countdown(text, problem, finish_reason))
        if problem.grader in STATED:
            grade = STATED[problem.grader]
            return _done(grade(problem, text, finish_reason, opens_thinking, self._accept_box_in_thinking))
        if problem.grader == code.NAME:
            program = code.read_program(problem, text, finish_reason, opens_thinking)
            return _done(program) if isinstance(program, Verdict) else self._run(program)
        found = math.read_completion(
            problem, text, finish_reason, opens_thinking, self._accept_box_in_thinking
        )
        return _done(found) if isinstance(found, Verdict) else self._compare(found)

    def grade(self, items: Iterable[tuple[Problem, str, str, bool]]) -> list[Verdict]:
        """Verdicts of (problem, text, finish_reason, opens_thinking) items, in their order."""
        futures = [
            self.submit(problem, text, finish_reason=finish_reason, opens_thinking=opens_thinking)
            for problem, text, finish_reason, opens_thinking in items
        ]
        return [future.result() for future in futures]

    def _run(self, program: code.Program) -> Future[Verdict]:
        with self._lock:
            if self._programs is None:
                self._programs = ProgramPool(self._size, find_isolation(self._unsafe_code))
            run = self._programs.submit(program.job)
        reply: Future[Verdict] = Future()
        run.add_done_callback(lambda done: reply.set_result(code.verdict_of(program, done.result())))
        return reply

    def _compare(self, pair: math.Pair) -> Future[Verdict]:
        with self._lock:
            known = self._cache.get(pair) or self._open.get(pair)
            if known is not None:
                return known
            reply: Future[Verdict] = Future()
            self._cache[pair] = reply
            if len(self._cache) > CACHE_SIZE:
                del self._cache[next(iter(self._cache))]
            verdict = _decide(pair)
            if verdict is None and self._workers is None:
                self._workers = AlgebraWorkers(self._size, self._bound)
            workers = self._workers
            self._open[pair] = reply
        if verdict is not None:
            self._settle(pair, verdict)
        elif workers is not None:
            self._send(pair, workers)
        return reply

    def _send(self, pair: math.Pair, workers: AlgebraWorkers) -> None:
        def answer(task: Future[Outcome]) -> None:
            self._settle(pair, _verdict(pair, outcome_of(task)))

        try:
            workers.submit(pair.gold, pair.answer, pair.rules).add_done_callback(answer)
        except RuntimeError:  # pebble's word for a pool that another thread has closed
            self._settle(pair, _verdict(pair, ("error", CLOSED)))

    def _settle(self, pair: math.Pair, verdict: Verdict) -> None:
        if verdict.status == "error":
            # A killed worker or a closed pool says nothing about the pair: ask again next time.
            self._cache.pop(pair, None)
        reply = self._open.pop(pair, None)
        if reply is not None:
            reply.set_result(verdict)


def _decide(pair: math.Pair) -> Verdict | None:
    try:
        return math.decide(pair)
    except Exception as error:  # noqa: BLE001 - one strange answer must not end a run
        return _verdict(pair, ("error", f"{type(error).__name__}: {error}"[:200]))


def _verdict(pair: math.Pair, outcome: Outcome) -> Verdict:
    status, note = outcome
    if status == "correct":
        return Verdict("correct", pair.answer, math.GOLD_CLASS)
    if status == "wrong":
        return Verdict("wrong", pair.answer, note)
    return Verdict(
        "timeout" if status == "timeout" else "error", pair.answer, math.text_class(pair.answer), note
    )


def _done(verdict: Verdict) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_result(verdict)
    return future


def share_of_cores() -> int:
    """The cores of this machine, shared out evenly where a launcher started several processes on it."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
