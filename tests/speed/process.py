"""CPU time and peak memory of a program that runs in a process of its own, its start included."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]

# The peak is that of this program (VmHWM): ru_maxrss would begin at its parent's.
ENDING = """
def _report():
    import os, sys, time
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    spent = time.process_time() + sum(os.times()[2:4])
    print("COST", spent, int(peak.split()[1]) / 1024, file=sys.stderr)
import atexit
atexit.register(_report)
"""

COMMAND = """
import sys
from importlib import import_module
module, sys.argv[0] = sys.argv[1], sys.argv[2]
del sys.argv[1:3]
import_module(module).app(standalone_mode=False)
"""


@dataclass(frozen=True)
class Cost:
    """cpu: seconds of the process and of its children that ended. memory: MB (2^20) at the peak."""

    cpu: float
    memory: float
    output: str


def run_program(program: str, *arguments: str | Path) -> Cost:
    """Run Python source. Raises RuntimeError where it fails; its own stderr is shown then."""
    command = [sys.executable, "-c", ENDING + program, *map(str, arguments)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise RuntimeError(f"a program ended with exit code {done.returncode}")
    # Some libraries say goodbye after us.
    line = next(line for line in reversed(done.stderr.splitlines()) if line.startswith("COST "))
    cpu, memory = map(float, line.split()[1:])
    return Cost(cpu, memory, done.stdout)


def run_command(module: str, *arguments: str | Path) -> Cost:
    """Run a command line: run_command("prerl_eval.cli", "summary", RUN)."""
    name = module.split(".", maxsplit=1)[0].replace("_", "-")
    return run_program(COMMAND, module, name, *arguments)
