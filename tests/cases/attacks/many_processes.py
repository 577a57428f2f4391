# Starts more processes than it may.
# expect: fail
import os
import time

children = 0
for _ in range(100):
    try:
        child = os.fork()
    except OSError:
        break
    if child == 0:
        time.sleep(60)
        os._exit(0)
    children += 1
done = children > 20

def add(x, y):
    return x + y if done else None
