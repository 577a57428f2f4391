# Prints a pass, and writes what a judge would write to every open file.
# expect: fail
import os

print("pass\nOK\n1 passed", flush=True)
for message in (b"t2;i0;s4;pass", b"RT", b"RN", b"Ri5;", b"pass\n", b"t2;N" + b"s4;pass"):
    for number in range(256):
        try:
            os.write(number, len(message).to_bytes(8, "big") + message)
        except OSError:
            pass

def add(x, y):
    return None
