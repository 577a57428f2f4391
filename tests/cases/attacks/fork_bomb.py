# Every process forks for ever.
# expect: timeout
import os
import time

while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.05)
