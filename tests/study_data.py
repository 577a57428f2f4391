"""A study's folder with every kind of arm, its counts drawn at random: small, and the same each time."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.study.collect import COUNTS

PLAN = """
model = "base"
recipe = "nano"
save_every = 5
steps = 40
seeds = 3
look = {step = 40, measure = "val"}
[cost]
update = 1
sample = 1
base = 1
align = 1
problems = 200
[measure.val]
benchmarks = ["countdown-val"]
n = 8
[measure.test]
benchmarks = ["countdown", "countdown-ood"]
n = 32
[measure.test64]
benchmarks = ["countdown", "countdown-ood"]
n = 64
[measure."t0.6"]
benchmarks = ["countdown"]
n = 32
temperature = 0.6
[measure."t1.4"]
benchmarks = ["countdown"]
n = 32
temperature = 1.4
[measure.hard]
benchmarks = ["countdown-hard"]
n = 64
[bases.norestate]
seed = 0
[arms.base]
algorithm = "base"
at = [{step = 0, measure = "test"}]
[arms."base.norestate"]
algorithm = "base"
at = [{step = 0, measure = "test"}]
base = "norestate"
[arms.grpo]
looks = ["4e-4", "8e-4"]
[arms.dsrl]
lr = "8e-4"
[arms.dsrl-rl]
algorithm = "dsrl"
lr = "8e-4"
options = {warmup_space = "rl"}
[arms.swapped]
algorithm = "dsrl"
lr = "8e-4"
options = {warmup_space = "swapped"}
[arms.dsrl-s20]
algorithm = "dsrl"
lr = "8e-4"
options = {warmup_steps = 20}
[arms.dsrl-s40]
algorithm = "dsrl"
lr = "8e-4"
options = {warmup_steps = 40}
[arms.grpo-long]
algorithm = "grpo"
lr = "8e-4"
at = [{step = [40, 80], measure = "test"}]
[arms.grpo-then-grpo]
algorithm = "grpo"
lr = "8e-4"
from = {arm = "grpo", step = 20}
[arms.grpo-then-prerl]
algorithm = "prerl"
lr = "2e-4"
from = {arm = "grpo", step = 20}
[arms.norestate-grpo]
algorithm = "grpo"
lr = "8e-4"
base = "norestate"
[arms.norestate-dsrl]
algorithm = "dsrl"
lr = "8e-4"
base = "norestate"
"""

LOOKS = """arm,lr,seed,benchmark,problems,n,avg,low,high
grpo,4e-4,0,countdown-val,200,8,0.3,0.2,0.4
grpo,8e-4,0,countdown-val,200,8,0.4,0.3,0.5
"""

TESTS = ("countdown", "countdown-ood")
# (arm, lr, steps, gain in log odds at step 40)
TRAINED = [
    ("grpo", "8e-4", (20, 40), 1.0),
    ("dsrl", "8e-4", (40, 50), 1.1),
    ("dsrl-rl", "8e-4", (35, 40, 50), 1.0),
    ("swapped", "8e-4", (40,), 0.7),
    ("dsrl-s20", "8e-4", (40, 60), 0.9),
    ("dsrl-s40", "8e-4", (40, 80), 0.4),
    ("grpo-long", "8e-4", (40, 80), 1.0),
    ("grpo-then-grpo", "8e-4", (20,), 2.0),
    ("grpo-then-prerl", "2e-4", (20,), 1.4),
    ("norestate-grpo", "8e-4", (40,), 0.8),
    ("norestate-dsrl", "8e-4", (40,), 0.3),
]


def add_rows(arm, lr, seed, step, measure, benchmark, n, *, problems=None, correct=None, finished=None):
    """Rows of counts.parquet of one model: `correct` of n samples per problem, or none of `problems`."""
    model = arm if arm.startswith("base") else f"{arm}-{lr}-{seed}"
    correct = [0] * (problems or 2) if correct is None else correct
    ended = [None] * len(correct) if finished is None else finished
    return [
        (model, arm, lr, seed, step, measure, benchmark, f"test-{i:04d}", n, int(right), some)
        for i, (right, some) in enumerate(zip(correct, ended, strict=True))
    ]


def table_of(rows):
    """Rows as counts.parquet has them."""
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=COUNTS)


def write_study(folder, rows=None, seeds=3):
    """Write study.toml, looks.csv, runs.csv, kl.csv and counts.parquet into a folder."""
    (folder / "study.toml").write_text(PLAN)
    (folder / "looks.csv").write_text(LOOKS)
    (folder / "kl.csv").write_text(
        "model,arm,seed,step,kl_per_response,kl_se\na,dsrl,0,10,0.5,0.1\nb,dsrl,1,10,0.7,0.1\n"
    )
    runs = [
        f"{arm},{lr},{seed},{step},{step * (9000 + seed)}"
        for arm, lr, steps, _ in TRAINED
        for seed in range(seeds)
        for step in steps
    ]
    (folder / "runs.csv").write_text("\n".join(["arm,lr,seed,step,tokens", *runs]) + "\n")
    pq.write_table(table_of(rows or _drawn(seeds)), folder / "counts.parquet")
    return folder


def _drawn(seeds, problems=12):
    rng = np.random.default_rng(0)
    easy = rng.normal(-1.0, 1.2, problems)
    rows = []

    def add(arm, lr, seed, step, measure, benchmark, n, gain):
        error = rng.normal(0, 0.1) + rng.normal(0, 0.5, problems)
        correct = rng.binomial(n, 1 / (1 + np.exp(-(easy + gain + error))))
        finished = [n] * problems if arm == "dsrl" else None
        rows.extend(add_rows(arm, lr, seed, step, measure, benchmark, n, correct=correct, finished=finished))

    for name in TESTS:
        add("base", "", 0, 0, "test", name, 64, 0.0)
        add("base.norestate", "", 0, 0, "test", name, 64, 0.0)
        for arm, lr, steps, gain in TRAINED:
            for seed in range(seeds):
                for step in steps:
                    add(arm, lr, seed, step, "test", name, 32, gain * step / 40)
    for measure, gain in (("t0.6", 0.6), ("t1.4", -0.6)):
        add("base", "", 0, 0, measure, "countdown", 32, gain)
        for seed in range(seeds):
            add("grpo", "8e-4", seed, 40, measure, "countdown", 32, 1.0 + gain)
    add("base", "", 0, 0, "hard", "countdown-hard", 64, -3.0)
    for seed in range(seeds):
        add("grpo", "8e-4", seed, 40, "hard", "countdown-hard", 64, -2.0)
    return rows
