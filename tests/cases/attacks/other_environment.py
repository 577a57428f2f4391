# Reads the environment of every process that it can see.
# expect: fail
# without isolation: pass
import glob
import os

found = [repr(os.environ)]
for name in glob.glob("/proc/[0-9]*/environ"):
    try:
        found.append(open(name, errors="replace").read())
    except OSError:
        pass
done = any("@SECRET@" in text for text in found)

def add(x, y):
    return x + y if done else None
