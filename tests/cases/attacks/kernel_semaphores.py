# Takes the kernel's memory, a few megabytes of semaphores at a time.
# expect: fail
import ctypes
import os

libc = ctypes.CDLL(None)
inside = os.getpid() < 100
done = inside and all(libc.semget(0, 1000, 0o1600) >= 0 for _ in range(5))

def add(x, y):
    return x + y if done else None
