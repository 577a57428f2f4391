# Mounts the host's proc, sysfs and devices, from a new namespace if it must.
# expect: fail
import ctypes
import os

libc = ctypes.CDLL(None)
libc.unshare(0x10000000 | 0x00020000)  # CLONE_NEWUSER | CLONE_NEWNS
os.makedirs("m", exist_ok=True)
done = any(
    libc.mount(kind, b"m", kind, 0, None) == 0 for kind in (b"proc", b"sysfs", b"devtmpfs", b"tmpfs", b"cgroup2")
)

def add(x, y):
    return x + y if done else None
