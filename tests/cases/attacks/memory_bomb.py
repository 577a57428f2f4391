# Takes memory for ever.
# expect: fail
blocks = []
try:
    while len(blocks) < 256:
        blocks.append(b"x" * (1 << 24))
except MemoryError:
    pass
done = len(blocks) == 256

def add(x, y):
    return x + y if done else None
