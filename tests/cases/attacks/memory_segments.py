# Takes shared memory that stays when it is detached, which the limit of memory does not count.
# expect: fail
import ctypes
import os

done = False
if os.getpid() < 100:  # only inside: elsewhere it would stay
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmdt.argtypes = [ctypes.c_void_p]
    taken = 0
    for _ in range(20):
        segment = libc.shmget(0, ctypes.c_size_t(1 << 24), 0o1600)
        place = libc.shmat(segment, None, 0) if segment >= 0 else None
        if place and place != 2**64 - 1:
            ctypes.memset(place, 1, 1 << 24)
            libc.shmdt(place)
            taken += 1 << 24
    done = taken > 1 << 28

def add(x, y):
    return x + y if done else None
