# Replaces what a comparison might use.
# expect: fail
import builtins
import operator
import sys

for name in ("isinstance", "all", "any", "bool", "callable"):
    setattr(builtins, name, lambda *arguments: True)
builtins.AssertionError = SystemExit
builtins.int = builtins.float = builtins.list = lambda *arguments: 5
operator.eq = lambda a, b: True
sys.excepthook = lambda *arguments: None
sys.flags = None

def add(x, y):
    return None
