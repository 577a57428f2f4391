# Ends with success inside the first test.
# expect: fail
import os


def add(x, y):
    os._exit(0)
