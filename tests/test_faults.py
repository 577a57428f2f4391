"""The short form of `make faults`: real kills, the workers they leave, and the accounts."""

import random
import time
from dataclasses import replace

import pytest

from prerl_eval import store
from tests.faults import catalogue, kills, table, trials
from tests.faults.stage import Stage, content
from tests.tiny import tiny_model  # noqa: F401 - the fixture is found by its name


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Stage(tmp_path_factory.mktemp("faults")) as stage:
        yield stage


def test_kills_lose_nothing_that_was_stored(stage, tiny_model, tmp_path):  # noqa: F811
    work = kills.Work(problems=28, n=8, ckpt=tiny_model, batch_size=4)
    stage.finish(work.command(tmp_path / "undisturbed"), tmp_path / "log")
    stored = kills.torment(stage, work, kills=2, folder=tmp_path, rng=random.Random(0))
    assert len(stored) == 2
    assert content(tmp_path / "run") == content(tmp_path / "undisturbed")


def test_a_kill_leaves_no_process_behind(hub, stage, tiny_model, tmp_path):  # noqa: F811
    """Golds that are no integers start grading workers; they must go with the command."""
    command = kills.Work(problems=40, n=16, ckpt=tiny_model).command(tmp_path / "run")
    command[command.index("countdown")] = "math500"
    process = stage.start([*command, "--data-root", hub, "--max-tokens", 64], tmp_path / "log")
    while not store.parts(tmp_path / "run"):
        assert process.poll() is None, process.said()
        time.sleep(0.05)
    kills.kill(process)
    assert kills.orphans(process.pid) == []


@pytest.mark.parametrize(
    "name",
    [
        "kill -9 of count --annotate at each file operation",
        "part of samples cut",
        "part of samples with a changed bit",
        "part of scores with a changed bit",
        "run.json cut",
        "about.json of an annotation cut",
        "a second writer of one folder",
    ],
)
def test_a_few_of_each_fault_that_no_other_test_has(stage, name):
    (fault,) = [fault for fault in catalogue.FAULTS if fault.name == name]
    row = trials.try_fault(fault, stage, 1, quick=True)
    assert row.survived == row.tried > 0, row.note


def test_every_fault_has_a_name_of_its_own_and_is_tried():
    assert len({fault.name for fault in catalogue.FAULTS}) == len(catalogue.FAULTS)
    assert all(fault.times >= fault.quick > 0 for fault in catalogue.FAULTS)


FAULT = trials.Fault("torn", "name", "done", "means", 4, 2, lambda stage, trials: None)


def test_a_fault_that_is_not_survived_stands_in_the_table(stage, tmp_path, capsys):
    def attempt(stage, trials):
        for number in range(trials.times):
            with trials.one(f"cut {number}"):
                assert number != 1, "a figure | changed"

    lost = trials.try_fault(replace(FAULT, attempt=attempt), stage, 0, quick=False)
    assert (lost.tried, lost.survived, lost.failed) == (4, 3, True)
    unclaimed = trials.try_fault(replace(FAULT, attempt=attempt, claimed=False), stage, 0, quick=True)
    assert (unclaimed.tried, unclaimed.survived, unclaimed.failed) == (2, 1, False)
    file = tmp_path / "faults" / "faults.csv"
    trials.write_rows(file, [lost])
    assert trials.read_rows(file) == [lost]
    shown = table.page(trials.read_rows(file))
    assert "| torn | name | done | means | 4 | **3** |" in shown
    assert "- name: cut 1: AssertionError: a figure | changed" in shown


def test_what_cannot_be_tried_here_says_so(stage):
    def attempt(stage, trials):
        with trials.one("first"):
            raise trials_skip("needs root")

    trials_skip = trials.Skip
    row = trials.try_fault(replace(FAULT, attempt=attempt), stage, 0, quick=False)
    assert (row.tried, row.failed, row.note) == (0, False, "not tried: needs root")


def test_rows_of_other_faults_stay(stage):
    row = trials.try_fault(FAULT, stage, 0, quick=False)
    other, gone, again = (replace(row, fault=name) for name in ("other", "gone", "name"))
    assert trials.merged([other, row, gone], [again], ["name", "other"]) == [again, other]
