# Closes its pipes and lives on.
# expect: fail
import os
import time

os.closerange(0, 256)
time.sleep(3600)
