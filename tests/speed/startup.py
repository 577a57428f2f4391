"""`prerl-eval --help` against the `--help` of an empty typer app, in turn."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.speed.rows import Measured, Row, script

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


def measure(quick: bool = False) -> Measured:
    """Both medians and the median ratio of pairs."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        peer = [sys.executable, str(empty), "--help"]
        ours = [str(Path(sys.executable).with_name("prerl-eval")), "--help"]
        seconds(peer), seconds(ours)
        pairs = [(seconds(ours), seconds(peer)) for _ in range(5 if quick else 15)]
    ratio = statistics.median(a / b for a, b in pairs)
    row = Row(
        name="`prerl-eval --help`",
        unit="s",
        prerl=statistics.median(a for a, _ in pairs),
        peer_name="the `--help` of an empty typer app",
        peer=statistics.median(b for _, b in pairs),
        ratio=ratio,
        ratio_is="times its time",
        bound=BOUND,
    )
    return Measured([row])


if __name__ == "__main__":
    script(measure)
