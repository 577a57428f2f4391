# Takes the judge's memory, files and time away.
# expect: fail
import os
import resource

if os.getpid() < 100:  # only inside
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
        try:
            resource.prlimit(os.getppid(), kind, (0, 0))
        except OSError:
            pass

def add(x, y):
    return None
