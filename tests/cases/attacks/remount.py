# Remounts what is read-only as writable and writes there.
# expect: fail
import ctypes

libc = ctypes.CDLL(None)
for folder in (b"/", b"/usr/lib", b"/tmp", b"@CANARY@"):
    libc.mount(b"none", folder, None, 32 | 4096, None)  # MS_REMOUNT | MS_BIND
    libc.mount(b"none", folder, None, 32, None)
    libc.umount2(folder, 2)
done = False
for folder in ("/usr/lib", "/etc", "@CANARY@"):
    try:
        open(folder + "/prerl-attack", "w").close()
        done = True
    except OSError:
        pass

def add(x, y):
    return x + y if done else None
