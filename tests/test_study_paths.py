"""Paths and expansion: solutions from runs to tables, against what `prerl-eval compare` computes."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.rare import rare_survival, trace_arms
from prerl_eval.comparison.support import support_change
from prerl_eval.run_record import read_record, write_record
from results.study import paths
from results.study.committed import load_committed
from results.study.expansion import expansion_table, newly_table, rare_stages, rare_table
from results.study.markdown import NOTHING
from results.study.plan_file import load_study
from tests.runs import sample, write_run
from tests.study_data import write_study

SETS = ("countdown", "countdown-ood")
ANSWERS = ("1+2+3", "3+2+1", "3*2")
"""The first two are one solution in another order."""


def countdown_run(folder, correct, samples=8, step=0):
    """A complete run: problem p0, p1, ... with these answers right of `samples`, on both sets."""
    rows = []
    for benchmark in SETS:
        for number, answers in enumerate(correct):
            for index in range(samples):
                right = index < len(answers)
                row = sample(
                    f"p{number}", index, "correct" if right else "wrong", "=" if right else "w",
                    benchmark=benchmark, step=step, grader="countdown/1",
                    answer=answers[index] if right else "",
                )  # fmt: skip
                rows.append(row)
    write_run(folder, rows, {name: {"n": samples} for name in SETS})
    record = json.loads((folder / "run.json").read_text())
    record["sessions"] = [{"sampled": {name: {} for name in SETS}}]
    (folder / "run.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study's folder with paths of the base, the base again, and two stages of one arm."""
    work = tmp_path_factory.mktemp("work")
    countdown_run(work / "base@0-test", [ANSWERS, (), ANSWERS[:1]])
    countdown_run(work / "base-resampled@0-test", [ANSWERS[:2], ANSWERS[2:], ()])
    countdown_run(work / "dsrl-8e-4-0@10-test64", [ANSWERS[2:], (), ()])
    countdown_run(work / "dsrl-8e-4-0@40-test64", [ANSWERS[:1], (), ANSWERS[:1]])
    countdown_run(work / "dsrl-8e-4-7@40-test64", [(), (), ()])  # not one of the seeds
    countdown_run(work / "dsrl-8e-4-1@40-val", [(), (), ()])
    into = write_study(tmp_path_factory.mktemp("study"))
    assert paths.collect(work, into) == [
        "base-resampled@0-test", "base@0-test", "dsrl-8e-4-0@10-test64", "dsrl-8e-4-0@40-test64",
    ]  # fmt: skip
    assert paths.collect(work, into) == []
    return into


def test_a_problems_rows_add_up_to_its_samples(folder):
    table = pq.read_table(folder / paths.FILE)
    base = [row for row in table.to_pylist() if row["model"] == "base" and row["benchmark"] == "countdown"]
    counts = {
        problem: [row["count"] for row in base if row["problem_id"] == problem] for problem in ("p0", "p1")
    }
    assert sum(counts["p0"]) == sum(counts["p1"]) == 8
    assert sorted(counts["p0"]) == [1, 2, 5]  # one solution twice, in two orders
    assert counts["p1"] == [8]


def test_stages_hold_what_the_runs_hold(folder):
    stages = paths.read_stages(folder)
    base = stages["base", 0, "countdown"]
    assert base.counts.problem_ids == ("p0", "p1", "p2")
    assert base.counts.correct.tolist() == [[3, 0, 1]]
    assert base.counts.samples.tolist() == [[8, 8, 8]]
    assert {key[:2] for key in stages} == {("base", 0), ("base-resampled", 0), ("dsrl", 10), ("dsrl", 40)}


def test_rare_stages_are_those_of_compare(folder):
    stages = paths.read_stages(folder)
    base, null = stages["base", 0, "countdown"], stages["base-resampled", 0, "countdown"]
    series = [stages["dsrl", step, "countdown"] for step in (10, 40)]
    assert rare_stages("problems", base, series, null) == rare_survival(
        base.counts, [stage.counts for stage in series], null.counts
    )
    every = [(stage.counts, stage.solutions) for stage in (base, *series, null)]
    arms, problem_of = trace_arms(every)
    assert rare_stages("solutions", base, series, null) == rare_survival(
        arms[0], arms[1:3], arms[3], problem_of
    )
    # The solution of p0 that the warm-up lost is there again at the end, and so is p2's.
    assert rare_stages("solutions", base, series, null)[1].recovered > 0


def test_the_tables_wait_for_the_second_run_of_the_base(folder, tmp_path):
    empty = load_committed(load_study(write_study(tmp_path)))
    assert [made(empty) for made in (expansion_table, newly_table, rare_table)] == [NOTHING] * 3
    shown = rare_table(load_committed(load_study(folder)))
    assert "**countdown, problems**" in shown
    assert "**countdown-ood, solutions**" in shown
    assert shown.count("| dsrl@10 | 1 | 8 |") == 4
    assert "†" in shown


def test_the_table_of_support_by_hand(folder):
    """A method on the problems of the base: both solve p0, the base alone p2, neither p1."""
    data = load_committed(load_study(folder))
    place = next(key for key in data.measured if key[0] == "grpo" and key[2:] == (40, "test", "countdown"))
    counts = Arm("grpo", ("p0", "p1", "p2"), np.array([[8, 0, 0]] * 3), np.full((3, 3), 8))
    tested = dataclasses.replace(
        data.measured[place], counts=counts, seeds=(0, 1, 2), finished=np.full(counts.samples.shape, np.nan)
    )
    data = dataclasses.replace(data, measured={place: tested})
    base = paths.read_stages(folder)["base", 0, "countdown"].counts
    null = paths.read_stages(folder)["base-resampled", 0, "countdown"].counts
    change = support_change(base, counts, null)
    assert (change.at_n.preserved, change.at_n.shrunk, change.at_n.expanded) == (1, 1, 0)
    row = next(line for line in expansion_table(data).splitlines() if line.startswith("| grpo"))
    assert row.startswith("| grpo | 3 | 8 | 1.0 | 1.0 | 0.0 | 1.0 | 50.0 (")
    # The null keeps p0 of p0 and p2, too, and finds p1.
    excess = change.excess["retention"]
    assert excess.value == 0.0
    assert f"+0.0 ({100 * excess.low:+.1f}" in row
    lost = next(line for line in newly_table(data).splitlines() if line.startswith("| grpo"))
    assert lost == "| grpo | 8 / 24 | 0 | 0 | 1 | 0 |"


def test_an_unfinished_run_waits(tmp_path):
    countdown_run(tmp_path / "base@0-test", [ANSWERS])
    record = read_record(tmp_path / "base@0-test")
    record["sessions"] = [{"sampled": {"countdown": {}}}]
    write_record(tmp_path / "base@0-test", record)
    assert paths.collect(tmp_path, tmp_path) == []
