"""Sets of programming problems through the commands: run, import, regrade, check, and the refusal."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from prerl_eval import store
from prerl_eval.errors import UserError
from prerl_eval.grade_file import grade_file
from prerl_eval.plan import RunOptions
from prerl_eval.preflight import preflight, render_report
from prerl_eval.regrade import regrade
from prerl_eval.run import evaluate
from prerl_eval.run_record import read_record
from prerl_eval.sandbox import find_isolation
from prerl_eval.sandbox.isolation import bubblewrap
from prerl_eval.summary import render_summary, summarize

CARD = r"""
name = "mine"
path = "mine.jsonl"
split = "test"
rows = [2]
prompt = "Complete:\n```python\n{problem}```"
plain_prompt = "{problem}"
stop = ["\ndef", "\nx"]
grader = "code"
n = 2
max_tokens = 12

[fields]
id = "id"
problem = "prompt"
answer = "test"
entry_point = "id"
prompt = "prompt"
solution = "body"
"""
ROWS = [
    {
        "id": name,
        "prompt": f'def {name}(x):\n    """{said}."""\n',
        "body": f"    return {result}\n",
        "test": f"def check(candidate):\n    assert candidate(3) == {expected}\n",
    }
    for name, said, result, expected in (
        ("double", "Twice x", "2 * x", 6),
        ("square", "x squared", "x * x", 9),
    )
]


@pytest.fixture
def card(tmp_path):
    (tmp_path / "card.toml").write_text(CARD)
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(tmp_path / "card.toml")


@pytest.fixture
def generations(tmp_path):
    file = tmp_path / "generations.jsonl"
    answers = [{"id": row["id"], "output": [row["body"], "    return 9\n", "I cannot."]} for row in ROWS]
    file.write_text("".join(json.dumps(row) + "\n" for row in answers))
    return file


@pytest.fixture
def no_isolation(monkeypatch):
    """Without bwrap on the path; what was found before is forgotten, before and after."""
    with tempfile.TemporaryDirectory() as empty, monkeypatch.context() as changed:
        changed.setenv("PATH", empty)
        _forget()
        yield
    _forget()


def _forget():
    for found in (find_isolation, bubblewrap):
        found.cache_clear()


def statuses(run):
    rows = store.read_samples(run, ["problem_id", "sample_index", "status"]).to_pylist()
    return {(row["problem_id"], row["sample_index"]): row["status"] for row in rows}


EXPECTED = {
    **{("double", index): status for index, status in enumerate(("correct", "wrong", "unparsed"))},
    **{("square", index): status for index, status in enumerate(("correct", "correct", "unparsed"))},
}


def test_imported_programs_are_graded_and_graded_again(card, generations, tmp_path, isolation):
    out = grade_file(generations, card, response_field="output", out=tmp_path / "run")
    assert statuses(out) == EXPECTED
    record = read_record(out)
    assert record["sessions"][0]["code_execution"].startswith(f"{isolation.name}, ")
    assert "unisolated_code" not in record["settings"]
    assert regrade(out) == [f"{out}: mine: 0 of 6 verdicts changed"]
    assert "not isolated" not in render_summary([summarize(out)])


def test_without_isolation_nothing_is_written(card, generations, tmp_path, tiny_model, no_isolation):
    for call in (
        lambda: grade_file(generations, card, response_field="output", out=tmp_path / "run"),
        lambda: evaluate(RunOptions([str(tiny_model)], [card], out=tmp_path / "run", engine="transformers")),
        lambda: preflight([card]),
    ):
        with pytest.raises(UserError, match=r"bwrap is not installed.*--unsafe-code-execution"):
            call()
    assert not (tmp_path / "run").exists()


def test_a_run_without_isolation_says_so(card, generations, tmp_path, no_isolation, capsys):
    how = {"response_field": "output", "out": tmp_path / "run", "unsafe_code_execution": True}
    out = grade_file(generations, card, **how)
    assert statuses(out) == EXPECTED
    assert "isolation none (bwrap is not installed)" in capsys.readouterr().err
    assert read_record(out)["settings"]["unisolated_code"] is True
    assert "model-written code not isolated" in " ".join(render_summary([summarize(out)]).split())
    with pytest.raises(UserError, match="cannot be isolated"):
        regrade(out)


def test_a_regrade_in_isolation_takes_the_mark_off(card, generations, tmp_path, isolation):
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("PATH", os.devnull)
        _forget()
        out = grade_file(
            generations, card, response_field="output", out=tmp_path / "run", unsafe_code_execution=True
        )
    _forget()
    assert read_record(out)["settings"]["unisolated_code"] is True
    regrade(out)
    assert "unisolated_code" not in read_record(out)["settings"]


def test_a_model_is_asked_as_a_base_model_and_its_programs_are_run(card, tmp_path, tiny_model, isolation):
    options = RunOptions([str(tiny_model)], [card], out=tmp_path / "run", engine="transformers")
    (out,) = evaluate(options)
    record = read_record(out)
    assert record["benchmarks"]["mine"]["stop"] == ["\ndef", "\nx"]
    assert record["benchmarks"]["mine"]["prompt_of_sample_0"]["text"].endswith(ROWS[0]["prompt"])
    assert record["sessions"][0]["code_execution"].startswith(f"{isolation.name}, ")
    assert len(statuses(out)) == 4
    assert set(statuses(out).values()) <= {"wrong", "unparsed", "truncated"}
    assert regrade(out) == [f"{out}: mine: 0 of 4 verdicts changed"]


def test_the_check_runs_the_set_s_own_solutions(card, tiny_model, isolation):
    report = preflight([card], str(tiny_model))
    assert report["ok"]
    assert report["benchmarks"]["mine"]["completions"] == 4
    text = render_report(report)
    assert r"stop strings: '\ndef', '\nx' (mine)" in text
    file = Path(card).with_name("mine.jsonl")
    file.write_text(file.read_text().replace("== 9", "== 8"))
    failures = preflight([card])["benchmarks"]["mine"]["failures"]
    assert len(failures) == 2
    assert all(failure.startswith("square: gold") and "is wrong" in failure for failure in failures)
