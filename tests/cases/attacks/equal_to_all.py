# Returns an object that equals everything.
# expect: fail
class Equal:
    def __eq__(self, other):
        return True

    def __bool__(self):
        return True


def add(x, y):
    return Equal()
