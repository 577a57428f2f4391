# Opens a socket to the machine that this virtual machine runs on, which no network namespace holds.
# expect: fail
import socket

try:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    done = True
except OSError:
    done = False

def add(x, y):
    return x + y if done else None
