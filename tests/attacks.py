"""Programs that attack their sandbox (tests/cases/attacks), and what they would have changed.

    python -m tests.attacks          # as the user that runs it; prints a JSON object

Each file says what it tries, the outcome that is expected, and whether it passes without isolation:
its function adds two numbers only where the attack succeeded, so the tests themselves tell. The
placeholders name things made for the attack: a folder that everybody may write (@CANARY@), a
process (@VICTIM@), a port (@PORT@), a secret in an environment (@SECRET@).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from prerl_eval.sandbox import Isolation, Job, Limits, find_isolation, run_job

FOLDER = Path(__file__).parent / "cases/attacks"
SHORT = Limits(cpu_seconds=1, wall_seconds=4, memory=1 << 28)
LONG = Limits(cpu_seconds=5, wall_seconds=30, memory=1 << 28)
TESTS = """
def check(candidate):
    assert candidate(2, 3) == 5
    assert candidate(-1, 1) == 0
    assert candidate(70, 7) == 77
"""
ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(os.uname().machine, (-1, -1))
KERNEL = ("/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/user/max_user_namespaces")


@dataclass(frozen=True)
class Attack:
    """expect: what is said of it. works: it passes the tests where nothing isolates it."""

    name: str
    source: str
    expect: str
    works: bool


def attacks() -> list[Attack]:
    found = []
    for file in sorted(FOLDER.glob("*.py")):
        source = file.read_text()
        expect = re.search(r"^# expect: (.*)$", source, re.MULTILINE)
        found.append(Attack(file.stem, source, expect[1], "# without isolation: pass\n" in source))
    return found


class World:
    """What an attack could change, made for it alone: a context manager."""

    def __enter__(self) -> World:
        self._stack = ExitStack()
        self.secret = f"secret-{uuid.uuid4()}"
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        (self.folder / "kept").write_text("as it was")
        self.folder.chmod(0o777)
        (self.folder / "kept").chmod(0o666)
        self.server = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.abstract = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract.bind(f"\0{self.secret}")
        self.abstract.listen()
        self.victim = subprocess.Popen([sys.executable, "-S", "-c", SLEEP], env={"SECRET": self.secret})
        libc = ctypes.CDLL(None)
        libc.syscall(KEYCTL, 1, None)  # a session keyring of this thread's own
        libc.syscall(ADD_KEY, b"user", self.secret.encode(), b"secret", 6, -3)
        self.kernel = [Path(name).read_text() for name in KERNEL]
        return self

    def __exit__(self, *exception: object) -> None:
        self.victim.kill()
        self.victim.wait()
        self._stack.close()

    def program(self, source: str) -> str:
        """The attack, aimed at this world."""
        return (
            source.replace("@CANARY@", str(self.folder))
            .replace("@SECRET@", self.secret)
            .replace("@VICTIM@", str(self.victim.pid))
            .replace("@PORT@", str(self.server.getsockname()[1]))
            .replace("@HARNESS@", run_job.__code__.co_filename)
            .replace("@KEYCTL@", str(KEYCTL))
            .replace("@NUL@", "\0")
            .replace("@DEEP@", "(" * 100_000 + ")" * 100_000)
        )

    def changes(self) -> list[str]:
        """What is not as it was."""
        kept = self.folder / "kept"
        found = {
            "a file of the folder": not kept.exists() or kept.read_text() != "as it was",
            "the folder": [path.name for path in self.folder.iterdir()] != ["kept"],
            "a process": self.victim.poll() is not None,
            "a connection": _connected(self.server) or _connected(self.abstract),
            "a kernel setting": [Path(name).read_text() for name in KERNEL] != self.kernel,
        }
        return [what for what, changed in found.items() if changed]


SLEEP = "import time; time.sleep(600)"


def _connected(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def run_attack(attack: Attack, isolation: Isolation) -> tuple[str, list[str]]:
    """What is said of an attack, and what it changed or left running."""
    mark = f"mark={uuid.uuid4()}"
    python, *flags = isolation.command[-4:]
    marked = replace(isolation, command=(*isolation.command[:-4], python, "-X", mark, *flags))
    with World() as world:
        limits = SHORT if attack.expect == "timeout" else LONG
        outcome = run_job(Job(world.program(attack.source), "add", TESTS), marked, limits)
        left = [f"process {number} left" for number in _processes(mark)]
        return outcome.said, world.changes() + left


def _processes(mark: str) -> list[str]:
    """Processes that carry a mark on their command line; a kernel may need a moment to end them."""
    for _ in range(20):
        found = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if _holds(path, mark)]
        if not found:
            break
        time.sleep(0.05)
    return found


def _holds(path: Path, mark: str) -> bool:
    try:
        return mark.encode() in path.read_bytes()
    except OSError:
        return False


def run_all(isolation: Isolation) -> dict[str, tuple[str, list[str]]]:
    """Every attack's result by its name; two at once."""
    listed = attacks()
    with ThreadPoolExecutor(2) as threads:
        results = threads.map(lambda attack: run_attack(attack, isolation), listed)
        return {attack.name: result for attack, result in zip(listed, results, strict=True)}


if __name__ == "__main__":
    print(json.dumps({"user": os.getuid(), "results": run_all(find_isolation())}))
