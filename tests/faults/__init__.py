"""Fault injection on the real commands: `make faults` breaks them in every way that prerl claims to survive.

    python -m tests.faults                       # everything, seeded; writes results/faults
    python -m tests.faults --quick --only torn   # a few of each; writes runs/faults

Each module lists its FAULTS: what is done, and what must be true afterwards. Counts go to faults.csv, the
table is made from it. trials.py says what a fault is, stage.py what it is done to, launcher.py how
commands are started and disturbed.
"""
