# Starts more threads than it may.
# expect: fail
import threading
import time

threads = 0
for _ in range(100):
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError:
        break
    threads += 1
done = threads > 20

def add(x, y):
    return x + y if done else None
