"""Measuring speed: bounds and exponents, what becomes of each measurement, what the table says."""

import ast
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from prerl_eval import store
from prerl_eval.tally import tally_run
from tests.conftest import REPO
from tests.runs import sample, write_run
from tests.speed.catalogue import MEASUREMENTS, Measurement
from tests.speed.process import run_program
from tests.speed.record import FILE, measure_all, read_data
from tests.speed.rows import Line, Measured, Row, read_measured, slope
from tests.speed.stores import REAL, grown_run
from tests.speed.table import ABOUT, figure, markdown, power, write_markdown

RESULTS = REPO / "results" / "speed"


def row(ratio, **changes):
    return Row("what", "s", 1.0, "peer", 2.0, ratio, "times its time", **changes)


@pytest.mark.parametrize(
    ("found", "held"),
    [
        (row(1.1, bound=1.1), True),
        (row(1.11, bound=1.1), False),
        (row(10.0, bound=10.0, bound_is="at least"), True),
        (row(9.9, bound=10.0, bound_is="at least"), False),
        (row(5.0), None),
        (row(0.5, bound=1.0, differing=1), False),
        (row(5.0, differing=1), False),
    ],
)
def test_a_bound_holds_or_does_not_and_results_that_differ_never_do(found, held):
    assert found.held is held
    assert Measured([found]).held is (held is not False)


def test_exponents_by_hand():
    # y = 3 x^2; then 1, 10, 1000 over 1, 10, 100: slopes 1 and 2, least squares (0*-1 + 3*1)/2 = 1.5.
    assert slope([10, 20, 40], [300.0, 1200.0, 4800.0]) == pytest.approx(2)
    line = Line("a", "s", "rows", (1, 10, 100), (1.0, 10.0, 1000.0))
    assert line.exponent == pytest.approx(1.5)
    assert line.last == pytest.approx(2)
    assert not line.held
    # The last step alone is enough to miss the bound of 1.15: slopes 0.58 and 1.152, then 0.57 and 1.149.
    assert Line("a", "s", "rows", (1, 10, 100), (1.0, 1.0, 14.2)).exponent < 1.15
    assert not Line("a", "s", "rows", (1, 10, 100), (1.0, 1.0, 14.2)).held
    assert Line("a", "s", "rows", (1, 10, 100), (1.0, 1.0, 14.1)).held
    assert Line("a", "s", "rows", (1, 10, 100), (1.0, 10.0, 100.0)).held


def test_data_are_read_as_they_were_written():
    line = Line("a", "s", "rows", [1, 10], [1.0, 2.0], "peer", [None, 3.0])
    measured = Measured([row(0.5, bound=1.0)], [line], ["A note."])
    described = json.loads(json.dumps(measured.described()))
    assert described["rows"][0]["held"] is True
    assert described["lines"][0]["exponent"] == 0.301
    assert read_measured(described) == measured


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0125, "0.0125"), (1, "1.00"), (23.7, "23.7"), (999.6, "1,000"), (12217.4, "12,217")],
)
def test_three_digits(value, text):
    assert figure(value) == text


def test_powers():
    assert [power(size) for size in (10, 1000, 1500)] == ["10^1", "10^3", "1,500"]


def test_each_measurement_exists():
    for measurement in MEASUREMENTS.values():
        module, function = measurement.function.split(":")
        tree = ast.parse(Path(find_spec(module).origin).read_text())
        (found,) = [at for at in tree.body if isinstance(at, ast.FunctionDef) and at.name == function]
        assert [argument.arg for argument in found.args.args] == ["quick"]


EXAMPLES = {
    name: Measurement(f"tests.speed_examples:{name}") for name in ("fast", "slow", "broken", "absent")
} | {"elsewhere": Measurement("tests.speed_examples:fast", vllm=True)}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Names of the measurements that were made, in turn."""
    record = tmp_path / "record"
    record.touch()
    monkeypatch.setenv("RECORD", str(record))
    return lambda: record.read_text().split()


def test_what_fails_or_lacks_something_says_so_and_breaks_nothing(tmp_path, made):
    out = tmp_path / "speed"
    assert not measure_all(out, EXAMPLES, skip=["slow"], vllm=tmp_path / "python")
    assert made() == ["fast", "broken", "absent"]
    entries = read_data(out)["measurements"]
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "fast": "measured", "broken": "failed", "absent": "unavailable", "elsewhere": "unavailable",
    }  # fmt: skip
    assert entries["broken"]["why"] == "ValueError: no such luck"
    assert entries["fast"]["load"]["max"] >= entries["fast"]["load"]["mean"] >= 0
    assert " cores, " in entries["fast"]["hardware"]
    text = write_markdown(out).read_text()
    assert "| broken | – | – | – | – | – | failed: ValueError: no such luck |" in text
    assert "| absent | – | – | – | – | – | unavailable: no such program here |" in text
    assert "| elsewhere | – | – | – | – | – | unavailable: no Python with vLLM here |" in text
    assert "| fast against a peer | 2.00 s | 4.00 s | 0.500 times its time | at most 1.00 | yes |" in text
    assert "| 10^1: 1.00; 10^2: 2.00 | 0.30, 0.30 | 1.15 | yes | a peer: 1.00 at 10^2; 2.00 times" in text


def test_a_measurement_that_cannot_be_made_again_keeps_its_figures_and_their_date(tmp_path, made):
    out = tmp_path / "speed"
    assert measure_all(out, {"it": EXAMPLES["fast"]})
    data = read_data(out)
    data["measurements"]["it"]["measured"] = "2026-01-02T03:04:05+00:00"
    (out / FILE).write_text(json.dumps(data))
    assert measure_all(out, {"it": EXAMPLES["absent"]}, only=["it"])
    text = markdown(read_data(out), "")
    assert "| 0.500 times its time | at most 1.00 | yes | 2026-01-02 |" in text
    assert "2026-01-02 03:04 (unavailable 20" in text


def test_a_missed_bound_is_written_and_ends_badly(tmp_path, made):
    assert not measure_all(tmp_path / "speed", EXAMPLES, only=["slow"])
    assert "| at most 1.00 | **no** |" in write_markdown(tmp_path / "speed").read_text()


def test_a_stopped_run_goes_on_and_a_finished_one_begins_anew(tmp_path, made, monkeypatch):
    out = tmp_path / "speed"
    two = {name: EXAMPLES[name] for name in ("fast", "slow")}
    assert measure_all(out, {"fast": two["fast"]})
    data = read_data(out)
    data["run"]["ended"] = ""  # stopped after the first
    (out / FILE).write_text(json.dumps(data))
    assert not measure_all(out, two)
    assert made() == ["fast", "slow"]
    assert read_data(out)["run"]["ended"]
    same_second = read_data(out)["run"]["began"]
    monkeypatch.setattr("prerl_eval.provenance.now", lambda: same_second)
    assert measure_all(out, two, skip=["slow"])
    assert made() == ["fast", "slow", "fast"]


def test_a_grown_store_is_a_finished_run_of_its_real_rows(tmp_path):
    rows = [
        sample(
            f"p{problem}",
            index,
            "wrong",
            benchmark="countdown",
            completion=f"{problem} {index}",
            tokens=problem,
        )
        for problem in range(3)
        for index in range(REAL)
    ]
    real = write_run(tmp_path / "real", rows, {"countdown": {"n": REAL, "problems": 3}})
    run = grown_run(real, tmp_path / "grown", problems=2, n=1500, seed=4)
    assert len(store.parts(run)) == 2
    keys = store.stored_keys(run)
    assert keys == {("countdown", f"p{problem}", index, 0) for problem in (0, 1) for index in range(1500)}
    table = store.read_samples(run, ["problem_id", "completion"])
    texts = set(zip(table["problem_id"].to_pylist(), table["completion"].to_pylist(), strict=True))
    assert texts == {(f"p{problem}", f"{problem} {index}") for problem in (0, 1) for index in range(REAL)}
    (counts,) = tally_run(run).values()
    assert counts.missing == 0
    assert list(counts.samples) == [1500, 1500]


def test_the_cost_of_a_program_is_its_own():
    small = run_program("import sys; print(sys.argv[1])", "word")
    large = run_program("x = bytearray(200 << 20); sum(range(3_000_000))")
    assert small.output == "word\n"
    assert small.memory < 100 < 200 < large.memory
    assert 0 < small.cpu < large.cpu
    with pytest.raises(RuntimeError, match="exit code 3"):
        run_program("raise SystemExit(3)")


def test_the_committed_table_is_what_the_committed_data_say():
    about = (RESULTS / ABOUT).read_text(encoding="utf-8")
    committed = RESULTS.with_suffix(".md").read_text(encoding="utf-8")
    assert committed == markdown(read_data(RESULTS), about)


def test_every_committed_figure_was_measured_in_full_and_is_of_a_known_measurement():
    entries = read_data(RESULTS)["measurements"]
    assert set(entries) <= set(MEASUREMENTS)
    assert not [name for name, entry in entries.items() if entry.get("quick")]
