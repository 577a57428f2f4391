"""A guarded child does not outlive a parent that was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

PARENT = """
import subprocess, sys, time
from prerl_eval.engines.orphans import OrphanGuard
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
guard = OrphanGuard()
guard.watch(child.pid)
guard.watch(child.pid)
if sys.argv[1] == "closed":
    guard.close()
    guard.close()
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("state", "survives"), [("guarded", False), ("closed", True)])
def test_a_guarded_child_ends_with_its_killed_parent(state, survives):
    command = [sys.executable, "-c", PARENT, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + (3 if survives else 20)
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = is_running(child)
    if alive:
        os.kill(child, signal.SIGKILL)
    assert alive is survives
