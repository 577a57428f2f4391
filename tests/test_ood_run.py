"""The group `ood`, from clones to a summary: every set asked, graded, stored, continued and regraded."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prerl_eval import store
from prerl_eval.cli import app
from prerl_eval.errors import UserError
from prerl_eval.preflight import preflight
from prerl_eval.regrade import regrade
from prerl_eval.sandbox import find_isolation
from prerl_eval.summary import summarize
from tests.ood_clones import make_ood_clones

SETS = {"bbh", "gpqa-diamond", "humaneval", "mmlu-pro"}
LIMIT, N = 5, 2


def command(
    model: Path, root: Path, out: Path, engine: str = "transformers", limit: int = LIMIT
) -> list[str]:
    flags = {
        "--ckpt": model,
        "--bench": "ood",
        "--limit": limit,
        "--n": N,
        "--max-tokens": 16,
        "--workers": 1,
    }
    flags |= {"--engine": engine, "--data-root": root, "--out": out}
    return ["run", *(str(part) for flag in flags.items() for part in flag)]


def check_run(run: Path, limit: int = LIMIT) -> list[dict]:
    """All rows of all four sets are there, graded; returns them."""
    rows = store.read_samples(run).to_pylist()
    assert Counter(row["benchmark"] for row in rows) == dict.fromkeys(SETS, limit * N)
    assert len({(row["benchmark"], row["problem_id"], row["sample_index"]) for row in rows}) == len(rows)
    assert not {row["status"] for row in rows} & {"unscored", "error", "timeout"}
    graders = {(row["benchmark"], row["grader"].split("/")[0]) for row in rows}
    assert graders == {
        ("bbh", "exact"),
        ("gpqa-diamond", "choice"),
        ("humaneval", "code"),
        ("mmlu-pro", "choice"),
    }
    for row in rows:
        facts = json.loads(row["extra"])
        if row["benchmark"] == "gpqa-diamond":
            assert facts["order"].index(0) == "ABCD".index(row["gold"])
        if row["benchmark"] == "mmlu-pro":
            assert len(facts["letters"]) == 3 + int(row["problem_id"]) % 8
    return rows


@pytest.fixture(scope="session")
def ood_root(tmp_path_factory):
    """Clones of the four sets; skips where programs cannot be isolated."""
    try:
        find_isolation()
    except UserError as error:
        pytest.skip(str(error))
    return make_ood_clones(tmp_path_factory.mktemp("hub"))


def test_golds_grade_themselves_and_letters_are_counted(ood_root):
    report = preflight(["bbh", "gpqa-diamond", "mmlu-pro"], data_root=ood_root, workers=1)
    entries = report["benchmarks"]
    assert [entry["failures"] for entry in entries.values()] == [[], [], []]
    positions = {name: set(entry["answer_positions"]) for name, entry in entries.items()}
    assert positions == {"bbh": set(), "gpqa-diamond": set("ABCD"), "mmlu-pro": set("ABCDEFGHIJ")}
    assert entries["gpqa-diamond"]["notes"] == []


def test_the_gated_set_that_is_not_there_is_one_line_with_how_to_obtain_it(tmp_path):
    done = CliRunner().invoke(app, ["check", "gpqa-diamond", "countdown", "--data-root", str(tmp_path)])
    assert done.exit_code == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("gpqa-diamond")]
    assert "NOT READ" in line
    assert "git clone https://huggingface.co/datasets/Idavidrein/gpqa" in line
    assert "accept its terms" in line


def test_the_group_is_asked_graded_and_continued(tiny_model, ood_root, tmp_path):
    out = tmp_path / "run"
    first = CliRunner().invoke(app, command(tiny_model, ood_root, out, limit=2))
    assert first.exit_code == 0, first.output
    before = check_run(out, limit=2)
    done = CliRunner().invoke(app, command(tiny_model, ood_root, out))
    assert done.exit_code == 0, done.output
    rows = check_run(out)
    assert all(row in rows for row in before)
    summary = summarize(out)
    assert set(summary["benchmarks"]) == SETS
    assert all(facts["complete"] for facts in summary["benchmarks"].values())
    # The first five problems are all of one task.
    assert summary["benchmarks"]["bbh"]["tasks"].keys() == {"boolean_expressions"}
    assert summary["benchmarks"]["bbh"]["macro"] is not None
    lines = regrade(out, workers=1)
    assert len(lines) == len(SETS)
    assert all(f": 0 of {LIMIT * N} verdicts changed" in line for line in lines)
    check_prompts({row["benchmark"]: row["prompt"] for row in rows if row["problem_id"].endswith("0")})


def check_prompts(prompts: dict[str, str]) -> None:
    """Worked examples and options stand in the first prompt of each set."""
    assert prompts["bbh"].count("Let's think step by step.") == 3 + 1
    assert "canary" not in prompts["bbh"]
    assert prompts["mmlu-pro"].count("Question:") == 5 + 1
    lines = prompts["gpqa-diamond"].splitlines()
    assert [line[:2] for line in lines if line[1:2] == "."] == ["A.", "B.", "C.", "D."]
    assert prompts["humaneval"].startswith("def add_0(x):")
