"""The study's jobs: their commands, and folders that are there already, whoever made them."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prerl_eval import store
from prerl_eval.durable import replace_json
from prerl_eval.run_record import read_record, write_record
from prerl_train import journal
from results.study.collect import COUNTS, chosen_rates, collect, not_committed, read_counts, read_csv
from results.study.cost import cost_plan
from results.study.jobs import Jobs
from tests.runs import sample, write_run
from tests.test_study import study_of

TEST = ("countdown", "countdown-ood")


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return study_of(folder)


def jobs_of(study, *names, work):
    part = study.only(names)
    rates = chosen_rates(part)
    return Jobs(part, rates, work).of(not_committed(part, part.points(rates)))


def commands(jobs):
    return [" ".join(job.arguments) for job in jobs]


def trained(work, model, updates, start="results/base-nano", **settings):
    """A training run of `updates` updates with a checkpoint each ten, 3 tokens more each."""
    run = write_run(work / model, [])
    write_record(run, read_record(run) | {"settings": {"model": start, "lr": 2e-4} | settings})
    for step in range(1, updates + 1):
        facts = {"step": step, "samples": 4, "tokens": 3 * step, "contributing_tokens": 1}
        journal.append(run / "metrics.jsonl", facts)
        if step % 10 == 0:
            (run / f"checkpoint-{step}").mkdir()
            replace_json(run / f"checkpoint-{step}" / "prerl.json", {"step": step, "files": {}})
    return run


def measured(work, name, checkpoint, n=32, correct=1, benchmarks=TEST, **settings):
    """An evaluation of two problems per benchmark; the first `correct` samples are right, the last is cut."""
    rows = [
        sample(
            problem,
            index,
            "correct" if index < correct else "incorrect",
            benchmark=benchmark,
            finish_reason="length" if index == n - 1 else "stop",
        )
        for benchmark in benchmarks
        for problem in ("a", "b")
        for index in range(n)
    ]
    plans = {benchmark: {"n": n, "problems": 2, "limit": None} for benchmark in benchmarks}
    asked = {"temperature": 1.0, "seed": 0} | settings
    return write_run(work / name, rows, plans, settings=asked, checkpoint={"ref": checkpoint})


def test_commands_of_a_fork_and_of_what_it_begins_at(study, tmp_path):
    jobs = jobs_of(study, "fork", work=tmp_path)
    assert commands(jobs[:3]) == [
        "prerl_train grpo --recipe nano --lr 2e-4 --seed 0 --steps 60 --save-every 5 "
        f"--out {tmp_path}/grpo-2e-4-0",
        f"prerl_train nsr-prerl --recipe nano --model {tmp_path}/grpo-2e-4-0/checkpoint-20 --lr 6e-5 "
        f"--seed 0 --steps 20 --save-every 5 --out {tmp_path}/fork-6e-5-0",
        f"prerl_eval.cli run --ckpt {tmp_path}/fork-6e-5-0/checkpoint-20 --bench countdown "
        f"--bench countdown-ood --n 32 --workers 1 --out {tmp_path}/fork-6e-5-0@20-test",
    ]
    assert [job.needs for job in jobs[:3]] == [(), ("grpo-2e-4-0",), ("fork-6e-5-0",)]


def test_commands_of_another_base_and_of_options(study, tmp_path):
    base, base_test, train, test = commands(jobs_of(study, "grpo.other", "base.other", work=tmp_path))
    assert base == f"prerl_train base --seed 1 --no-restate --out {tmp_path}/bases/other"
    assert f"--ckpt {tmp_path}/bases/other --bench" in base_test
    assert f"--recipe nano --model {tmp_path}/bases/other --lr 4e-4" in train
    assert f"--ckpt {tmp_path}/grpo.other-4e-4-0/checkpoint-40" in test
    (train, _) = commands(jobs_of(study, "dsrl-w", work=tmp_path))
    assert "--steps 50 --save-every 5 --warmup-lr 1e-4 --reset-optimizer --out" in train
    warm = commands(jobs_of(study, "grpo", work=tmp_path))[2]
    assert "--n 4 --workers 1 --temperature 1.4 --limit 10 --out" in warm


def test_every_base_model_is_aligned_once(study, tmp_path):
    assert Jobs(study, {}, tmp_path).aligned(set()) == []  # a plan without [alignment]
    planned = replace(study, alignment={"data": "countdown", "samples": 8})
    ours, base, theirs = commands(Jobs(planned, {}, tmp_path).aligned(set()))
    flags = "--data countdown --samples 8 --out"
    assert ours == f"prerl_train align --ckpt results/base-nano {flags} {tmp_path}/align-base"
    assert base.startswith("prerl_train base")
    assert theirs == f"prerl_train align --ckpt {tmp_path}/bases/other {flags} {tmp_path}/align-other"
    assert commands(Jobs(planned, {}, tmp_path).aligned({"base"})) == [base, theirs]
    for complete, left in ((False, 1), (True, 0)):
        (tmp_path / "align-base").mkdir(exist_ok=True)
        (tmp_path / "align-base" / "alignment.json").write_text(json.dumps({"complete": complete}))
        assert len(Jobs(planned, {}, tmp_path).aligned({"other"})) == left


def test_the_cost_by_hand(study, tmp_path):
    """60 updates x 2 s, 2 sets x 100 problems x 32 samples x 0.01 s, 1 x 10 x 4 x 0.01 s."""
    trained(tmp_path, "grpo-2e-4-1", 30, algorithm="grpo", seed=1)
    jobs = jobs_of(study, "grpo", work=tmp_path)
    seconds = {job.name: job.seconds for job in jobs}
    assert seconds["grpo-2e-4-0"] == 120
    assert seconds["grpo-2e-4-0@40-test"] == pytest.approx(64)
    assert seconds["grpo-2e-4-0@40-warm"] == pytest.approx(0.4)
    assert seconds["grpo-2e-4-1"] == 20  # 10 updates are left of 40
    assert cost_plan(study, jobs, 2).splitlines()[-1].startswith("8 jobs, about 397 s of one core, 0.1 hours")


def test_finished_folders_are_taken_in_once(study, tmp_path):
    work = tmp_path / "work"
    trained(work, "grpo-2e-4-0", 60, algorithm="grpo", seed=0)
    trained(
        work, "fork-6e-5-0", 20, "runs/x/grpo-2e-4-0/checkpoint-20", algorithm="nsr-prerl", lr=6e-5, seed=0
    )
    measured(work, "fork-6e-5-0@20-test", "runs/x/fork-6e-5-0/checkpoint-20", correct=3)
    part = study.only(["fork"])
    rates = chosen_rates(part)
    points = part.points(rates)
    assert [job.name for job in Jobs(part, rates, work).of(points)] == [
        "grpo-2e-4-1",
        "fork-6e-5-1",
        "fork-6e-5-1@20-test",
    ]
    assert collect(part, points, rates, work) == points[:1]
    counts = read_counts(study.folder).to_pylist()
    assert len(counts) == 4
    assert counts[0] == {
        "model": "fork-6e-5-0",
        "arm": "fork",
        "lr": "6e-5",
        "seed": 0,
        "step": 20,
        "measure": "test",
        "benchmark": "countdown",
        "problem_id": "a",
        "samples": 32,
        "correct": 3,
        "finished": 31,
    }
    (row,) = read_csv(study.folder / "runs.csv")
    # 3 + 6 + ... + 60 tokens twice: those of the fork's own 20 updates, and of GRPO's first 20.
    assert (row["samples"], row["tokens"], row["contributing_tokens"]) == ("160", "1260", "40")
    assert (row["arm"], row["algorithm"], row["base"], row["step"]) == ("fork", "nsr-prerl", "base", "20")

    measured(tmp_path / "other", "fork-6e-5-0@20-test", "fork-6e-5-0/checkpoint-20", correct=9)
    assert collect(part, points, rates, tmp_path / "other") == []
    assert read_counts(study.folder).to_pylist() == counts
    assert [point.model.seed for point in not_committed(part, points)] == [1]


OTHERWISE = {
    "fewer samples": {"n": 16},
    "a benchmark less": {"benchmarks": ("countdown",)},
    "another temperature": {"temperature": 0.6},
    "another seed": {"seed": 1},
    "another checkpoint": {"checkpoint": "runs/grpo-2e-4-1/checkpoint-30"},
}


@pytest.mark.parametrize("difference", OTHERWISE)
def test_a_measurement_made_otherwise_is_not_taken(study, tmp_path, difference):
    part = study.only(["grpo"])
    jobs = Jobs(part, chosen_rates(part), tmp_path)
    (point,) = [p for p in part.points(chosen_rates(part)) if p.model.seed == 1 and p.measure.name == "test"]
    given = {"checkpoint": "runs/grpo-2e-4-1/checkpoint-40"} | OTHERWISE[difference]
    measured(tmp_path, "grpo-2e-4-1@40-test", **given)
    assert not jobs.is_measured(point)


def test_a_measurement_that_still_lacks_samples_is_not_taken(study, tmp_path):
    part = study.only(["grpo"])
    point = part.points(chosen_rates(part))[0]
    run = measured(tmp_path, "grpo-2e-4-0@40-test", "grpo-2e-4-0/checkpoint-40")
    jobs = Jobs(part, chosen_rates(part), tmp_path)
    assert jobs.is_measured(point)
    plans = read_record(run)["benchmarks"]
    plans["countdown"]["problems"] = 3
    write_record(run, read_record(run) | {"benchmarks": plans})
    assert not jobs.is_measured(point)


def test_a_training_run_of_other_settings_is_not_taken(study, tmp_path):
    part = study.only(["dsrl-w"])
    jobs = Jobs(part, chosen_rates(part), tmp_path)
    (point,) = part.points(chosen_rates(part))
    settings = {"algorithm": "dsrl", "lr": 8e-4, "seed": 0, "warmup_lr": 1e-4}
    trained(tmp_path, "dsrl-w-8e-4-0", 50, **settings, reset_optimizer=True)
    assert jobs.is_trained(point.model, 40)
    assert not jobs.is_trained(point.model, 45)
    run = tmp_path / "dsrl-w-8e-4-0"
    for other in (settings, settings | {"reset_optimizer": False}, settings | {"warmup_lr": None}):
        stored = {"model": "results/base-nano", "reset_optimizer": True, **other}
        if other is settings:
            del stored["reset_optimizer"]
        write_record(run, read_record(run) | {"settings": stored})
        assert not jobs.is_trained(point.model, 40)


def test_what_ended_by_itself_is_filled_in_where_the_counts_are_the_same(study, tmp_path):
    part = study.only(["base"])
    points = part.points({})
    run = measured(tmp_path, "base@0-test", "results/base-nano", n=64)
    assert collect(part, points, {}, tmp_path) == points
    table = read_counts(study.folder).drop_columns("finished")
    table = table.append_column(COUNTS.field("finished"), pa.nulls(len(table), pa.int32()))
    pq.write_table(table, study.folder / "counts.parquet")
    assert collect(part, points, {}, tmp_path) == []
    assert read_counts(study.folder)["finished"].to_pylist() == [63] * 4
    pq.write_table(table, study.folder / "counts.parquet")
    for part_file in store.parts(run):
        part_file.unlink()
    measured(tmp_path, "base@0-test", "results/base-nano", n=64, correct=2)
    collect(part, points, {}, tmp_path)
    assert read_counts(study.folder)["finished"].to_pylist() == [None] * 4
