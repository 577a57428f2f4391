"""The short form of `make faults`: real kills of the real command, and the workers it leaves."""

import random
import time

from prerl_eval import store
from tests import faults
from tests.tiny import tiny_model  # noqa: F401 - the fixture is found by its name


def test_kills_lose_nothing_that_was_stored(tiny_model, tmp_path):  # noqa: F811
    work = faults.Work(problems=28, n=8, ckpt=tiny_model, batch_size=4)
    faults.finish(work.command(tmp_path / "undisturbed"), tmp_path / "log")
    lines = faults.torment(work, kills=2, folder=tmp_path, rng=random.Random(0))
    assert len(lines) == 2
    assert faults.content(tmp_path / "run") == faults.content(tmp_path / "undisturbed")


def test_a_kill_leaves_no_process_behind(hub, tiny_model, tmp_path):  # noqa: F811
    """Golds that are no integers start grading workers; they must go with the command."""
    flags = ["--data-root", str(hub), "--max-tokens", "64"]
    command = faults.Work(problems=40, n=16, ckpt=tiny_model).command(tmp_path / "run")
    command[command.index("countdown")] = "math500"
    process = faults.start([*command, *flags], tmp_path / "log")
    while not store.parts(tmp_path / "run"):
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while faults.orphans(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert faults.orphans(process.pid) == []
