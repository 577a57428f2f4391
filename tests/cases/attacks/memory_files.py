# Takes memory in files without a name, which the limit of memory does not count.
# expect: fail
# without isolation: pass
import os

written = 0
try:
    for _ in range(20):
        file = os.memfd_create("flood")
        for _ in range(16):
            written += os.write(file, b"x" * (1 << 20))
except OSError:
    pass
done = written > 1 << 28

def add(x, y):
    return x + y if done else None
