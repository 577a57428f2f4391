"""Programs that attack their sandbox: each is contained, told for what it is, and changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks import attacks, run_all
from tests.conftest import REPO

ATTACKS = attacks()


@pytest.fixture(scope="module")
def results(isolation):
    """As the user that runs the tests, which may be root."""
    return run_all(isolation)


@pytest.fixture(scope="module")
def results_of_a_user(isolation):
    """As an ordinary user who runs them, where root does here."""
    if os.geteuid() != 0:
        pytest.skip("these tests are run by an ordinary user already")
    call = [*_as_nobody(), "-m", "tests.attacks"]
    done = subprocess.run(
        call, cwd=REPO, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["user"] == 65534
    return found["results"]


def _as_nobody() -> list[str]:
    """The command of this Python as user 65534; where it lies under /root, in a view in which it does not."""
    python = Path(sys._base_executable).resolve()
    nobody = [
        shutil.which("setpriv"),
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        str(python),
        "-B",
    ]
    needed = (Path(sys.base_prefix) / "lib", python, REPO)
    closed = next(
        (place for path in needed for place in reversed(path.parents) if not place.stat().st_mode & 1), None
    )
    if closed is None:
        return nobody
    view = ["bwrap", "--dev-bind", "/", "/", "--cap-add", "ALL", "--perms", "0755", "--tmpfs", str(closed)]
    for path in needed:
        if closed in path.parents:
            for parent in reversed([folder for folder in path.parents if closed in folder.parents]):
                view += ["--perms", "0755", "--dir", str(parent)]
            view += ["--ro-bind", str(path), str(path)]
    return [*view, "--", *nobody]


def test_every_listed_attack_has_a_file():
    assert len(ATTACKS) >= 60
    assert {attack.expect for attack in ATTACKS} == {"fail", "timeout", "syntax"}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack(attack, results):
    assert tuple(results[attack.name]) == (attack.expect, [])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_on_an_ordinary_user(attack, results_of_a_user):
    assert tuple(results_of_a_user[attack.name]) == (attack.expect, [])
