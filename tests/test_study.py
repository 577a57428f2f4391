"""The study: what its plan means, that its README is what its data say, and that it runs."""

import subprocess
import sys

import pyarrow as pa
import pytest

from prerl_eval.errors import UserError
from results.study import execute
from results.study.plan import load_study
from results.study.tables import all_tables, chosen_rates, main_table, with_tables
from tests.conftest import REPO

NANO = REPO / "results" / "nano"

PLAN = """
model = "base"
recipe = "nano"
steps = 40
seeds = [0, 1]
[val]
benchmarks = ["countdown-val"]
n = 8
[test]
benchmarks = ["countdown"]
n = 32
[base]
benchmarks = ["countdown"]
n = 64
[looks]
grpo = ["2e-4", "4e-4"]
dsrl = ["2e-4", "1e-3"]
"""

LOOKS = """algorithm,lr,seed,benchmark,problems,n,avg,low,high
grpo,2e-4,0,countdown-val,200,8,0.4,0.3,0.5
grpo,4e-4,0,countdown-val,200,8,0.4,0.3,0.5
dsrl,2e-4,0,countdown-val,200,8,0.2,0.1,0.3
dsrl,1e-3,0,countdown-val,200,8,0.3,0.2,0.4
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.toml").write_text(PLAN)
    (tmp_path / "looks.csv").write_text(LOOKS)
    return tmp_path


def test_each_look_once_and_the_best_rate_with_every_seed(folder):
    study = load_study(folder)
    first = [(job.model, job.measurement.name) for job in study.first_jobs()]
    assert first == [
        ("base", "base"),
        ("grpo-2e-4-0", "val"),
        ("grpo-4e-4-0", "val"),
        ("dsrl-2e-4-0", "val"),
        ("dsrl-1e-3-0", "val"),
    ]
    assert chosen_rates(study) == {"grpo": "2e-4", "dsrl": "1e-3"}  # of two equal ones the smaller
    second = [job.model for job in study.second_jobs(chosen_rates(study))]
    assert second == ["grpo-2e-4-0", "dsrl-1e-3-0", "grpo-2e-4-1", "dsrl-1e-3-1"]


def test_unequal_budgets_are_refused(folder):
    (folder / "study.toml").write_text(PLAN.replace('["2e-4", "4e-4"]', '["2e-4"]'))
    with pytest.raises(UserError, match="grpo 1, dsrl 2"):
        load_study(folder)


def test_a_rate_is_not_chosen_before_every_look_is_there(folder):
    (folder / "looks.csv").write_text(LOOKS.replace("dsrl,1e-3", "dsrl,3e-3"))
    with pytest.raises(UserError, match="lacks dsrl 1e-3;"):
        chosen_rates(load_study(folder))


def test_what_the_data_hold_is_not_done_again(folder):
    study = load_study(folder)
    (folder / "runs.csv").write_text("model,algorithm,lr,seed\ngrpo-2e-4-0,grpo,2e-4,0\n")
    jobs = [*study.first_jobs(), *study.second_jobs(chosen_rates(study))]
    left = [(job.model, job.measurement.name) for job in execute.not_committed(study, jobs)]
    assert left == [("base", "base")] + [(m, "test") for m in ("dsrl-1e-3-0", "grpo-2e-4-1", "dsrl-1e-3-1")]


def test_the_table_by_hand(folder):
    """Two problems x 64 samples; Avg of the seeds 25 and 50: mean 37.5, sd 17.7."""
    rows = [
        ("base", "base", "", 0, "countdown", "a", 64, 0),
        ("base", "base", "", 0, "countdown", "b", 64, 64),
        ("grpo-2e-4-0", "grpo", "2e-4", 0, "countdown", "a", 64, 0),
        ("grpo-2e-4-0", "grpo", "2e-4", 0, "countdown", "b", 64, 32),
        ("grpo-2e-4-1", "grpo", "2e-4", 1, "countdown", "a", 64, 0),
        ("grpo-2e-4-1", "grpo", "2e-4", 1, "countdown", "b", 64, 64),
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    execute.pq.write_table(pa.table(columns, schema=execute.COUNTS), folder / "counts.parquet")
    (folder / "runs.csv").write_text("model,tokens\ngrpo-2e-4-0,1000000\ngrpo-2e-4-1,2000000\n")
    table = main_table(load_study(folder)).splitlines()
    assert table[2].startswith("| base | – | – | 50.0 (")
    assert table[2].endswith(" | 50.0 | – |")
    # Pass@32 of 32 correct in 64 is 1 - C(32, 32) / C(64, 32), which prints as 100.
    assert table[3] == "| grpo | 2e-4 | 2 | 37.5 ± 17.7 | 50.0 ± 0.0 | 1.50M |"


def test_a_readme_without_a_place_for_the_table_is_named():
    text = "<!-- table main -->\nold\n<!-- end -->\nafter\n<!-- table looks -->\n<!-- end -->\n"
    made = with_tables(text, {"main": "new", "looks": "| 2 |"})
    assert (
        made == "<!-- table main -->\nnew\n<!-- end -->\nafter\n<!-- table looks -->\n| 2 |\n<!-- end -->\n"
    )
    with pytest.raises(UserError, match="no place for table other"):
        with_tables(text, {"other": "x"})


def test_the_readme_is_what_the_data_say():
    study = load_study(NANO)
    readme = (NANO / "README.md").read_text(encoding="utf-8")
    assert with_tables(readme, all_tables(study)) == readme


@pytest.mark.slow
def test_the_study_runs(tmp_path):
    command = [sys.executable, "-m", "results.study", str(NANO), "--quick", "--work", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert any(row.startswith("| base | – | – | ") for row in rows)
    assert any(row.startswith("| grpo | 2e-4 | 1 | ") for row in rows)
