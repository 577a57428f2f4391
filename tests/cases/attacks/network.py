# Connects to a server of this machine.
# expect: fail
# without isolation: pass
import socket

try:
    socket.create_connection(("127.0.0.1", @PORT@), timeout=2).close()
    done = True
except OSError:
    done = False

def add(x, y):
    return x + y if done else None
