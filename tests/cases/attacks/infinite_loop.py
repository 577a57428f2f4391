# An endless loop inside the function.
# expect: timeout
def add(x, y):
    while True:
        pass
