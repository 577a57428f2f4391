# Writes and appends to a file that everybody may write.
# expect: fail
# without isolation: pass
try:
    with open("@CANARY@/kept", "a") as file:
        file.write("changed")
    done = True
except OSError:
    done = False

def add(x, y):
    return x + y if done else None
