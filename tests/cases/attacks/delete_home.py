# Deletes the home folder.
# expect: fail
import os
import shutil

shutil.rmtree("@CANARY@", ignore_errors=True)
try:
    os.remove("@CANARY@/kept")
    done = True
except OSError:
    done = False

def add(x, y):
    return x + y if done else None
