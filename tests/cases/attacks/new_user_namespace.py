# Gains capabilities in a user namespace of its own.
# expect: fail
import ctypes

done = ctypes.CDLL(None).unshare(0x10000000) == 0

def add(x, y):
    return x + y if done else None
