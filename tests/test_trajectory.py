"""Scores and saturation over training: finding the steps, hand-computed figures, table, CSV, picture."""

import csv
import json

import pytest

from prerl_eval.errors import UserError
from prerl_eval.plots import check_files
from prerl_eval.trajectory import find_stages, known_step, measure_trajectory
from prerl_eval.trajectory_table import draw_trajectory
from tests.compared import make_run
from tests.runs import write_run


def evaluation(folder, correct, name="", n=4):
    return make_run(folder, correct, n=n, checkpoint={"name": name or folder.name, "ref": f"/x/{name}"})


@pytest.mark.parametrize(
    ("checkpoint", "folder", "step"),
    [
        ({"name": "grpo-checkpoint-40", "ref": "/x/checkpoint-40"}, "any", 40),
        ({"name": "dsrl-step-20", "ref": "base"}, "any", 20),
        ({"name": "merged", "ref": "/x/global_step_150"}, "any", 150),
        ({"name": "merged", "ref": "/x/model"}, "step-7", 7),
        (None, "checkpoint-8", 8),
    ],
)
def test_the_step_is_read_from_checkpoint_or_folder(tmp_path, checkpoint, folder, step):
    assert known_step(write_run(tmp_path / folder, [], checkpoint=checkpoint)) == step


def test_a_step_that_nobody_says_is_asked_for(tmp_path):
    run = evaluation(tmp_path / "base-7b", (1,))
    with pytest.raises(
        UserError, match=r"base-7b does not say its training step \(checkpoint base-7b\); write"
    ):
        find_stages([str(run)])
    later = evaluation(tmp_path / "step-9", (1,))
    assert find_stages([str(later), f"0={run}"]) == {0: run, 9: later}


def test_a_folder_of_runs_is_taken_in_order_of_steps(tmp_path):
    for step in (100, 20, 3):
        evaluation(tmp_path / f"checkpoint-{step}", (1,))
    (tmp_path / "notes").mkdir()
    assert list(find_stages([str(tmp_path)])) == [3, 20, 100]


def test_a_training_run_has_its_evaluations(tmp_path):
    training = write_run(tmp_path / "grpo", [], kind="training")
    with pytest.raises(UserError, match="was trained without --eval-bench, so it has no evals"):
        find_stages([str(training)])
    for step in (0, 5):
        evaluation(training / "evals" / f"step-{step}", (1,))
    assert list(find_stages([str(training)])) == [0, 5]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["step-1", "checkpoint-1"], "are both of step 1; give one, or say STEP=RUN"),
        (["step-1"], "needs the runs of two or more steps, here is .*step-1 only"),
        (["nothing"], "nothing is no run and no folder of runs"),
    ],
)
def test_what_is_no_trajectory_is_one_line(tmp_path, names, message):
    for name in names:
        if name != "nothing":
            evaluation(tmp_path / name, (1,))
    with pytest.raises(UserError, match=message):
        find_stages([str(tmp_path / name) for name in names])


def test_runs_that_are_not_alike_are_refused(tmp_path):
    evaluation(tmp_path / "step-0", (1, 2))
    evaluation(tmp_path / "step-1", (1, 2, 3))
    with pytest.raises(UserError, match="not comparable: aime24 has 2 scored problems"):
        measure_trajectory([str(tmp_path)])


@pytest.fixture
def facts(tmp_path):
    """Four problems, four samples: the first two are solved at step 0, the middle two at step 10."""
    evaluation(tmp_path / "runs" / "step-0", (4, 2, 0, 0))
    evaluation(tmp_path / "runs" / "step-10", (0, 4, 4, 0))
    return measure_trajectory([str(tmp_path / "runs")])


def test_scores_and_saturation_are_those_of_the_counts(facts):
    assert facts["stages"][0]["step"] == 0
    first, last = facts["benchmarks"]["aime24"]["stages"]
    assert first["avg"] == (1 + 0.5) / 4
    assert last["avg"] == 0.5
    assert first["pass"]["2"] == pytest.approx((1 + 5 / 6) / 4)
    assert last["mean_tokens"] == 2
    # In all four samples: one of two kept, one of two new.
    assert last["support"]["at_n"]["retention"]["value"] == pytest.approx(0.5)
    assert last["support"]["at_n"]["discovery"]["value"] == pytest.approx(0.5)
    # In two samples, averaged over all ways to draw them: problem 1 is solved with chance 5/6 at first.
    assert last["support"]["matched"]["m"] == 2
    assert last["support"]["matched"]["retention"]["value"] == pytest.approx((5 / 6) / (1 + 5 / 6))
    # An unchanged model: both halves of problem 1 hold a correct one in 4 of 6 splits.
    unchanged = first["support"]["null"]["retention"]["value"]
    assert unchanged == pytest.approx((1 + 4 / 6) / (1 + 5 / 6))
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_rare_problems_are_followed_over_the_steps(tmp_path):
    """Problem 0 is rare at first (1 of 40), lost at step 1 and found again at step 2."""
    for step, correct in enumerate(((1, 20), (0, 20), (40, 20))):
        evaluation(tmp_path / f"step-{step}", correct, n=40)
    facts = measure_trajectory([str(tmp_path)], null=None)
    first, lost, found = (stage["rare"]["problems"] for stage in facts["benchmarks"]["aime24"]["stages"])
    assert first is None
    assert lost["survived"] == pytest.approx(0, abs=1e-4)  # of problem 1, hardly rare
    assert lost["lost"] == pytest.approx(lost["rare"], abs=1e-4)
    assert found["survived"] == pytest.approx(found["rare"])
    assert found["recovered"] == pytest.approx(found["rare"], abs=1e-4)
    lines = draw_trajectory(facts)
    (title,) = [index for index, line in enumerate(lines) if "rare problems @20" in line]
    assert lines[title + 1].split()[2] == "0.0"
    assert lines[title + 2].split()[2] == "100.0"
    assert max(map(len, lines)) <= 100


def test_table_csv_and_picture(tmp_path, facts):
    lines = draw_trajectory(facts, tmp_path / "t.png", tmp_path / "t.csv")
    assert max(map(len, lines[:-2])) <= 100
    assert lines[1] == "aime24, 4 problems, n = 4; retention, discovery in 2 samples"
    first, last = (line.split() for line in lines[3:5])
    assert (first[0], first[1], first[4]) == ("0", "37.5", "(90.9)")
    assert (last[0], last[1]) == ("10", "50.0")
    with (tmp_path / "t.csv").open() as stream:
        rows = {(row["step"], row["measure"]): row for row in csv.DictReader(stream)}
    assert float(rows["10", "avg"]["value"]) == 0.5
    assert float(rows["10", "retention_at_n"]["value"]) == pytest.approx(0.5)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_one_sample_each_has_no_null_and_no_saturation_panel(tmp_path):
    evaluation(tmp_path / "step-0", (1, 0), n=1)
    evaluation(tmp_path / "step-1", (1, 1), n=1)
    facts = measure_trajectory([str(tmp_path)])
    lines = draw_trajectory(facts, tmp_path / "t.svg")
    assert lines[1] == "aime24, 2 problems, n = 1"
    assert lines[3].split()[3] == "–"
    assert facts["benchmarks"]["aime24"]["stages"][1]["support"]["null"] is None


def test_wrong_file_names_are_found_first(tmp_path):
    with pytest.raises(UserError, match="name it"):
        check_files(tmp_path / "t.jpeg", None)
