"""The project's README says what committed data say: the demo's scores, speed, faults, grading."""

import json
import re

import pytest
from typer.testing import CliRunner

from prerl_eval.cli import app
from results.study.collect import read_csv
from tests.conftest import REPO
from tests.faults.trials import read_rows

README = (REPO / "README.md").read_text(encoding="utf-8")
RUNS = [f"results/demo/{name}" for name in ("base", "grpo", "dsrl")]
SPEED = json.loads((REPO / "results" / "speed" / "speed.json").read_text(encoding="utf-8"))


def said(command, *arguments):
    done = CliRunner().invoke(app, [command, *RUNS, *arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.replace("results/demo", "runs/demo").split())


def ratio(measurement, row):
    return SPEED["measurements"][measurement]["rows"][row]["ratio"]


def test_the_scores_of_the_demo(monkeypatch):
    monkeypatch.chdir(REPO)
    block = README.split("                         P×n", 1)[1].split("\nOne seed each", 1)[0]
    scores, *verdicts = block.split("\n\n")
    summary, comparison = said("summary"), said("compare")
    for line in f"P×n{scores}".splitlines():
        assert " ".join(line.split()) in summary
    for verdict in "\n\n".join(verdicts).split("\n    dsrl: "):
        assert " ".join(verdict.removeprefix("    grpo: ").split()) in comparison


@pytest.mark.parametrize(
    ("pattern", "measurement", "row"),
    [
        (r"sequential math-verify \(([\d.]+) times faster\)", "grading", 0),
        (r"took a (\d+)th of the time of the released", "training", 0),
        (r"\(a (\d+)th with its padding removed\)", "training", 1),
        (r"GRPO update (a half|a third|a quarter) of stock TRL's", "training", 2),
    ],
)
def test_ratios_of_speed(pattern, measurement, row):
    words = {"a half": "2", "a third": "3", "a quarter": "4"}
    (found,) = re.findall(pattern, " ".join(README.split()))
    figure = words.get(found, found)
    places = len(figure.partition(".")[2])
    assert figure == f"{ratio(measurement, row):.{places}f}"


def test_generation_with_grading_beside_the_bare_engine():
    said = r"generation with grading against the bare engine \(at most (\d+)% slower\)"
    (percent,) = re.findall(said, " ".join(README.split()))
    assert max(ratio("engine", 0), ratio("engine-vllm", 0)) <= 1 + int(percent) / 100


def test_kills_and_disagreements():
    kills = {row.fault: row for row in read_rows(REPO / "results" / "faults" / "faults.csv")}
    one = kills["kill -9 of prerl-eval run"]
    assert "fifty kills at random moments" in README
    assert one.tried == one.survived == 50
    listed = (REPO / "results" / "grading" / "disagreements.jsonl").read_text(encoding="utf-8")
    (count,) = re.findall(r"(\d+) verdicts differ from their publishers'", README)
    assert int(count) == len(listed.splitlines())


def test_how_far_ten_updates_move_the_model():
    rows = read_csv(REPO / "results" / "nano" / "kl.csv")

    def moved(arm):
        found = [float(row["kl_per_response"]) for row in rows if row["arm"] == arm and row["step"] == "10"]
        return sum(found) / len(found)

    said = r"move that model by ([\d.]+) nats a response \(GRPO's first ten: ([\d.]+)\)"
    assert re.findall(said, " ".join(README.split())) == [(f"{moved('dsrl'):.3f}", f"{moved('grpo'):.1f}")]
