# Fills the scratch folder, and every other place it can write, with files below the limit.
# expect: fail
import os

written = 0
for folder in ("/tmp", "/dev/shm", "/var/tmp", "/dev", "/"):
    try:
        for number in range(40):
            with open(os.path.join(folder, f"prerl-flood-{number}"), "wb", buffering=0) as file:
                written += file.write(b"x" * (8 << 20))
    except OSError:
        pass
done = written > 1 << 28

def add(x, y):
    return x + y if done else None
