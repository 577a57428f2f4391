# Makes a file of a terabyte that takes no room.
# expect: fail
import os

try:
    os.truncate(os.open("sparse", os.O_CREAT | os.O_RDWR), 1 << 40)
    done = True
except OSError:
    done = False

def add(x, y):
    return x + y if done else None
