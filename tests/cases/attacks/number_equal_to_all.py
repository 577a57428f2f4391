# Returns a number that equals everything.
# expect: fail
class Equal(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


def add(x, y):
    return Equal(99)
