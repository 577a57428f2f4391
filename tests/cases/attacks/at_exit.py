# Waits for ever when it should end.
# expect: fail
import atexit
import time

atexit.register(time.sleep, 3600)


def add(x, y):
    raise SystemExit(0)
