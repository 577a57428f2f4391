# Opens disks and memory, and makes devices.
# expect: fail
import os
import stat

done = False
for name in ("/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/tty", "/dev/ptmx"):
    try:
        os.open(name, os.O_RDONLY)
        done = True
    except OSError:
        pass
try:
    os.mknod("device", 0o666 | stat.S_IFBLK, os.makedev(254, 0))
    done = True
except OSError:
    pass

def add(x, y):
    return x + y if done else None
