"""Commands that are started to be disturbed, forked from one process that has imported their libraries.

    python -m tests.faults.launcher          # reads one JSON request per line, answers with one line

Importing torch, transformers and trl takes longer than most of what is disturbed. A fork of a process
of one thread that has done nothing but import runs the command's own main() from there; its kill, its
exit code and its files are those of the command. Requests may also make a command die at a file
operation, or let its files grow no further than a limit. Covers starting and waiting; what is started
and what must be left of it is the other modules'.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
PREPARED = (
    *("prerl_eval.cli", "prerl_eval.run", "prerl_eval.engines.transformers", "prerl_eval.grade_file"),
    *("prerl_eval.regrade", "prerl_eval.scoring.score", "prerl_eval.scoring.logprobs", "prerl_eval.summary"),
    *("prerl_train.cli", "prerl_train.train", "prerl_train.ppo", "prerl_train.trainer", "prerl_train.watch"),
    *("prerl_train.data", "prerl_train.evaluation", "prerl_train.rollouts", "prerl_train.rewards"),
    *("behavior.cli", "behavior.report", "behavior.judge.judge", "openai", "peft", "scipy.io", "trl"),
    *("torch", "transformers.models.qwen3.modeling_qwen3", "pyarrow.parquet", "pyarrow.acero"),
    *("safetensors.numpy", "typer._adapters"),
)
FILE_EVENTS = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree")
"""What counts as a file operation: Python's audit events."""

SECONDS = 600
"""Longer than any command takes; one that hangs has not survived."""


class Launcher:
    """Starts commands; a context manager. Their output goes to the file that each is given."""

    def __enter__(self) -> Launcher:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPO,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(
        self,
        command: Sequence[object],
        log: Path,
        *,
        die_at: tuple[Path, int] | None = None,
        largest_file: int | None = None,
    ) -> Command:
        """Start ["prerl_eval.cli", "run", ...]; output is appended to `log`.

        die_at: (folder, k): SIGKILL itself at its k-th file operation in that folder. largest_file:
        bytes beyond which no file of the command can grow.
        """
        request = {
            "command": [str(word) for word in command],
            "log": str(log),
            "die_at": [str(die_at[0]), die_at[1]] if die_at else None,
            "largest_file": largest_file,
        }
        return Command(self, self.ask(request), log)

    def cpu_seconds(self) -> float:
        """CPU time of the commands that have ended, their own children included."""
        return self.ask({"cpu": True}) / 1000

    def ask(self, request: dict[str, Any]) -> int:
        """One request, one number."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline()))


class Command:
    """A command that was started. returncode as of subprocess: negative for a signal, None while it runs."""

    def __init__(self, launcher: Launcher, pid: int, log: Path):
        self.pid = pid
        self.log = log
        self.returncode: int | None = None
        self._launcher = launcher

    def poll(self) -> int | None:
        if self.returncode is None:
            status = self._launcher.ask({"poll": self.pid})
            self.returncode = None if status < 0 else os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds: float = SECONDS) -> int:
        """The exit code. Raises AssertionError where the command does not end, after killing it."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
                self.wait()
                raise AssertionError(f"the command did not end within {seconds:.0f} s")
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def serve() -> dict[str, Any]:
    """Answer requests; in each forked child, return what it was asked to become."""
    answers = os.dup(1)
    for line in iter(sys.stdin.buffer.raw.readline, b""):
        request = json.loads(line)
        if "cpu" in request:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            number = int(1000 * (used.ru_utime + used.ru_stime))
        elif "poll" in request:
            pid, number = os.waitpid(request["poll"], os.WNOHANG)
            number = number if pid else -1
        else:
            number = os.fork()
            if number == 0:
                os.close(answers)
                return request
        os.write(answers, f"{number}\n".encode())
    sys.exit(0)


def become(request: dict[str, Any]) -> None:
    """Turn this process into the command of a request."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["largest_file"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    if request["die_at"]:
        _die_at(*request["die_at"])
    module, *arguments = request["command"]
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()


def _die_at(folder: str, last: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in FILE_EVENTS and folder in str(arguments) and not _only_reads(event, arguments):
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _only_reads(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


if __name__ == "__main__":
    for name in PREPARED:
        importlib.import_module(name)
    become(serve())
