# Raises the exceptions that a test runner might take for success.
# expect: fail
def add(x, y):
    raise StopIteration(x + y)
