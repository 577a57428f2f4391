"""One writer for a run directory: RUN/lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, ClassVar, Self

from prerl_eval.errors import UserError


class RunLock:
    """The right to write one run directory: a POSIX record lock on RUN/lock.

    The kernel drops it when the process dies, however it dies, and forked children do not inherit
    it, so a crash never leaves a stale lock. Raises UserError where another process holds it, and
    where the directory cannot be made or written.
    """

    _held: ClassVar[set[Path]] = set()  # POSIX locks do not exclude a second holder in one process

    def __init__(self, run: Path):
        self.run = run.resolve()
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self.run in RunLock._held:
            raise UserError(f"{self.run} is being written by this process already; give another --out")
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            file = (self.run / "lock").open("a+")
        except OSError as error:
            raise UserError(
                f"cannot write a run in {self.run} ({error.strerror}); give another --out"
            ) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise UserError(
                f"{self.run} is being written by {holder}; wait for it or give another --out"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        self._file = file
        RunLock._held.add(self.run)
        return self

    def __exit__(self, *exc: object) -> None:
        RunLock._held.discard(self.run)
        if self._file is None:
            return
        # A run that failed before its first record leaves nothing behind.
        if not (self.run / "run.json").exists() and [path.name for path in self.run.iterdir()] == ["lock"]:
            (self.run / "lock").unlink()
            self.run.rmdir()
        self._file.close()
        self._file = None
