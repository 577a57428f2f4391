# Returns a list that holds itself, and one nested beyond reading.
# expect: fail
def add(x, y):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    deep.append(deep)
    return deep
