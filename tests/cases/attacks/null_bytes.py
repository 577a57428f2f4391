# Holds null bytes.
# expect: syntax
text = "a@NUL@b"
def add(x, y):
    return x + y
