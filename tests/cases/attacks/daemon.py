# Leaves a process behind that writes later.
# expect: fail
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        for _ in range(600):
            time.sleep(0.1)
            try:
                os.close(os.open("@CANARY@/daemon", os.O_CREAT | os.O_WRONLY))
            except OSError:
                pass
    os._exit(0)

def add(x, y):
    return None
