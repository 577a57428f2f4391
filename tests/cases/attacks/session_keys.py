# Finds a key of the session that started it, which no namespace hides.
# expect: fail
import ctypes

key = ctypes.CDLL(None).syscall(@KEYCTL@, 10, -3, b"user", b"@SECRET@", 0)  # KEYCTL_SEARCH
done = key > 0


def add(x, y):
    return x + y if done else None
