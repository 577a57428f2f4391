"""The sandbox at work: values that cross it, outcomes, many programs at once, refusals."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prerl_eval.errors import UserError
from prerl_eval.sandbox import Job, Limits, ProgramPool, find_isolation, run_job, unisolated
from prerl_eval.sandbox.isolation import ENVIRONMENT, bubblewrap
from prerl_eval.sandbox.wire import MAX_PIECES, Opaque, pack, unpack
from tests.attacks import World, attacks

ADD = "def add(x, y): return x + y"
CHECK = "def check(f): assert f(2, 3) == 5"

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
)
hashable = scalars | st.tuples(scalars, scalars) | st.frozensets(scalars)
values = st.recursive(
    hashable | st.sets(hashable),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(hashable, inner),
)


@settings(max_examples=50)
@given(values)
@example([-0.0, float("inf"), 2**5000, "\ud800\0", b"\xff", {1: {2: (3,)}}])
def test_plain_values_cross_exactly(value):
    back = unpack(pack(value))
    assert back == value
    assert repr(back) == repr(value) or isinstance(value, (set, frozenset, dict, list, tuple))
    assert type(back) is type(value)


@given(st.binary())
@example(pack([1, "x"])[:-1])
@example(b"fnan;")
@example(b"f0x1p99999;")
@example(b"q1;0;")
@example(b"S1;l0;")
@example(b"s-1;")
def test_other_bytes_are_refused(data):
    try:
        unpack(data)
    except (ValueError, TypeError, RecursionError):
        return


class Colour(int):
    pass


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Colour(3), 3),
        (Counter("aab"), {"a": 2, "b": 1}),
        (Fraction(1, 3), Fraction(1, 3)),
        (Decimal("0.5"), Fraction(1, 2)),
        (range(0, 9, 2), range(0, 9, 2)),
        (bytearray(b"x"), b"x"),
    ],
)
def test_a_subclass_arrives_as_its_plain_base(value, arrives):
    back = unpack(pack(value))
    assert back == arrives
    assert type(back) is type(arrives)


def test_iterators_arrive_as_iterators_and_objects_as_nothing():
    assert list(unpack(pack(map(str, [1, 2])))) == ["1", "2"]
    assert unpack(pack(iter([1]))) != [1]
    assert isinstance(unpack(pack(object())), Opaque)
    assert unpack(pack([object()])) != unpack(pack([object()]))
    with pytest.raises(ValueError, match="too large"):
        pack(iter(int, 1))
    with pytest.raises(ValueError, match="too large"):
        pack([0] * (MAX_PIECES + 2))


@pytest.mark.parametrize(
    ("program", "tests", "said"),
    [
        (ADD, CHECK, "pass"),
        (ADD, "def check(f): assert f(2, y=3) == 5", "pass"),
        ("def add(x, y): return x - y", CHECK, "fail"),
        ("add = 5", CHECK, "fail"),
        ("def other(x, y): return 5", CHECK, "fail"),
        ("def add(x, y) return", CHECK, "syntax"),
        ("raise SyntaxError", CHECK, "fail"),
        (
            "def add(x, y): raise KeyError",
            "def check(f):\n try: f(1, 2)\n except KeyError: return\n assert 0",
            "pass",
        ),
        ("def add(x, y): raise KeyError", "def check(f):\n try: f(1, 2)\n except ValueError: return", "fail"),
        ("def add(x, y): return [(x, {y})]", "def check(f): assert f(1, 2) == [(1, {2})]", "pass"),
        ("def add(x, y): return [x, y]", "def check(f): assert f(1, 2) == (1, 2)", "fail"),
        (
            "def add(x, y): x.append(y); return x",
            "def check(f):\n a = [1]\n assert f(a, 2) == [1, 2]",
            "pass",
        ),
        (ADD, "def check(f):\n import random\n assert f(random.random(), 0) == 0.8444218515250481", "pass"),
        (ADD, "def check(f): assert", "bad tests"),
        (ADD, "x = 1", "bad tests"),
        (ADD, "import os\ndef check(f): assert f(1, 1) == 2 and not os.path.exists('/proc')", "pass"),
    ],
)
def test_outcome(program, tests, said, isolation):
    assert run_job(Job(program, "add", tests), isolation).said == said


def test_sets_of_strings_are_ordered_alike_in_every_run(isolation):
    order = "list({'a', 'b', 'c', 'd', 'e', 'f', 'g'})"
    zero = {"PYTHONHASHSEED": "0"}
    alike = subprocess.run(
        [sys.executable, "-c", f"print({order})"], env=zero, capture_output=True, text=True
    )
    tests = f"def check(f): assert f() == {alike.stdout}"
    assert run_job(Job(f"def f(): return {order}", "f", tests), isolation).said == "pass"


def test_a_program_that_hangs_costs_its_own_bound_alone(isolation):
    limits = Limits(cpu_seconds=1, wall_seconds=3)
    pool = ProgramPool(2, isolation, limits)
    start = time.monotonic()
    hangs = pool.submit(Job("import time\ndef add(x, y): time.sleep(99)", "add", CHECK))
    others = [pool.submit(Job(f"def add(x, y): return x + y + 0 * {i}", "add", CHECK)) for i in range(8)]
    assert {other.result().said for other in others} == {"pass"}
    assert not hangs.done()
    assert hangs.result().said == "timeout"
    assert "3 s" in hangs.result().detail
    assert time.monotonic() - start >= 3
    pool.close(now=False)


def test_equal_programs_run_once(isolation):
    pool = ProgramPool(1, isolation)
    assert pool.submit(Job(ADD, "add", CHECK)) is pool.submit(Job(ADD, "add", CHECK))
    pool.close(now=False)
    with pytest.raises(RuntimeError):
        pool.submit(Job("x = 1", "add", CHECK))


def test_closing_ends_what_runs(isolation):
    pool = ProgramPool(1, isolation, Limits(wall_seconds=60))
    jobs = [Job(f"import time\ntime.sleep(99)  # {number}", "add", CHECK) for number in range(3)]
    futures = [pool.submit(job) for job in jobs]
    time.sleep(0.3)
    pool.close(now=True)
    assert {future.result(timeout=5).said for future in futures} == {"error"}
    assert {future.result().detail for future in futures} == {"the grader was closed"}


KILLED = """
import sys
from prerl_eval.sandbox import Job, find_isolation, run_job
isolation = find_isolation()
print("ready", flush=True)
run_job(Job("import time\\ntime.sleep(99)", "f", ""), isolation)
"""


def test_programs_end_with_a_killed_parent(isolation):
    parent = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    assert _until(lambda: len(_children(parent.pid)) == 1)
    child = _children(parent.pid)[0]
    assert _until(lambda: len(_children(child)) == 1)
    judge = _children(child)[0]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert _until(lambda: not Path(f"/proc/{judge}").exists())


def _children(process):
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


SEEN = """
import os
def f():
    folders = [sorted(os.listdir(name)) for name in ("/", "/tmp", "/dev")]
    return *folders, os.getuid(), os.getgroups(), os.getcwd(), sorted(os.environ)
"""


def test_the_sandbox_sees_little(isolation):
    top = {"dev", "etc", "lib", "lib32", "lib64", "packages", "tmp", "usr", sys.base_prefix.split("/")[1]}
    tests = f"""
def check(f):
    root, *rest, environment = f()
    assert set(root) <= {top!r}
    assert rest == [[], ["null"], 65534, [], "/tmp"]
    assert set(environment) <= {{"LC_CTYPE", "PWD", *{sorted(ENVIRONMENT)!r}}}
"""
    assert run_job(Job(SEEN, "f", tests), isolation).said == "pass"


# --- refusals -------------------------------------------------------------------------------------


@pytest.fixture
def fresh():
    """Isolation is looked for again, before and after."""
    for found in (find_isolation, bubblewrap):
        found.cache_clear()
    yield
    for found in (find_isolation, bubblewrap):
        found.cache_clear()


@pytest.fixture
def folder():
    """On the way to it no folder is closed to others: bubblewrap does not run as root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (None, "bwrap is not installed"),
        ("echo bubblewrap 0.6.1", "bubblewrap 0.6.1 is older than 0.8"),
        ("echo nonsense", "nonsense is older than 0.8"),
        (
            'test "$1" = --version && echo bubblewrap 0.9.0 && exit 0\n'
            "echo 'setting up uid map: Permission denied' >&2; exit 1",
            "setting up uid map: Permission denied",
        ),
    ],
)
def test_without_isolation_running_is_refused_in_one_line(folder, monkeypatch, fresh, script, why):
    monkeypatch.setenv("PATH", str(folder))
    if script is not None:
        (folder / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.defpath}")
    with pytest.raises(UserError) as refused:
        find_isolation()
    message = str(refused.value)
    assert why in message
    assert "\n" not in message
    assert "--unsafe-code-execution" in message
    allowed = find_isolation(unsafe=True)
    assert not allowed.isolated
    assert allowed.name.startswith("none (")
    assert why in allowed.name
    assert run_job(Job(ADD, "add", CHECK), allowed).said == "pass"


def test_unsafe_runs_isolate_where_they_can(isolation):
    assert find_isolation(unsafe=True).isolated


@pytest.mark.parametrize(
    "attack", [attack for attack in attacks() if attack.works], ids=lambda attack: attack.name
)
def test_what_the_sandbox_stops_works_without_it(attack):
    """Else an attack that tests contain would prove nothing."""
    with World() as world:
        outcome = run_job(Job(world.program(attack.source), "add", WORKS), unisolated("a test"))
        assert outcome.said == "pass"


WORKS = "def check(candidate): assert candidate(2, 3) == 5"
