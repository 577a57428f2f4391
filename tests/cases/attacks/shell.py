# Starts a shell.
# expect: fail
# without isolation: pass
import os
import subprocess

try:
    done = subprocess.run(["/bin/sh", "-c", "exit 7"]).returncode == 7
except OSError:
    done = os.system("exit 7") == 7 << 8

def add(x, y):
    return x + y if done else None
