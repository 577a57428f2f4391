"""What one program may use up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one program and everything it starts; sizes in bytes.

    cpu_seconds: CPU time of a process, the bound that an endless loop meets. wall_seconds: for the
    whole run, from outside; met by a program that waits. memory: address space of a process.
    processes: processes and threads at once, so that `memory` times this bounds the whole tree.
    file_size: of one file. scratch: of all files together, which lie in memory. open_files: at once.
    """

    cpu_seconds: int = 5
    wall_seconds: float = 15.0
    memory: int = 1 << 30
    processes: int = 4
    file_size: int = 16 << 20
    scratch: int = 64 << 20
    open_files: int = 64

    def of_program(self) -> dict[str, tuple[int, int]]:
        """Names of resource limits -> (soft, hard), for the program's process.

        The program is told that its time is up and killed a second later. One process more than
        its own may exist, the judge's.
        """
        return {
            **self._shared(),
            "RLIMIT_CPU": (self.cpu_seconds, self.cpu_seconds + 1),
            "RLIMIT_NPROC": (self.processes + 1, self.processes + 1),
        }

    def of_judge(self) -> dict[str, tuple[int, int]]:
        """The same for the process that compares results; it ends after the program does."""
        return {**self._shared(), "RLIMIT_CPU": (4 * self.cpu_seconds, 4 * self.cpu_seconds)}

    def _shared(self) -> dict[str, tuple[int, int]]:
        return {
            "RLIMIT_AS": (self.memory, self.memory),
            "RLIMIT_FSIZE": (self.file_size, self.file_size),
            "RLIMIT_NOFILE": (self.open_files, self.open_files),
            "RLIMIT_CORE": (0, 0),
        }


DEFAULTS = Limits()
