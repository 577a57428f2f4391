# Waits without using CPU time.
# expect: timeout
import time


def add(x, y):
    time.sleep(3600)
