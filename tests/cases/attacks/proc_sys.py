# Opens kernel settings for writing.
# expect: fail
done = False
for name in ("/proc/sys/kernel/domainname", "/proc/sys/vm/drop_caches", "/sys/kernel/mm/ksm/run", "/proc/sysrq-trigger"):
    try:
        open(name, "r+").close()
        done = True
    except OSError:
        pass

def add(x, y):
    return x + y if done else None
