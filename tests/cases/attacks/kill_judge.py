# Kills, stops and interrupts its parent and everything else.
# expect: fail
import os
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGSEGV, signal.SIGSTOP, signal.SIGKILL):
    for process in (1, os.getppid()):
        if os.getpid() < 100:  # only inside: the first process here is the judge
            os.kill(process, number)

def add(x, y):
    return None
