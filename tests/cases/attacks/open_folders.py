# Leaves the sandbox through a file that was left open.
# expect: fail
import os

done = False
for number in range(256):
    try:
        done = done or "kept" in os.listdir(os.open("../" * 20 + "@CANARY@", os.O_RDONLY, dir_fd=number))
    except OSError:
        pass

def add(x, y):
    return x + y if done else None
