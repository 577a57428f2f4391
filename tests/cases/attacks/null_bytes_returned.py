# Returns null bytes and lone surrogates.
# expect: fail
def add(x, y):
    return "\0" * 100 + "\ud800"
