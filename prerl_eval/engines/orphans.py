"""Ends child processes when this process is killed.

vLLM's engine process outlives a parent that was killed (kill -9, out of memory): it samples what it
was asked for to the end, then waits for ever, and holds the device's memory against the resumed run.
Does not cover processes on other nodes; those are Ray's.
"""

from __future__ import annotations

import os
import subprocess
import sys

WATCH = """
import os, signal, sys, time
parent, child = map(int, sys.argv[1:])
try:
    while os.getppid() == parent:
        os.kill(child, 0)
        time.sleep(0.5)
    os.kill(child, signal.SIGKILL)
except ProcessLookupError:
    pass
"""


class OrphanGuard:
    """One small watching process per guarded child: it kills the child once this process is gone."""

    def __init__(self) -> None:
        self._watchers: dict[int, subprocess.Popen[bytes]] = {}

    def watch(self, child: int) -> None:
        """Guard a process id; one that is guarded already is left as it is."""
        if child not in self._watchers:
            self._watchers[child] = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", WATCH, str(os.getpid()), str(child)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C and a kill of the whole group are not for the watchers.
                start_new_session=True,
            )

    def close(self) -> None:
        """Watch no longer; safe to call twice."""
        for watcher in self._watchers.values():
            watcher.kill()
            watcher.wait()
        self._watchers.clear()
