# Opens more files than it may.
# expect: fail
import os

opened = 0
try:
    while opened < 5000:
        os.open("/dev/null", os.O_RDONLY)
        opened += 1
except OSError:
    pass
done = opened == 5000

def add(x, y):
    return x + y if done else None
