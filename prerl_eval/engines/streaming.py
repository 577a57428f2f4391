"""Many requests at a time on a background event loop, handed over in the main thread as they finish.

Shared by whoever waits for something asynchronous: the engines vllm and openai, and the judge of
package behavior. Does not know what they wait for.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing import resource_tracker
from typing import Any, TypeVar

T = TypeVar("T")
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class BackgroundLoop:
    """An event loop in a daemon thread, so that Ctrl-C always finds the main thread waiting in Python."""

    def __init__(self, name: str):
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` on the loop, which starts with the first one."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stream(
        self, requests: Sequence[Asked], complete: Callable[[Asked], Awaitable[Answer]], width: int
    ) -> Iterator[list[tuple[Asked, Answer]]]:
        """Complete every request, at most `width` at a time and in order of `requests`; yield as they finish.

        The first error ends the stream: it is raised here, and what is in flight is cancelled. The
        same happens to what is in flight when the caller stops listening.
        """
        results: queue.SimpleQueue[tuple[Asked, Answer] | None] = queue.SimpleQueue()
        feed = self.submit(_feed(requests, complete, width, results))
        feed.add_done_callback(lambda _: results.put(None))
        try:
            more = True
            while more:
                arrived = _drain(results)
                more = None not in arrived
                if finished := [pair for pair in arrived if pair is not None]:
                    yield finished
            try:
                feed.result()
            except BaseExceptionGroup as group:
                error = _leaf(group)
                raise error from error.__cause__
        finally:
            feed.cancel()

    def close(self, last: Callable[[], Awaitable[None]] | None = None) -> None:
        """Cancel what runs, await `last` and end the thread; safe to call twice."""
        if self._loop is None or self._thread is None:
            return
        self.submit(_wind_up(last)).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    # Ctrl-C is the main thread's to handle; processes started from here inherit the mask, so that a
    # terminal's Ctrl-C, which goes to all of them, does not tear them down under our feet.
    resource_tracker.ensure_running()  # starting it later would lift the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    loop.run_forever()


async def _feed(
    requests: Sequence[Asked],
    complete: Callable[[Asked], Awaitable[Answer]],
    width: int,
    results: queue.SimpleQueue[Any],
) -> None:
    waiting = iter(requests)

    async def work() -> None:
        for request in waiting:
            results.put((request, await complete(request)))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(len(requests), width)):
            group.create_task(work())


async def _wind_up(last: Callable[[], Awaitable[None]] | None) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
    if last is not None:
        await last()
    await asyncio.sleep(0)  # connections that were just closed say so to the loop once more


def _drain(results: queue.SimpleQueue[T]) -> list[T]:
    """At least one item, waiting for it, and whatever else is there."""
    items = [results.get()]
    while not results.empty():
        items.append(results.get())
    return items


def _leaf(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first
