"""Which runs a report takes, what it says of training runs, what it refuses, and lists of runs."""

import json

import pytest

from prerl_eval.report.render import writing
from tests.runs import sample, write_run
from tests.test_report import CARD, Page, command, mark, report, rows, write  # noqa: F401 - fixtures


def refused(result):
    """The one line of a refusal."""
    code, out, said = result
    assert (code, out, len(said)) == (2, [], 1)
    return said[0]


def test_bad_input_is_one_line_and_leaves_no_file(command, tmp_path):  # noqa: F811
    run = write(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "bare", [], {"aime24": CARD})
    (tmp_path / "file").write_text("x")
    there = set(tmp_path.iterdir())
    cases = {
        (): "no run given",
        (tmp_path / "empty",): "is not a prerl run",
        (tmp_path / "bare",): "holds no samples yet",
        (run, run): "given twice",
        (run, "--bench", "aime25"): "--bench aime25 is in no run",
        (run, "--step", "3"): "holds no samples of step 3",
        (run, "--out", "report.pdf"): "name it .html",
        (run, "--out", tmp_path): "name it .html",
        (run, "--out", tmp_path / "file" / "report.html"): "cannot write",
        (run, "--picture", "x.gif"): "neither .svg nor .png",
        (run, "--picture", "x.png"): "cannot be read",
        ("--index", tmp_path / "nowhere"): "is no folder",
        ("--index", tmp_path / "empty"): "no run under",
        ("--index", tmp_path, run): "leave out RUN",
    }
    for arguments, part in cases.items():
        assert part in refused(command(*arguments))
    assert set(tmp_path.iterdir()) == there


def test_runs_that_are_not_alike_are_refused_with_a_base_unless_allowed(command, tmp_path):  # noqa: F811
    base, other = write(tmp_path / "base"), write(tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    record["settings"]["temperature"] = 0.5
    (other / "run.json").write_text(json.dumps(record))
    assert "not comparable" in refused(command(other, "--base", base))
    assert not (tmp_path / "report.html").exists()
    assert command(other, "--base", base, "--allow-differences")[:2] == (0, ["wrote report.html"])
    assert "compared although" in Page(tmp_path / "report.html").text


def test_runs_of_different_benchmarks_stand_beside_each_other(report, tmp_path):  # noqa: F811
    base = write(tmp_path / "base")
    alike = write(tmp_path / "alike", 1)
    other = write_run(tmp_path / "other", [sample("1", 0, "correct", benchmark="amc23")])
    page = report(alike, other, "--base", base)
    assert [one["name"] for one in page.meta["benchmarks"]] == ["aime24", "amc23"]
    assert page.meta["benchmarks"][1]["problems"][0]["samples"] == [0, 0, 1]
    assert "not compared, for no benchmark of base: other" in page.text
    only = report(alike, other, "--bench", "aime24")
    assert [one["name"] for one in only.meta["benchmarks"]] == ["aime24"]
    assert "amc23" not in only.text


def test_seeds_are_compared_together_and_shown_by_themselves(report, tmp_path):  # noqa: F811
    base, *seeds = (write(tmp_path / name, shift) for shift, name in enumerate(("base", "s0", "s1")))
    page = report(f"dsrl={seeds[0]},{seeds[1]}", "--base", base)
    assert [run["name"] for run in page.meta["runs"]] == ["base", "dsrl/s0", "dsrl/s1"]
    assert "dsrl against base" in [text for _, text in page.all("bdi")]


def test_a_base_that_is_also_named_as_a_run_stands_there_once(report, tmp_path):  # noqa: F811
    base, other = write(tmp_path / "base"), write(tmp_path / "other", 1)
    page = report(base, other, "--base", base)
    assert [run["name"] for run in page.meta["runs"]] == ["base", "other"]


def test_a_training_run_is_told_step_by_step_and_browsed_at_one(report, command, tmp_path):  # noqa: F811
    def rollouts(step):
        return rows(step, benchmark="train", step=step)

    run = write_run(tmp_path / "dsrl", [*rollouts(1), *rollouts(2)], {"train": CARD}, kind="training")
    page = report(run)
    assert "dsrl: rollouts on train" in [text for _, text in page.all("caption")]
    assert not page.all("script", id="meta")
    for step in (1, 2):
        write(run / "evals" / f"step-{step}", step)
    (course, _), (rollouts, _) = report(run).all("img")
    assert "aime24: Avg from 50.0% to 50.0%" in course["alt"]
    assert "dsrl from 50.0% to 50.0% correct" in rollouts["alt"]
    at_one = report(run, "--step", "2")
    assert at_one.meta["benchmarks"][0]["problems"][0]["samples"] == [2]
    base = write(tmp_path / "base")
    assert "is a training run" in refused(command(base, "--base", run))


def test_pictures_of_the_users_stand_in_the_page(report, tmp_path):  # noqa: F811
    file = tmp_path / "curve.svg"
    file.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    page = report(write(tmp_path / "a"), "--picture", file)
    assert page.all("img", alt="Picture curve.svg")
    assert "curve.svg" in [text for _, text in page.all("figcaption")]


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "page.html"
    out.write_text("before")

    def fail():
        with writing(out) as put:
            put(["half"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert out.read_text() == "before"
    with writing(out) as put:
        put(["whole ", "\ud800"])
    assert out.read_text() == "whole ?"


def test_an_index_lists_runs_with_their_scores_and_what_is_wrong_with_others(command, tmp_path):  # noqa: F811
    write(tmp_path / "runs" / "a")
    write(tmp_path / "runs" / "deep" / "b", 1)
    write_run(tmp_path / "runs" / "bare", [], {"aime24": CARD})
    write_run(tmp_path / "runs" / "train", rows(step=3), {"aime24": CARD}, kind="training")
    mark(tmp_path / "runs" / "a", "words-x", [])
    code, out, _ = command("--index", "runs")
    assert code == 0
    found = {line.split()[0]: line for line in out[1:]}
    assert list(found) == ["a", "bare", "deep/b", "train"]
    assert found["a"].split()[1:4] == ["aime24", "2×2", "50.0"]
    assert "holds no samples yet" in found["bare"]
    assert "steps 3–3" in found["train"]
    code, out, _ = command("--index", "runs", "--out", "index.html")
    assert out[-1] == "wrote index.html"
    page = Page(tmp_path / "index.html")
    assert [text for _, text in page.all("bdi")] == ["Runs under runs", *found]
    assert not page.all("script")
