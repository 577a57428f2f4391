# Counts the processes that exist.
# expect: fail
# without isolation: pass
import os

seen = 0
for number in range(1, 40000):
    try:
        os.kill(number, 0)
        seen += 1
    except ProcessLookupError:
        pass
    except PermissionError:
        seen += 1
done = seen > 5

def add(x, y):
    return x + y if done else None
