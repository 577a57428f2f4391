# Kills every process that it may.
# expect: fail
import os
import signal

if os.getpid() < 100:  # only inside
    os.kill(-1, signal.SIGKILL)

def add(x, y):
    return None
