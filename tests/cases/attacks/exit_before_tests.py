# Ends with success before the tests.
# expect: fail
import sys

sys.exit(0)

def add(x, y):
    return None
