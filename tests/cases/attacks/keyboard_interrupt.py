# Raises what `except Exception` does not catch.
# expect: fail
def add(x, y):
    raise KeyboardInterrupt
