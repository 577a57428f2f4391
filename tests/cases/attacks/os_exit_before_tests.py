# Ends with success before the tests, without clean-up.
# expect: fail
import os

os._exit(0)

def add(x, y):
    return None
