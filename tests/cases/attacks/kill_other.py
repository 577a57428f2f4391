# Kills a process of the same machine.
# expect: fail
# without isolation: pass
import os
import signal

try:
    os.kill(@VICTIM@, signal.SIGKILL)
    done = True
except OSError:
    done = False

def add(x, y):
    return x + y if done else None
