"""`prerl-behavior judge`: four behaviours in the traces of runs, judged by a model behind a server.

The one page that shows the order of things; the pieces are named in this package's docstring. One
trace (or chunk of it) is one request: what a trace says can reach no other trace's labels. Does not
cover files of other tools: samples must be in a run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from behavior.judge.book import Book, Part
from behavior.judge.budget import Budget, Tokens, make_prices
from behavior.judge.cache import Log, read_log
from behavior.judge.client import Judge
from behavior.judge.options import JudgeOptions, check_options, server_options
from prerl_eval.console import progress
from prerl_eval.engines.streaming import BackgroundLoop
from prerl_eval.layout import wrapped


@dataclass(frozen=True)
class Report:
    """What a sitting came to. stopped: why it ended before everything was asked, None where it did not."""

    results: list[dict[str, Any]]
    stopped: Exception | None


def judge(options: JudgeOptions) -> Report:
    """Judge what is chosen and not judged yet, store the annotations, tell the figures.

    Raises UserError, before anything is written, where options, runs or the server cannot work. What
    stops it later is in the report, beside the figures of what was judged.
    """
    check_options(options)
    prices, limit = make_prices(options.price_in, options.price_out, options.max_cost)
    judge = Judge(server_options(options), Budget(prices, limit))
    books = [Book(run, options) for run in options.runs]
    loop = BackgroundLoop("judge")

    def close() -> None:
        loop.close(judge.close)

    with ExitStack() as stack:
        stack.callback(close)
        loop.submit(judge.open()).result()
        logs = [stack.enter_context(book.opened()) for book in books]
        stack.callback(close)  # before the logs: nothing arrives at a closed one
        judge.budget.add_spent(sum((log.record.spent for log in logs), Tokens()))
        told = []
        for book, log in zip(books, logs, strict=True):
            try:
                _ask_all(book, log, judge, loop)
            except BaseException:
                close()
                book.store(log.record, prices, judge.not_taken)
                raise
            told.append(book.store(log.record, prices, judge.not_taken))
        return Report(told, judge.halted)


def _ask_all(book: Book, log: Log, judge: Judge, loop: BackgroundLoop) -> None:
    """Ask for every missing part, many at a time; returns when each was tried, or the judge has halted."""
    missing = book.missing(log.record)
    lost = sum(key not in log.record.replies for key, _ in log.record.in_flight.values())
    if lost:
        print(
            f"note: {book.run}: {lost} requests were in flight when the last sitting ended: sent again",
            file=sys.stderr,
        )
    if not missing or judge.halted:
        return
    done = len({part.key for part in book.parts()}) - len(missing)

    async def ask(part: Part) -> str:
        return await judge.ask(book.ask(part), log)

    with progress(f"judge {book.run.name}", done + len(missing), done, "requests") as advance:
        for finished in loop.stream(missing, ask, book.options.concurrency):
            advance(sum(bool(status) for _, status in finished))


def estimate(options: JudgeOptions) -> list[dict[str, Any]]:
    """What `judge` would send now for each run, asking nobody and writing nothing. JSON-able:

        samples, requests, cached              chosen; to be sent; answered before
        tokens_in_about                        a quarter of the bytes of UTF-8, as in English
        tokens_in_at_most, tokens_out_at_most  bounds; retries that are billed come on top
        cost_about, cost_at_most               from these, with prices; else None. The first takes a tenth
                                               of the longest reply

    Raises UserError as `judge` does, but needs neither key nor server.
    """
    check_options(options)
    prices, _ = make_prices(options.price_in, options.price_out, options.max_cost)
    told = []
    for run in options.runs:
        book = Book(run, options)
        missing = book.missing(read_log(book.log_file))
        worst = sum((book.ask(part).worst for part in missing), Tokens())
        about = Tokens(worst.into // 4, worst.out // 10)
        told.append(
            {
                "run": str(run),
                "annotation": book.name,
                "samples": len(book.traces),
                "requests": len(missing),
                "cached": len({part.key for part in book.parts()}) - len(missing),
                "tokens_in_about": about.into,
                "tokens_in_at_most": worst.into,
                "tokens_out_at_most": worst.out,
                "cost_about": float(prices.cost(about)) if prices.known else None,
                "cost_at_most": float(prices.cost(worst)) if prices.known else None,
            }
        )
    return told


def render_estimate(told: Sequence[Mapping[str, Any]]) -> str:
    """Lines of at most 100 columns, one or two per run."""
    lines = []
    for row in told:
        text = (
            f"{row['run']}: {row['samples']:,} samples, {row['requests']:,} requests to send "
            f"({row['cached']:,} answered before), about {row['tokens_in_about']:,} tokens in; at most "
            f"{row['tokens_in_at_most']:,} in and {row['tokens_out_at_most']:,} out"
        )
        if row["cost_at_most"] is not None:
            text += f"; cost about {row['cost_about']:.2f}, at most {row['cost_at_most']:.2f} without retries"
        lines += wrapped(text, "")
    return "\n".join([*lines, "nothing was sent or written (--dry-run)"])
