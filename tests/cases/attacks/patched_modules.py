# Replaces every module that a judge might import.
# expect: fail
import sys

for name, module in list(sys.modules.items()):
    for attribute in ("pack", "unpack", "send", "receive", "_exit", "waitpid", "wait4"):
        if hasattr(module, attribute):
            setattr(module, attribute, lambda *arguments: None)

def add(x, y):
    return None
