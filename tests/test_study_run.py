"""Running the study's jobs: order, failures, and the whole of it in its smallest form."""

import shutil
import subprocess
import sys

import pytest

from results.study.execute import run_jobs
from results.study.jobs import Job
from tests.conftest import REPO

NANO = REPO / "results" / "nano"


def job(name, *arguments, needs=()):
    return Job(name, arguments, needs, 0.0)


def test_a_failed_job_keeps_back_what_needs_it_and_nothing_else(tmp_path):
    """Real commands of the standard library: json.tool of a file that is there, and of one that is not."""
    (tmp_path / "in.json").write_text("[1]")
    there = ("json.tool", str(tmp_path / "in.json"))
    jobs = [
        job("wrong", "json.tool", str(tmp_path / "absent.json")),
        job("first", *there, str(tmp_path / "first.json")),
        job(
            "second",
            "json.tool",
            str(tmp_path / "first.json"),
            str(tmp_path / "second.json"),
            needs=("first",),
        ),
        job("never", *there, str(tmp_path / "never.json"), needs=("wrong",)),
    ]
    work = tmp_path / "work"
    (fault,) = run_jobs(jobs, work, 2)
    assert fault == f"1 jobs failed, see {work / 'wrong.log'}, and 1 jobs wait for what they would have made"
    assert "absent.json" in (work / "wrong.log").read_text()
    assert (tmp_path / "second.json").exists()
    assert not (tmp_path / "never.json").exists()
    assert run_jobs(jobs[1:3], work, 1) == []


def study(work, *flags):
    command = [sys.executable, "-m", "results.study", str(NANO), "--quick", "--work", str(work), *flags]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True)


def test_a_part_of_the_study_leaves_the_tables_of_all_of_it(tmp_path):
    data, work = tmp_path / "data", tmp_path / "work"
    shutil.copytree(NANO, data)
    work.mkdir()
    command = [
        sys.executable,
        "-m",
        "results.study",
        str(data),
        "--only",
        "grpo",
        "--collect",
        "--work",
        work,
    ]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True)
    assert (data / "README.md").read_bytes() == (NANO / "README.md").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_study_runs_and_makes_nothing_twice(tmp_path):
    planned = study(tmp_path / "work", "--dry-run")
    assert [line.split()[-1] for line in planned.stdout.splitlines()[:-1]] == [
        "grpo-2e-4-0",
        "grpo-2e-4-0@1-val",
        "fork10-nsr-prerl-6e-5-0",
        "fork10-nsr-prerl-6e-5-0@1-in",
    ]
    done = study(tmp_path / "work")
    assert done.returncode == 0, done.stderr
    data = tmp_path / "work" / "data"
    made = {file: (data / file).read_bytes() for file in ("looks.csv", "runs.csv", "counts.parquet")}
    assert b"grpo,2e-4,0,countdown-val,5,2," in made["looks.csv"]
    # The fork's one update and the one before it, of 32 prompts with 8 samples each.
    assert b"fork10-nsr-prerl-6e-5-0,fork10-nsr-prerl,nsr-prerl,base,6e-5,0,1,512," in made["runs.csv"]
    assert study(tmp_path / "work", "--dry-run").stdout.startswith("0 jobs")
    for file in made:
        (data / file).unlink()
    taken = study(tmp_path / "work", "--collect")
    assert "2 measurements added, 0 of 2 still lacking" in taken.stdout
    assert {file: (data / file).read_bytes() for file in made} == made
