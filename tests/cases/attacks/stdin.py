# Reads the tests from standard input.
# expect: fail
import os
import sys

try:
    text = sys.stdin.read() + input()
except EOFError:
    text = ""
text += os.read(0, 1 << 20).decode("utf-8", "replace")
done = "candidate" in text

def add(x, y):
    return x + y if done else None
