# Overflows the stack.
# expect: fail
import sys

sys.setrecursionlimit(10**9)


def add(x, y):
    return max([x], [y], key=lambda value: add(x, y))
