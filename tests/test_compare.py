"""`prerl-eval compare` from stored runs to JSON, tables and picture."""

import json
import subprocess
import sys

import numpy as np
import pytest

from prerl_eval.comparison.compare import Options, compare, draw_comparison
from tests.compared import make_run
from tests.conftest import REPO
from tests.runs import sample, write_run


def compared(*runs, **changes):
    return compare(Options(str(runs[0]), [str(run) for run in runs[1:]], **changes))


@pytest.fixture
def counts():
    """Correct of 16 samples on 24 problems: base, a better model that loses some problems."""
    source = np.random.default_rng(0)
    base = source.binomial(16, source.beta(1, 2, 24))
    trained = np.where(np.arange(24) < 5, 0, np.minimum(16, base + 4))
    return base.tolist(), trained.tolist()


@pytest.fixture
def runs(tmp_path, counts):
    return [make_run(tmp_path / name, correct, n=16) for name, correct in zip("ab", counts, strict=True)]


def test_figures_are_those_of_the_counts(runs, counts):
    base, trained = (np.asarray(correct) / 16 for correct in counts)
    facts = compared(*runs)
    assert facts["base"]["name"] == "a"
    assert facts["methods"][0]["runs"] == [str(runs[1])]
    (entry,) = facts["comparisons"]
    assert (entry["benchmark"], entry["method"], entry["problems"]) == ("aime24", "b", 24)
    assert entry["n"] == {"base": 16, "method": 16}
    assert entry["avg"]["difference"] == pytest.approx((trained - base).mean())
    assert entry["avg"]["base"] == pytest.approx(base.mean())
    assert entry["avg"]["ci"][0] < entry["avg"]["difference"] < entry["avg"]["ci"][1]
    assert entry["pass"]["k"] == list(range(1, 17))
    assert entry["pass"]["difference"][0] == pytest.approx((trained - base).mean())
    assert entry["pass"]["method"][15] == pytest.approx((trained > 0).mean())
    assert entry["pass"]["difference"][15] == pytest.approx((trained > 0).mean() - (base > 0).mean())
    lost = [str(problem) for problem in range(24) if base[problem] > 0 and trained[problem] == 0]
    assert sorted(entry["newly_lost"]["ids"], key=int) == lost
    assert entry["support"]["at_n"]["shrunk"] == pytest.approx(len(lost))
    assert entry["tokens"]["per_sample"]["base"] == 2
    assert entry["tokens"]["per_correct"]["method"] == pytest.approx(2 / trained.mean())
    # Wrong answers are all "7" here: two classes where a problem has both.
    assert entry["distinct"]["answers"]["base"] == pytest.approx(1 + ((base > 0) & (base < 1)).mean())
    assert entry["distinct"].get("solutions") is None
    assert entry["verdict"]


def test_json_has_no_nan_and_knows_every_documented_key(runs):
    facts = compared(*runs)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    text = (REPO / "docs/compare.md").read_text()
    documented = text[text.index("## JSON") : text.index("## Trajectory")]
    for key in facts["comparisons"][0]:
        assert key in documented, key


def test_p_values_are_corrected_over_methods_and_benchmarks(tmp_path, runs, counts):
    third = make_run(tmp_path / "c", [min(16, count + 1) for count in counts[0]], n=16)
    alone = compared(*runs)["comparisons"][0]["avg"]
    both = [entry["avg"] for entry in compared(*runs, third)["comparisons"]]
    assert both[0]["p"] == alone["p"] == alone["p_holm"]
    smaller, larger = sorted(both, key=lambda avg: avg["p"])
    assert smaller["p_holm"] == pytest.approx(min(1, 2 * smaller["p"]))
    assert larger["p_holm"] == pytest.approx(max(larger["p"], smaller["p_holm"]))


def test_the_table_is_narrow_and_begins_with_what_it_says(tmp_path, runs):
    third = make_run(tmp_path / "a-method-with-a-long-name", [8] * 24, n=16)
    facts = compared(*runs, third)
    text = draw_comparison(facts, tmp_path / "difference.png")
    assert text[-1] == f"wrote {tmp_path / 'difference.png'}"
    lines = text[0].splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "b, a-method-with-a-long-name against a"
    assert lines[3].startswith("  b: correct ") or lines[3].startswith("  b: no difference in Avg seen")
    assert sum("training seed of b, a-method-with-a-long-name: this is about" in line for line in lines) == 1
    assert (tmp_path / "difference.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_base_run_takes_the_place_of_the_split_half(tmp_path, runs, counts):
    again = make_run(tmp_path / "again", counts[0], n=16, settings={"checkpoint": "a", "seed": 1})
    (split,), (second,) = compared(*runs)["comparisons"], compared(*runs, null=str(again))["comparisons"]
    assert (split["support"]["null_kind"], split["support"]["matched"]["m"]) == ("split half", 8)
    assert (second["support"]["null_kind"], second["support"]["matched"]["m"]) == ("run again", 16)
    assert second["support"]["null"]["retention"]["value"] == 1.0


def test_training_seeds_are_counted_and_named(tmp_path, runs, counts):
    seeds = [make_run(tmp_path / f"s{seed}", np.roll(counts[1], seed).tolist(), n=16) for seed in range(3)]
    facts = compared(runs[0], f"METHOD={seeds[0]},{seeds[1]},{seeds[2]}")
    assert facts["comparisons"][0]["seeds"] == {"base": 1, "method": 3}
    text = draw_comparison(facts)[0]
    assert text.startswith("METHOD (3 seeds) against a")
    assert "about these checkpoints" not in text


EDGES = {
    "nothing is solved": ([0, 0, 0], [0, 0, 0], 4),
    "everything is solved": ([4, 4, 4], [4, 4, 4], 4),
    "everything becomes solved": ([0, 0, 0], [4, 4, 4], 4),
    "one problem": ([2], [3], 4),
    "one sample": ([1, 0, 1], [1, 1, 0], 1),
    "two samples": ([1, 0, 2], [1, 1, 0], 2),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_have_a_table_and_no_claim_without_evidence(tmp_path, name):
    before, after, n = EDGES[name]
    facts = compared(make_run(tmp_path / "a", before, n=n), make_run(tmp_path / "b", after, n=n))
    text = "\n".join(draw_comparison(facts, tmp_path / "d.svg"))
    assert "nan" not in text
    assert max(map(len, text.splitlines()[:-1])) <= 100
    (entry,) = facts["comparisons"]
    json.dumps(entry, allow_nan=False)
    if name != "everything becomes solved":
        assert "often" not in entry["verdict"]
        assert not entry["crossover"]["claimed"]


def test_countdown_solutions_are_told_apart(tmp_path):
    def run(folder, answers):
        rows = [
            sample(str(problem), index, "correct", answer=answer, grader="countdown/1")
            for problem in range(3)
            for index, answer in enumerate(answers)
        ]
        return write_run(folder, rows, settings={"checkpoint": folder.name})

    many = run(tmp_path / "many", ["3 + 4 + 5", "5 + 4 + 3", "4 * 3", "6 + 6"])
    few = run(tmp_path / "few", ["4 * 3", "3 * 4", "4 * 3", "3 * 4"])
    (entry,) = compared(many, few)["comparisons"]
    assert entry["distinct"]["solutions"]["base"] == 3
    assert entry["distinct"]["solutions"]["method"] == 1
    assert entry["distinct"]["answers"]["base"] == 1
    assert entry["rare"]["solutions"] is not None
    assert entry["floor"] is None


def test_the_command_refuses_in_one_line_and_writes_nothing(tmp_path, runs):
    other = make_run(tmp_path / "other", (1, 2), settings={"temperature": 0.6})
    call = [sys.executable, "-m", "prerl_eval.cli", "compare", str(runs[0]), str(other), "--out", "d.png"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(REPO)})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "temperature is 1.0 in" in done.stderr
    assert not (tmp_path / "d.png").exists()
