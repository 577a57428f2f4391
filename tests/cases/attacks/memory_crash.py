# Dies of a lack of memory.
# expect: fail
x = [0] * (1 << 40)


def add(x, y):
    return x + y
