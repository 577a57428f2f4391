# Asks for a queue of system calls, which no filter of the calls themselves sees.
# expect: fail
import ctypes

done = ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120)) >= 0

def add(x, y):
    return x + y if done else None
