# Prints ten megabytes, and returns as many.
# expect: fail
import os
import sys

for _ in range(10):
    sys.stdout.write("x" * (1 << 20))
    sys.stderr.write("y" * (1 << 20))
    os.write(1, b"z" * (1 << 20))


def add(x, y):
    return "x" * 10_000_000
