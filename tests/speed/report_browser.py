"""How fast Chromium opens a large report, against an empty page of the same size, and switches samples.

The report is that of tests/speed/report.py: 30 problems x 32 samples x 3 runs x 4,000 tokens. The peer is
a page with as many bytes in one comment. Both are opened in turn in one browser, from the disk's cache;
open means until the page's load event, shown until the first trace stands on the page and one more frame
was drawn. A switch ends two frames after the trace has changed, so its least is what two frames take.
"""

import statistics
import tempfile
import time
from pathlib import Path

from tests.browser import Chromium, find_chromium
from tests.speed.process import run_command
from tests.speed.report import PROBLEMS, write_runs
from tests.speed.rows import Measured, Row, Unavailable, script

BOUND, ROUNDS, SWITCHES = 3.0, 7, 50

SHOWN = """new Promise((done) => {
  const look = () => (document.getElementById('browser')?.dataset.shown
    ? requestAnimationFrame(() => done(true)) : setTimeout(look, 1));
  look();
})"""

SWITCH = """new Promise((done) => {
  const root = document.getElementById('browser'), before = root.dataset.shown, start = performance.now();
  CHANGE;
  const look = () => (root.dataset.shown !== before
    ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)))
    : setTimeout(look));
  look();
})"""
SAMPLE = """const chips = [...document.querySelectorAll('.chip')];
  chips[(37 * PLACE + 1) % chips.length].click()"""
PROBLEM = """document.querySelectorAll('.problems a')[(7 * PLACE + 1) % PROBLEMS].click()"""
SEARCH = """new Promise((done) => {
  const start = performance.now();
  document.getElementById('filter-text').value = 'no response holds this';
  document.querySelector('.filters').requestSubmit();
  const look = () => (document.querySelector('progress').hidden
    ? done(performance.now() - start) : setTimeout(look, 5));
  setTimeout(look, 5);
})"""

NONE = "0 samples of 0 problems pass the filter"


def write_report(folder: Path, problems: int) -> Path:
    """The report of tests/speed/report.py."""
    base, *others = map(str, write_runs(folder, problems))
    out = folder / "report.html"
    run_command("prerl_eval.cli", "report", *others, "--base", base, "--out", out)
    return out


def write_empty(out: Path, size: int) -> Path:
    """A page of `size` bytes that shows nothing."""
    start, end = b"<!DOCTYPE html><title>empty</title><!--", b"-->"
    out.write_bytes(start + b"x" * (size - len(start) - len(end)) + end)
    return out


def measure(quick: bool = False) -> Measured:
    """Wall times, medians of rounds in turn. Raises Unavailable where there is no Chromium."""
    program = find_chromium()
    if program is None:
        raise Unavailable("no Chromium here")
    problems = 6 if quick else PROBLEMS
    with tempfile.TemporaryDirectory() as folder:
        report = write_report(Path(folder), problems)
        size = report.stat().st_size
        empty = write_empty(Path(folder) / "empty.html", size)
        browser = Chromium(Path(folder) / "profile", program)
        try:
            browser.look()
            return _measure(browser, report, empty, problems)
        finally:
            browser.close()


def _measure(browser: Chromium, report: Path, empty: Path, problems: int) -> Measured:
    opened, shown, peer = [], [], []
    for _ in range(ROUNDS):
        browser.open("about:blank")
        peer.append(browser.open(empty.as_uri()))
        browser.open("about:blank")
        start = time.perf_counter()
        opened.append(browser.open(report.as_uri()))
        browser.run(SHOWN)
        shown.append(time.perf_counter() - start)
    row = Row(
        name=f"opening a report of {report.stat().st_size / 1e6:.1f} MB in Chromium",
        unit="ms",
        prerl=1000 * statistics.median(opened),
        peer_name="an empty page of its size",
        peer=1000 * statistics.median(peer),
        ratio=statistics.median(opened) / statistics.median(peer),
        ratio_is="times its time",
        bound=BOUND,
    )
    notes = [f"The opened report shows its first trace after {1000 * statistics.median(shown):.0f} ms."]
    for name, change in (("sample", SAMPLE), ("problem", PROBLEM)):
        steps = (change.replace("PLACE", str(place)) for place in range(SWITCHES))
        codes = (SWITCH.replace("CHANGE", step.replace("PROBLEMS", str(problems))) for step in steps)
        times = [browser.run(code) for code in codes]
        notes.append(
            f"Another {name} of an opened report shows after {statistics.median(times):.0f} ms (median of "
            f"{SWITCHES}; worst {max(times):.0f} ms)."
        )
    notes.append(f"A search of all its responses takes {browser.run(SEARCH):.0f} ms.")
    assert browser.run("document.querySelector('.matches').textContent") == NONE
    return Measured([row], notes=notes)


if __name__ == "__main__":
    script(measure)
