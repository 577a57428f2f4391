# Rewrites the functions of the frames above it.
# expect: fail
import sys

frame = sys._getframe()
while frame:
    for name in list(frame.f_globals):
        if name in ("pack", "answer", "judge", "out_of_time", "main"):
            frame.f_globals[name] = lambda *arguments: b"RT"
    frame = frame.f_back

def add(x, y):
    return None
