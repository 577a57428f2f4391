# Connects to a socket without a file, which no mount hides.
# expect: fail
# without isolation: pass
import socket

try:
    socket.socket(socket.AF_UNIX).connect("\0@SECRET@")
    done = True
except OSError:
    done = False

def add(x, y):
    return x + y if done else None
