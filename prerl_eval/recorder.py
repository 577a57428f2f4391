"""Grading and storing beside generation: finished completions in, graded rows in parts out.

A thread waits for verdicts and writes parts while the engine is already at the next batch, so a
kill loses little even when one batch takes minutes. Completions that were handed over together
are stored together. Does not know engines or benchmarks.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Self

from prerl_eval.engines.base import Finished, Key
from prerl_eval.grading import GradingPool, Verdict
from prerl_eval.problems import Problem
from prerl_eval.rows import graded_row
from prerl_eval.store import PartWriter

BACKLOG = 4096
"""Groups that may wait for a verdict before generation is held back: bounds memory."""

POLL_SECONDS = 0.02

Graded = tuple[Finished, list["Future[Verdict]"]]


class Recorder:
    """Grades completions and stores them as rows, in its own thread.

    problems: (benchmark, problem_id) -> Problem. on_graded(statuses) is called after each
    group's verdicts are in, for progress displays. Leaving the context waits for what is in flight
    (bounded by the grader's own bounds) and stores it, also after Ctrl-C.
    """

    def __init__(
        self,
        run: Path,
        run_id: str,
        problems: dict[tuple[str, str], Problem],
        pool: GradingPool,
        on_graded: Callable[[Counter[str]], None] = lambda statuses: None,
    ):
        self._run_id = run_id
        self._problems = problems
        self._pool = pool
        self._on_graded = on_graded
        self._writer = PartWriter(run, time.monotonic)
        self._queue: queue.Queue[Graded | None] = queue.Queue(maxsize=BACKLOG)
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="prerl-recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._put(None)
        self._thread.join()
        if self._trouble and kind is None:
            raise self._trouble

    def add(self, finished: Finished) -> None:
        """Hand over completions that belong in one part. Raises what stopped the thread, if it stopped."""
        futures = [
            self._pool.submit(
                self._problem(request.key),
                completion.text,
                finish_reason=completion.finish_reason,
                opens_thinking=request.prompt.opens_thinking,
            )
            for request, completion in finished
        ]
        self._put((finished, futures))
        if self._trouble:
            raise self._trouble

    def _put(self, item: Graded | None) -> None:
        while self._thread.is_alive():
            try:
                self._queue.put(item, timeout=0.5)
            except queue.Full:
                continue
            return

    def _problem(self, key: Key) -> Problem:
        return self._problems[key[0], key[1]]

    def _work(self) -> None:
        try:
            self._drain()
        except BaseException as trouble:  # noqa: BLE001 - carried to the main thread, which raises it
            self._trouble = trouble

    def _drain(self) -> None:
        waiting: deque[Graded] = deque()
        more = True
        while more or waiting:
            if more and len(waiting) < BACKLOG:
                try:
                    item = self._queue.get(timeout=POLL_SECONDS if waiting else 1.0)
                except queue.Empty:
                    pass
                else:
                    more = item is not None
                    if item is not None:
                        waiting.append(item)
            else:
                wait(waiting[0][1], timeout=POLL_SECONDS)
            # A slow verdict must not hold back the groups behind it.
            for _ in range(len(waiting)):
                group = waiting.popleft()
                if all(future.done() for future in group[1]):
                    self._store(*group)
                else:
                    waiting.append(group)
            self._writer.flush_if_due()
        self._writer.flush()

    def _store(self, finished: Finished, futures: Sequence[Future[Verdict]]) -> None:
        rows = []
        statuses: Counter[str] = Counter()
        for (request, completion), future in zip(finished, futures, strict=True):
            verdict = future.result()
            statuses[verdict.status] += 1
            rows.append(
                graded_row(
                    self._run_id,
                    self._problem(request.key),
                    verdict,
                    sample_index=request.key[2],
                    prompt=request.prompt.text,
                    completion=completion.text,
                    finish_reason=completion.finish_reason,
                    token_ids=completion.token_ids,
                    tokens=completion.tokens,
                    opens_thinking=request.prompt.opens_thinking,
                    seed=request.seed,
                    seconds=completion.seconds,
                )
            )
        self._writer.append(rows)
        self._on_graded(statuses)
