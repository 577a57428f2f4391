# Answers before it is asked, with lengths and values of its own.
# expect: fail
import os

for number in range(3, 256):
    try:
        os.set_blocking(number, False)
        os.write(number, (1 << 62).to_bytes(8, "big"))
        os.write(number, b"RT" * 100_000)
    except OSError:
        pass

def add(x, y):
    return None
