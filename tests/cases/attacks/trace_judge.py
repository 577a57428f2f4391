# Traces the judge, reads its memory, takes its files.
# expect: fail
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()
buffer = ctypes.create_string_buffer(64)


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


here = Vector(ctypes.addressof(buffer), 64)
there = Vector(id(libc), 64)  # the same address in the process it was forked from
attempts = [
    libc.ptrace(16, parent, None, None),  # PTRACE_ATTACH
    libc.process_vm_readv(parent, ctypes.byref(here), 1, ctypes.byref(there), 1, 0),
]
try:
    judge = os.pidfd_open(parent)
    attempts.append(libc.syscall(438, judge, 1, 0))  # pidfd_getfd, of its standard output
except OSError:
    pass
done = any(result >= 0 for result in attempts)

def add(x, y):
    return x + y if done else None
