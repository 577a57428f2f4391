"""The run loop on real models: resumed runs, topped-up runs, refused runs, interrupted runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prerl_eval import store
from prerl_eval.errors import UserError
from prerl_eval.plan import RunOptions, request_seed
from prerl_eval.run import evaluate
from prerl_eval.run_record import read_record
from prerl_eval.summary import summarize
from tests.conftest import REPO
from tests.faults.stage import content
from tests.tiny import save_model, tiny_model  # noqa: F401 - the fixture is found by its name


@pytest.fixture
def options(tiny_model, tmp_path):  # noqa: F811
    def build(**changes):
        settings = {
            "ckpt": [str(tiny_model)],
            "bench": ["countdown"],
            "n": 4,
            "limit": 6,
            "max_tokens": 24,
            "batch_size": 5,
            "engine": "transformers",
            "out": tmp_path / "run",
        }
        return RunOptions(**(settings | changes))

    return build


def lose_parts(run: Path, keep: int) -> None:
    """What a kill before the last parts were written leaves behind."""
    for part in store.parts(run)[keep:]:
        part.unlink()


def test_rows_are_complete_and_say_how_they_were_made(options, tmp_path):
    (run,) = evaluate(options())
    rows = store.read_samples(run).to_pylist()
    assert {(row["problem_id"], row["sample_index"]) for row in rows} == {
        (f"test-{problem:04d}", index) for problem in range(6) for index in range(4)
    }
    assert all(
        row["seed"] == request_seed(0, "countdown", row["problem_id"], row["sample_index"]) for row in rows
    )
    assert all(row["prompt"].endswith(".") and row["grader"] == "countdown/1" for row in rows)
    assert all(len(row["token_ids"]) == row["tokens"] <= 24 for row in rows)
    record = read_record(run)
    assert record["settings"]["temperature"] == 1.0
    assert record["benchmarks"]["countdown"]["n"] == 4
    assert record["benchmarks"]["countdown"]["prompt_of_sample_0"]["text"] == rows[0]["prompt"]
    assert record["sessions"][0]["versions"]["transformers"]
    scores = summarize(run)["benchmarks"]["countdown"]
    assert sum(scores["statuses"].values()) == scores["samples"] == 24


def test_request_seeds_depend_on_what_is_asked_alone():
    seeds = {request_seed(0, "a", problem, index) for problem in ("1", "11") for index in range(50)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert request_seed(0, "a", "1", 0) == request_seed(0, "a", "1", 0) != request_seed(1, "a", "1", 0)


@pytest.mark.parametrize("keep_rows", [0, 5, 15])
def test_a_resumed_run_equals_the_undisturbed_one_bit_for_bit(options, tmp_path, keep_rows):
    (whole,) = evaluate(options(out=tmp_path / "whole"))
    (run,) = evaluate(options())
    table = store.read_samples(run)
    lose_parts(run, 0)
    if keep_rows:
        store.write_part(run, table.slice(0, keep_rows))
    kept = {part: part.read_bytes() for part in store.parts(run)}
    evaluate(options())
    assert content(run) == content(whole)
    assert all(part.read_bytes() == before for part, before in kept.items())
    assert len(store.read_samples(run)) == 24


def test_a_finished_run_is_left_alone(options):
    (run,) = evaluate(options())
    before = {part: part.stat().st_mtime_ns for part in store.parts(run)}
    evaluate(options())
    assert {part: part.stat().st_mtime_ns for part in store.parts(run)} == before


def test_more_samples_problems_and_benchmarks_top_up(options):
    (run,) = evaluate(options(n=2, limit=3))
    before = store.read_samples(run).to_pylist()
    evaluate(options(n=4, limit=6, bench=["countdown", "countdown-ood"]))
    rows = store.read_samples(run).to_pylist()
    assert rows[: len(before)] == before
    assert len(rows) == 2 * 24
    evaluate(options(n=1, limit=1))
    record = read_record(run)["benchmarks"]
    assert (record["countdown"]["n"], record["countdown"]["problems"]) == (4, 6)
    assert set(record) == {"countdown", "countdown-ood"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": 0.6}, r"temperature: 1.0 -> 0.6"),
        ({"seed": 1, "top_k": 20}, r"seed: 0 -> 1; top_k: 0 -> 20"),
        ({"max_tokens": 25}, r"max_tokens: 24 -> 25"),
        ({"batch_size": 6}, r"batch_size: 5 -> 6"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(options, change, named):
    (run,) = evaluate(options(limit=1))
    before = content(run)
    with pytest.raises(UserError, match=named):
        evaluate(options(limit=1, **change))
    assert content(run) == before


def test_another_limit_in_an_edited_card_is_refused(options, tmp_path):
    card = tmp_path / "mine.toml"
    (tmp_path / "mine.jsonl").write_text('{"q": "make 3", "a": "3"}\n')
    text = (
        'name = "mine"\npath = "mine.jsonl"\nsplit = "test"\ngrader = "math"\nprompt = "{problem}"\n'
        'fields = { problem = "q", answer = "a" }\nmax_tokens = '
    )
    card.write_text(text + "8")
    evaluate(options(bench=[str(card)], n=1, max_tokens=None))
    card.write_text(text + "9")
    with pytest.raises(UserError, match="max_tokens of card mine: 8 -> 9"):
        evaluate(options(bench=[str(card)], n=2, max_tokens=None))


def test_an_overwritten_checkpoint_is_refused(options, tmp_path):
    mine = tmp_path / "model"
    mine.mkdir()
    save_model(mine, seed=0)
    evaluate(options(limit=1, ckpt=[str(mine)]))
    save_model(mine, seed=1)
    with pytest.raises(UserError, match=r"checkpoint: '\w+' -> '\w+'"):
        evaluate(options(limit=1, ckpt=[str(mine)]))


def test_changed_problems_are_refused(options, tmp_path):
    card = tmp_path / "mine.toml"
    card.write_text(
        'name = "mine"\npath = "mine.jsonl"\nsplit = "test"\ngrader = "math"\nprompt = "{problem} ?"\n'
        'fields = { problem = "q", answer = "a" }\n'
    )
    problems = tmp_path / "mine.jsonl"
    problems.write_text('{"q": "make 3 from 1 2", "a": "3"}\n')
    evaluate(options(bench=[str(card)]))
    problems.write_text('{"q": "make 3 from 1 1 1", "a": "3"}\n')
    with pytest.raises(UserError, match="the prompt of mine problem 0 has changed"):
        evaluate(options(bench=[str(card)]))
    problems.write_text('{"q": "make 3 from 1 2", "a": "4"}\n')
    with pytest.raises(UserError, match="the gold of mine problem 0 has changed"):
        evaluate(options(bench=[str(card)]))


def test_a_folder_of_something_else_is_refused(options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds files but no prerl run"):
        evaluate(options())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_series_of_checkpoints_makes_a_run_each(options, tmp_path):
    series = tmp_path / "training"
    for step in (10, 9):
        (series / f"checkpoint-{step}").mkdir(parents=True)
        save_model(series / f"checkpoint-{step}", seed=step)
    runs = evaluate(options(ckpt=[str(series)], limit=2, n=1))
    assert [run.name for run in runs] == ["training-checkpoint-9", "training-checkpoint-10"]
    first, second = (content(run) for run in runs)
    assert [row["completion"] for row in first] != [row["completion"] for row in second]
    with pytest.raises(UserError, match="is the run of one checkpoint, not of 2"):
        evaluate(options(ckpt=[str(series)], limit=2, n=1, out=runs[0]))


def test_default_folders_differ_by_settings_and_not_by_n(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [
        evaluate(options(out=None, limit=1, **change))[0]
        for change in ({}, {"n": 2}, {"temperature": 0.5}, {"seed": 3})
    ]
    assert runs[0] == runs[1]
    assert len(set(runs)) == 3
    assert all(run.parent == Path("runs") for run in runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "--n 0 is too small"),
        ({"limit": 0}, "--limit 0 is too small"),
        ({"max_tokens": 0}, "--max-tokens 0 is too small"),
        ({"temperature": -0.1}, "--temperature -0.1 is too small"),
        ({"temperature": float("nan")}, "--temperature nan is no number"),
        ({"top_p": 0.0}, "--top-p 0.0 is not in"),
        ({"system": "caf\udce9"}, "is not UTF-8"),
        ({"out": Path("x" * 300)}, "File name too long"),
        ({"template": "chatty"}, "--template chatty is unknown"),
        ({"bench": ["aime23"]}, "aime23"),
        ({"engine": "sglang"}, "sglang"),
        ({"ckpt": ["no/such/folder"]}, "no/such/folder"),
        ({"max_tokens": 100_000}, "100000|100,000"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(options, tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        evaluate(options(**change))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def command(model: Path, out: Path, *flags: str) -> list[str]:
    base = [sys.executable, "-m", "prerl_eval.cli", "run", "--ckpt", str(model), "--bench", "countdown"]
    return [
        *base,
        "--engine",
        "transformers",
        "--max-tokens",
        "64",
        "--batch-size",
        "4",
        "--out",
        str(out),
        *flags,
    ]


def test_the_command_reports_a_mistake_in_one_line_with_exit_code_2(tiny_model, tmp_path):  # noqa: F811
    done = subprocess.run(
        command(tiny_model, tmp_path / "run", "--n", "0"), capture_output=True, text=True, cwd=REPO
    )
    assert done.returncode == 2
    assert done.stderr == "prerl-eval: --n 0 is too small; give 1 or more\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_stores_what_is_graded(tiny_model, tmp_path, sent, code):  # noqa: F811
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(tiny_model, out, "--n", "64"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
    )
    while not store.parts(out) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert (stderr.splitlines()[-1] == "prerl-eval: interrupted") == (sent == signal.SIGINT)
    kept = store.stored_keys(out)
    assert 0 < len(kept) < 200 * 64
    assert len(kept) == len(store.read_samples(out))


def test_a_full_disk_in_mid_run_ends_with_1_and_the_run_goes_on_after_room_is_made(tiny_model, tmp_path):  # noqa: F811
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small tmpfs here (needs root)")
    try:
        (disk / "ballast").write_bytes(os.urandom(65_000))
        line = command(tiny_model, disk / "run", "--n", "8", "--limit", "14")
        stopped = subprocess.run(line, capture_output=True, text=True, cwd=REPO)
        assert stopped.returncode == 1, stopped.stderr
        assert stopped.stderr.splitlines()[-1].endswith(
            "the disk is full; every stored row is safe, make room and run the same command to go on"
        )
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        finished = subprocess.run(line, capture_output=True, text=True, cwd=REPO)
        assert finished.returncode == 0, finished.stderr
        assert len(store.stored_keys(disk / "run")) == len(store.read_samples(disk / "run")) == 8 * 14
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_record_is_json_that_a_person_can_read(options):
    (run,) = evaluate(options(limit=1, n=1))
    text = (run / "run.json").read_text()
    assert json.loads(text) == read_record(run)
    assert max(map(len, text.splitlines())) > 40
    assert '"token_ids": [ ' in text
