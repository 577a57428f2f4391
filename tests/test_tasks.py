"""Scores by task: hand-computed means, merged variants, sets without tasks, all configurations of a set."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prerl_eval.cards import load_card
from prerl_eval.problems import load_problems
from prerl_eval.summary import render_summary, summarize
from tests.runs import sample, write_run
from tests.test_problems import failure

PLAN = {"n": 2, "problems": 4, "fields": {"problem": "q", "answer": "a", "task": "task"}}


def rows(task, problem, *statuses):
    extra = json.dumps({"task": task})
    return [
        sample(problem, index, status, benchmark="mine", extra=extra, prompt="p", gold="g")
        for index, status in enumerate(statuses)
    ]


def test_macro_weighs_tasks_alike_and_merges_variants(tmp_path):
    listed = [
        *rows("sort", "1", "correct", "wrong"),
        *rows("sort", "2", "correct", "correct"),
        *rows("deduce_three_objects", "3", "wrong", "wrong"),
        *rows("deduce_five_objects", "4", "correct", "wrong"),
    ]
    summary = summarize(write_run(tmp_path / "run", listed, {"mine": PLAN}))
    numbers = summary["benchmarks"]["mine"]
    assert numbers["tasks"] == {"deduce_five_objects": 0.5, "deduce_three_objects": 0.0, "sort": 0.75}
    assert numbers["macro"] == pytest.approx((0.5 + 0 + 0.75) / 3)
    assert numbers["macro_merged"] == pytest.approx((0.25 + 0.75) / 2)
    assert numbers["avg"] == pytest.approx((0.5 + 1 + 0 + 0.5) / 4)
    assert numbers["macro_se"] is None  # two tasks have one problem
    assert "macro 41.7 over 3 tasks, 50.0 over 2 with object variants as one" in render_summary([summary])


def test_the_error_of_macro_comes_from_the_tasks_own(tmp_path):
    listed = [
        *rows("sort", "1", "correct", "wrong"),
        *rows("sort", "2", "correct", "correct"),
        *rows("close", "3", "wrong", "wrong"),
        *rows("close", "4", "correct", "wrong"),
    ]
    numbers = summarize(write_run(tmp_path / "run", listed, {"mine": PLAN}))["benchmarks"]["mine"]
    # Each task: sd of (0.5, 1) and of (0, 0.5) is sqrt(0.125), over sqrt(2): 0.25. Macro: sqrt(2) 0.25 / 2.
    assert numbers["macro_se"] == pytest.approx(0.25 * 2**0.5 / 2)
    assert "over 2 tasks\n" in render_summary([summarize(tmp_path / "run")])


def test_a_set_without_tasks_has_no_such_keys(tmp_path):
    plan = {"n": 1, "problems": 1, "fields": {"problem": "q", "answer": "a"}}
    summary = summarize(
        write_run(tmp_path / "run", [sample("1", 0, "correct", benchmark="mine")], {"mine": plan})
    )
    assert not {"tasks", "macro"} & set(summary["benchmarks"]["mine"])


CARD = """
name = "mine"
hub_id = "org/mine"
config = "*"
split = "test"
fields = { id = "config_row", problem = "input", answer = "target", task = "config" }
prompt = "{problem}"
grader = "exact"
"""


def test_every_configuration_of_a_clone_is_read_by_its_folder(tmp_path):
    clone = tmp_path / "org" / "mine"
    for task, answers in {"b_task": ["1", "2"], "a_task": ["3"]}.items():
        listed = [{"input": f"{task} {answer}?", "target": answer} for answer in answers]
        folder = clone / task
        folder.mkdir(parents=True)
        if task == "a_task":  # the layout of the hub's own Parquet exports
            (folder / "test").mkdir()
            pq.write_table(pa.Table.from_pylist(listed), folder / "test" / "0000.parquet")
        else:
            (folder / "test.jsonl").write_text("".join(json.dumps(item) + "\n" for item in listed))
    (clone / "cot-prompts").mkdir()
    (clone / "cot-prompts" / "a_task.txt").write_text("no rows here")
    (tmp_path / "mine.toml").write_text(CARD)
    problems = load_problems(load_card(tmp_path / "mine.toml"), tmp_path)
    assert [(problem.problem_id, problem.extra["task"], problem.gold) for problem in problems] == [
        ("a_task/0", "a_task", "3"),
        ("b_task/0", "b_task", "1"),
        ("b_task/1", "b_task", "2"),
    ]
    for folder in ("a_task", "b_task"):
        (clone / folder).rename(tmp_path / folder)
    message = failure(load_card(tmp_path / "mine.toml"), tmp_path)
    assert "no folder holds the split" in message
