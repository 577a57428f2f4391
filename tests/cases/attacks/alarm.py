# Sets an alarm whose handler leaves.
# expect: fail
import os
import signal
import time

signal.signal(signal.SIGALRM, lambda *arguments: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.1)


def add(x, y):
    time.sleep(1)
