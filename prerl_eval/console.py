"""What the three commands share at the terminal: one-line errors, exit codes, progress.

Exit codes: 0 done; 1 stopped but resumable; 2 the user's mistake, nothing written; 130 Ctrl-C;
143 SIGTERM, which schedulers send before they kill: both store what is graded first.
Imports nothing heavy, so that `--help` stays fast.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from prerl_eval.errors import RunStopped, UserError


def run_app(app: Callable[..., Any], command: str) -> None:
    """Run a typer app, turning the user's mistakes into one line on stderr and an exit code."""
    import typer

    signal.signal(signal.SIGTERM, _terminate)
    try:
        # Not standalone: typer draws a box of several lines around a wrong flag, and is silent on Ctrl-C.
        code = app(prog_name=command, standalone_mode=False)
    except typer.TyperException as error:
        wrong = error.format_message().rstrip(".")  # nothing where no flag was given and help was shown
        message, code = wrong and f"{wrong}; see {command} --help", error.exit_code
    except (UserError, RunStopped) as error:
        message, code = str(error), error.exit_code
    except KeyboardInterrupt:
        message, code = "interrupted", 130
    else:
        message = "interrupted" if code == 130 else ""
    if message:
        # A file name or a library's message may hold line breaks.
        print(f"{command}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


Advance = Callable[..., None]
"""advance(n=1, note="") moves a progress display by n units and shows the note beside it."""


@contextmanager
def progress(title: str, total: int, done: int = 0, unit: str = "samples") -> Iterator[Advance]:
    """A progress bar on a terminal; in a log, a plain line at most every 30 seconds.

    total, done: in `unit`s. Redraws at most four times a second: a live display that redraws per
    item has been seen to cost more than the work (inspect_ai#3173).
    """
    if sys.stderr.isatty():
        yield from _bar(title, total, done, unit)
    else:
        yield from _lines(title, total, done, unit)


def _bar(title: str, total: int, done: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(n: int = 1, note: str = "") -> None:
            bar.update(task, advance=n, note=note)

        yield advance


def _lines(title: str, total: int, done: int, unit: str) -> Iterator[Advance]:
    import time

    start = last = time.monotonic()
    count = done

    def line(note: str) -> None:
        elapsed = time.monotonic() - start
        print(
            f"{title}: {count}/{total} {unit}, {elapsed:.0f} s {note}".rstrip(), file=sys.stderr, flush=True
        )

    final_note = ""

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal count, last, final_note
        count += n
        final_note = note or final_note
        if time.monotonic() - last >= 30:
            last = time.monotonic()
            line(note)

    try:
        yield advance
    finally:
        line(final_note)
