# Writes a file without end.
# expect: fail
written = 0
try:
    with open("huge", "wb", buffering=0) as file:
        while written < 1 << 28:
            written += file.write(b"x" * (1 << 20))
except OSError:
    pass
done = written >= 1 << 28

def add(x, y):
    return x + y if done else None
