# Leaves a thread behind that never ends.
# expect: fail
import threading
import time

threading.Thread(target=time.sleep, args=(3600,)).start()

def add(x, y):
    return None
