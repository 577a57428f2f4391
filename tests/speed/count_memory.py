"""`prerl-behavior count` on files of growing size: peak memory must not grow with them.

    python -m tests.speed.count_memory [--sizes 100 500 2000]

Responses are made up (words of a small vocabulary, phrases of reflection among them), 4 to a problem, with
prompts that are quoted, so that every part of the counting has work. Each size is counted by a process of
its own.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GROWTH = 48
"""Megabytes that the largest file may take more than the smallest."""

WORDS = "the sum of these numbers is equal to some value so we take this term and find each side".split()  # noqa: SIM905
PHRASES = (
    "Wait, let me check this again",
    "Alternatively",
    "That seems right",
    "the waiter is waiting",
    "$x^2 + 1$",
)

PROGRAM = """
import resource, sys
from behavior.report import CountOptions, count_words
found = count_words(CountOptions([sys.argv[1]]))
(run,) = found["runs"].values()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(run["responses"], run["labels"]["reflection"]["count"], peak)
"""


def write_file(file: Path, megabytes: int) -> None:
    """A jsonl file of at least this size; the same seed for every size."""
    draws = random.Random(0)
    paragraphs = [
        " ".join([draws.choice(PHRASES), *draws.choices(WORDS, k=60)]).capitalize() + "." for _ in range(5000)
    ]
    written = problem = 0
    with file.open("w") as stream:
        while written < megabytes << 20:
            prompt = f"Problem {problem}: " + " ".join(draws.choices(WORDS, k=40))
            for _ in range(4):
                text = "\n\n".join([prompt, *draws.choices(paragraphs, k=draws.randint(3, 40))])
                written += stream.write(json.dumps({"prompt": prompt, "completion": text}) + "\n")
            problem += 1


def compare(sizes: list[int]) -> bool:
    """Print one line per size; whether memory stayed flat."""
    peaks = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "made-up.jsonl"
            write_file(file, size)
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=True
            )
        responses, count, kilobytes = map(int, done.stdout.split())
        seconds = time.perf_counter() - began
        peaks.append(kilobytes / 1024)
        print(
            f"{size:6,} MB  {responses:9,} responses  {count:9,} reflections  {seconds:7.1f} s  "
            f"{size / seconds:5.1f} MB/s  peak {peaks[-1]:5.0f} MB",
            flush=True,
        )
    held = max(peaks) - peaks[0] <= GROWTH
    print(
        f"peak memory grew by {max(peaks) - peaks[0]:.0f} MB (bound {GROWTH}): {'held' if held else 'MISSED'}"
    )
    return held


def main() -> None:
    """Parse sizes, compare, exit 1 where memory grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500], help="megabytes")
    sys.exit(0 if compare(parser.parse_args().sizes) else 1)


if __name__ == "__main__":
    main()
