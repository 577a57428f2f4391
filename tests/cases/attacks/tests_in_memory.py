# Looks for the tests in its own memory: objects, frames, modules, arguments.
# expect: fail
import gc
import sys

needle = "assert " + "candidate("
seen = [sys.argv, sys.orig_argv, sys.flags]
frame = sys._getframe()
while frame:
    seen += [frame.f_locals, frame.f_globals]
    frame = frame.f_back
seen += gc.get_objects()
seen += [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
done = False
for thing in seen:
    if type(thing) is dict:
        thing = list(thing.values())
    if type(thing) in (list, tuple):
        done = done or any(type(item) is str and needle in item[1:] for item in list(thing))

def add(x, y):
    return x + y if done else None
