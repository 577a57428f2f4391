"""KL and masses of the base's responses: estimates by hand, and from a run to the tables."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prerl_eval.comparison.mass import Traces, path_mass
from prerl_eval.errors import UserError
from results.study import kl, trace_mass, traces
from results.study.analyses import collect_analyses
from results.study.committed import load_committed
from results.study.kl import kl_divergence, kl_table
from results.study.markdown import NOTHING
from results.study.plan_file import load_study
from results.study.trace_mass import responses_of, up_to_kept
from results.study.trace_tables import mass_ratio, mass_table, mean_change, recovery_table, share, weight_seen
from tests.study_data import write_study

RNG = np.random.default_rng(0)


def drawn(problems=12, samples=16, seeds=1):
    """Responses of which about a third are right, and log-ratios of them under `seeds` models."""
    problem = np.repeat(np.arange(problems), samples)
    correct = RNG.random(len(problem)) < np.repeat(RNG.beta(0.5, 1, problems), samples)
    correct[0] = True
    return problem, correct, RNG.normal(-0.1, 0.5, (seeds, len(problem)))


def test_kl_of_close_and_of_distant_models():
    close = np.log(np.array([[0.5, 1.5], [0.9, 1.1]]))
    # mean(exp(d) - 1 - d) = mean(-d) here, as the weights have mean 1 in each problem.
    value, error = kl_divergence(close)
    by_problem = [-np.log(0.75) / 2, -np.log(0.99) / 2]
    assert value == pytest.approx(np.mean(by_problem))
    assert error == pytest.approx(np.std(by_problem, ddof=1) / np.sqrt(2))
    assert kl_divergence(np.full((2, 2), -3.0)) == (3.0, 0.0)


def test_with_all_responses_the_figures_are_those_of_compare():
    problem, correct, change = drawn()
    known = path_mass(Traces(problem, correct, change[0], change[0]))
    data = responses_of(problem, correct, np.ones(len(problem)))
    for kind in ("correct", "rare", "wrong"):
        moved, mass = known.given_prompt[kind], known.mass[kind]
        found = mean_change(data, kind, change)
        assert (found.value, found.low, found.high) == pytest.approx((moved.change, moved.low, moved.high))
        cut = share(data, kind, (change < -np.log(10)).astype(float))
        assert (cut.value, cut.low, cut.high) == pytest.approx(
            (moved.pruned.value, moved.pruned.low, moved.pruned.high)
        )
        assert mass_ratio(data, kind, change).value == pytest.approx(mass.ratio)
    seen = weight_seen(data, change)
    assert (seen.value, seen.low, seen.high) == pytest.approx(
        (known.weights.seen, known.weights.low, known.weights.high)
    )


def test_a_response_that_stands_for_two_counts_as_two():
    problem, correct = np.array([0, 0, 1, 1]), np.array([True, False, True, False])
    data = responses_of(problem, correct, np.array([2.0, 1.0, 1.0, 2.0]))
    change = np.array([[-1.0, 0.0, -4.0, 0.0]])
    assert mean_change(data, "correct", change).value == pytest.approx(-2.0)  # (2 x -1 + 1 x -4) / 3
    assert mean_change(data, "wrong", change).value == 0.0


def test_seeds_that_differ_widen_the_interval():
    problem, correct, change = drawn(seeds=3)
    data = responses_of(problem, correct, np.ones(len(problem)))
    shifted = change + np.array([[-1.0], [0.0], [1.0]])
    one, other = mean_change(data, "wrong", change), mean_change(data, "wrong", shifted)
    assert other.value == pytest.approx(one.value)
    assert other.high - other.low > 3 * (one.high - one.low)


def test_an_unchanged_model_is_told_to_be_one():
    problem, correct, _ = drawn()
    data = responses_of(problem, correct, np.ones(len(problem)))
    same = np.zeros((1, len(problem)))
    found = mean_change(data, "correct", same)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert mass_ratio(data, "correct", same).value == 1.0


def test_masses_on_few_problems_are_not_told():
    problem, correct, change = drawn(problems=8)
    assert np.isnan(
        mass_ratio(responses_of(problem, correct, np.ones(len(problem))), "correct", change).value
    )


def test_up_to_eight_of_each_kind_in_order_of_sampling():
    table = pa.table(
        {
            "benchmark": ["b"] * 20,
            "problem_id": ["p"] * 20,
            "sample_index": list(range(19, -1, -1)),
            "status": ["correct"] * 10 + ["wrong"] * 9 + ["truncated"],
        }
    )
    kept = up_to_kept(table)
    assert kept.tolist() == [False] * 2 + [True] * 8 + [False] * 2 + [True] * 8


def write_kl(folder, *rows):
    header = ",".join(kl.COLUMNS)
    (folder / kl.FILE).write_text("\n".join([header, *rows]) + "\n")


def test_the_table_of_kl(tmp_path):
    study = load_study(write_study(tmp_path))
    (tmp_path / kl.FILE).unlink()
    assert kl_table(load_committed(study)) == NOTHING
    write_kl(
        tmp_path,
        "dsrl-8e-4-0,dsrl,0,10,0.0030,0.0003,0.08,0.003",
        "dsrl-8e-4-1,dsrl,1,10,0.0040,0.0003,0.10,0.003",
        "dsrl-8e-4-0,dsrl,0,40,4.0,0.1,9,0.2",
        "grpo-8e-4-0,grpo,0,10,1.0,0.1,9,0.2",
        "grpo-8e-4-0,grpo,0,40,5.0,0.1,9,0.2",
    )
    lines = kl_table(load_committed(study)).splitlines()
    assert lines[2] == "| dsrl | 10 | 0.0035 ± 0.00071 (2) | 0.09 ± 0.014 (2) | 4.00, error 0.1 (1) |"
    assert lines[3] == "| grpo | – | 1.00, error 0.1 (1) | 9.00, error 0.2 (1) | 5.00, error 0.1 (1) |"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A base's run and a trained model that is the base itself, so that nothing moved."""
    from typer.testing import CliRunner

    from prerl_eval.cli import app
    from tests.conftest import REPO

    folder = tmp_path_factory.mktemp("work")
    base = REPO / "results" / "base-nano"
    flags = ["--bench", "countdown", "--limit", "3", "--n", "4", "--workers", "1", "--max-tokens", "24"]
    done = CliRunner().invoke(
        app, ["run", "--ckpt", str(base), *flags, "--out", str(folder / traces.BASE_RUN)]
    )
    assert done.exit_code == 0, done.output
    record = json.loads((folder / traces.BASE_RUN / "run.json").read_text())
    trained = folder / "dsrl-3e-5-0"
    shutil.copytree(base, trained / "checkpoint-10")
    (trained / "metrics.jsonl").write_text("")
    settings = {"algorithm": "dsrl", "warmup_steps": 10}
    checkpoint = record["checkpoint"]
    (trained / "run.json").write_text(json.dumps({"checkpoint": checkpoint, "settings": settings}))
    return folder


def test_from_a_run_to_the_tables(work, tmp_path):
    write_study(tmp_path)
    (tmp_path / kl.FILE).unlink()
    assert kl.collect(work, tmp_path) == ["dsrl-3e-5-0@10"]
    assert kl.collect(work, tmp_path) == []
    row = kl.read_csv(tmp_path / kl.FILE)[0]
    assert (row["model"], row["step"], row["seed"]) == ("dsrl-3e-5-0", "10", "0")
    assert float(row["kl_per_response"]) == float(row["alone_fall"]) == 0.0
    assert trace_mass.collect(work, tmp_path) == ["base@0", "dsrl-3e-5-0@10"]
    assert trace_mass.collect(work, tmp_path) == []
    table = pq.read_table(tmp_path / trace_mass.FILE)
    assert sum(table["stands_for"].to_pylist()) == 12
    assert table["base@0 given"].to_pylist() == table["dsrl-3e-5-0@10 given"].to_pylist()
    assert max(table["base@0 alone"].to_pylist()) < 0
    data = load_committed(load_study(tmp_path))
    assert "| dsrl@10 | 1 | correct |" in mass_table(data)
    assert recovery_table(data) == NOTHING  # no checkpoint at 40 yet


def test_every_analysis_is_collected_by_one_command(work, tmp_path):
    data = load_study(write_study(tmp_path))
    (data.folder / kl.FILE).unlink()
    lines = [line.removeprefix(f"{tmp_path}/") for line in collect_analyses(data, work)]
    assert lines == [
        "alignment.parquet: 0 base models added",
        "behavior.parquet: 1 runs added",
        "paths.parquet: 1 runs added",
        "kl.csv: 1 checkpoints added",
        "mass.parquet: 2 checkpoints added",
    ]
    (tmp_path / "nothing").mkdir()
    *_, last = collect_analyses(data, tmp_path / "nothing")
    assert last.endswith(f"log-probs wait for {tmp_path / 'nothing' / 'base@0-test'}")


def test_other_responses_are_not_mixed_in(work, tmp_path):
    trace_mass.collect(work, tmp_path)
    table = pq.read_table(tmp_path / trace_mass.FILE)
    pq.write_table(table.slice(1), tmp_path / trace_mass.FILE)
    with pytest.raises(UserError, match=r"mass.parquet is of other responses"):
        trace_mass.collect(work, tmp_path)


def test_without_the_bases_run_nothing_is_scored(tmp_path):
    with pytest.raises(UserError, match="measure the base first"):
        kl.collect(tmp_path, tmp_path)


def test_a_share_among_few_is_known_only_roughly():
    """Of 40 problems two have a marked response: a share over two problems, not over forty."""
    problem, correct, _ = drawn(problems=40)
    data = responses_of(problem, np.ones(len(correct), dtype=bool), np.ones(len(correct)))
    among = np.zeros((1, len(problem)))
    among[0, [0, 16]] = 1.0
    none, every = np.zeros(among.shape), np.ones(among.shape)
    assert share(data, "correct", none, among).value == 0.0
    assert share(data, "correct", none, among).high > 0.5
    assert share(data, "correct", every, among).low < 0.5
    assert share(data, "correct", none).high < 0.1
    assert np.isnan(share(data, "correct", every, none).value)
