# Becomes root.
# expect: fail
import os

done = False
for attempt in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: os.setresuid(0, 0, 0), lambda: os.chroot("/")):
    try:
        attempt()
        done = True
    except OSError:
        pass

def add(x, y):
    return x + y if done else None
