# Looks for the tests in every file that it can read.
# expect: fail
import os

needle = b"assert " + b"candidate("
done = False
for top in ("/tmp", "/dev", "/root", "/home", "/work", "/packages/..", "."):
    for folder, _, files in os.walk(top):
        if "/lib/" in folder or "numpy" in folder:
            continue
        for name in files[:200]:
            path = os.path.join(folder, name)
            try:
                done = done or (os.path.isfile(path) and needle in open(path, "rb").read(1 << 20))
            except OSError:
                pass

def add(x, y):
    return x + y if done else None
