"""`prerl-eval --help` against the `--help` of an empty typer app, in turn."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUND = 1.6

EMPTY = """
import typer
app = typer.Typer()
@app.command()
def main() -> None: ...
app()
"""


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def compare(quick: bool = False) -> bool:
    """Print both medians and their ratio; true where the bound holds."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        peer = [sys.executable, str(empty), "--help"]
        ours = [str(Path(sys.executable).with_name("prerl-eval")), "--help"]
        seconds(peer), seconds(ours)
        pairs = [(seconds(ours), seconds(peer)) for _ in range(5 if quick else 15)]
    ratio = statistics.median(a / b for a, b in pairs)
    print("\n`prerl-eval --help` against an empty typer app (wall seconds, median of pairs in turn)")
    print(f"  prerl-eval --help    {statistics.median(a for a, _ in pairs):.3f}")
    print(f"  empty app --help     {statistics.median(b for _, b in pairs):.3f}")
    print(f"  ratio                {ratio:.2f}  (bound {BOUND})")
    return ratio <= BOUND


if __name__ == "__main__":
    sys.exit(0 if compare() else 1)
