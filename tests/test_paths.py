"""Moved mass: hand-computed figures, short simulations, and reports on runs that were really scored."""

import json
import math
import shutil

import numpy as np
import pytest

from prerl_eval import annotations, store
from prerl_eval.annotations import Annotation, write_about, write_annotations
from prerl_eval.comparison.compare import Options, compare, draw_comparison
from prerl_eval.comparison.mass import Traces, path_mass
from prerl_eval.comparison.paths import path_report, scored_under
from prerl_eval.comparison.paths_render import render_paths
from prerl_eval.errors import UserError
from prerl_eval.plan import RunOptions
from prerl_eval.run import evaluate
from prerl_eval.run_record import read_record, write_record
from prerl_eval.scoring.plan import ScoreOptions
from prerl_eval.scoring.score import ALONE, GIVEN_PROMPT, score
from tests.path_mass_coverage import Training, coverage
from tests.runs import sample, write_run

LOG2 = math.log(2)


def traces(problem, correct, given, alone=None):
    given = np.asarray(given, dtype=float)
    return Traces(
        np.asarray(problem),
        np.asarray(correct, dtype=bool),
        given,
        given if alone is None else np.asarray(alone),
    )


# --- Figures by hand -----------------------------------------------------------------------------


@pytest.fixture
def small():
    """Two problems of two samples; correct, wrong | correct, correct."""
    return traces([0, 0, 1, 1], [1, 0, 1, 1], [LOG2, -3.0, 0.0, LOG2], [1.0, -1.0, -4.0, 0.0])


def test_changes_are_means_over_the_responses_of_a_kind(small):
    found = path_mass(small)
    correct, wrong = found.given_prompt["correct"], found.given_prompt["wrong"]
    assert correct.change == pytest.approx(2 * LOG2 / 3)
    assert (correct.responses, wrong.responses) == (3, 1)
    assert wrong.change == pytest.approx(-3.0)
    assert found.alone["correct"].change == pytest.approx(-1.0)


def test_the_interval_is_that_of_a_ratio_over_problems(small):
    # Problem sums log 2 / 2 each, shares 1/2 and 1: influences (log 2 / 2 - R share) / 0.75.
    ratio = 2 * LOG2 / 3
    z = [(LOG2 / 2 - ratio / 2) / 0.75, (LOG2 / 2 - ratio) / 0.75]
    reach = 12.706204736 * np.std(z, ddof=1) / math.sqrt(2)
    found = path_mass(small).given_prompt["correct"]
    assert (found.low, found.high) == pytest.approx((ratio - reach, ratio + reach))


def test_pruned_is_what_became_so_many_times_less_likely(small):
    found = path_mass(small)
    assert found.given_prompt["wrong"].pruned.value == 1.0
    assert found.given_prompt["correct"].pruned.value == 0.0
    assert found.alone["correct"].pruned.value == pytest.approx(1 / 3)
    assert path_mass(small, pruned=5.0).given_prompt["wrong"].pruned.value == 0.0
    assert found.spared.value == -1.0


def test_masses_are_importance_weighted(small):
    # Weights 2, e^-3, 1, 2; of them on correct responses all but e^-3.
    found = path_mass(small)
    assert found.mass["correct"].base == pytest.approx(0.75)
    assert found.mass["correct"].trained == pytest.approx(5 / 4)
    assert found.mass["correct"].ratio == pytest.approx(5 / 3)
    assert found.mass["wrong"].ratio == pytest.approx(math.exp(-3))
    whole = 5 + math.exp(-3)
    assert found.weights.seen == pytest.approx(whole / 4)
    assert found.weights.responses == pytest.approx(whole**2 / (9 + math.exp(-6)))
    assert found.weights.problems == pytest.approx(whole**2 / ((2 + math.exp(-3)) ** 2 + 9))
    assert found.weights.thin


def test_the_ratios_interval_is_that_of_its_logarithm(small):
    # Correct mass 1, 1.5 trained and 0.5, 1 before, of two problems: t(1 degree of freedom) = 12.706.
    z = [1 / 1.25 - 0.5 / 0.75, 1.5 / 1.25 - 1 / 0.75]
    reach = 12.706204736 * np.std(z, ddof=1) / math.sqrt(2)
    found = path_mass(small).mass["correct"]
    assert (found.low, found.high) == pytest.approx((5 / 3 * math.exp(-reach), 5 / 3 * math.exp(reach)))


def test_mass_that_the_samples_do_not_show_is_said_to_be_missing():
    source = np.random.default_rng(0)
    problem = np.repeat(np.arange(30), 8)
    shrunk = path_mass(traces(problem, source.random(240) < 0.4, source.normal(-1.0, 0.1, 240)))
    assert shrunk.weights.seen == pytest.approx(math.exp(-1), abs=0.01)
    assert shrunk.weights.partial
    assert not shrunk.weights.thin


def test_without_plain_samples_there_are_no_masses(small):
    found = path_mass(small, plain_samples=False)
    assert found.mass is None
    assert found.weights is None
    assert found.given_prompt == path_mass(small).given_prompt


def test_an_unchanged_model_moves_nothing():
    source = np.random.default_rng(0)
    problem = np.repeat(np.arange(20), 16)
    found = path_mass(traces(problem, source.random(320) < 0.4, np.zeros(320)))
    assert all(moved.change == 0 == moved.pruned.value for moved in found.given_prompt.values())
    assert all(mass.ratio == pytest.approx(1.0) for mass in found.mass.values())
    assert found.weights.problems == pytest.approx(20)
    assert (found.weights.seen, found.weights.partial, found.weights.thin) == (1.0, False, False)


def test_rare_responses_are_those_of_problems_that_are_seldom_solved():
    # Problem 0 is solved once in 200 samples, problem 1 in half of 200: one is surely rare, one surely not.
    correct = np.concatenate([np.arange(200) == 0, np.arange(200) < 100])
    change = np.where(np.arange(400) == 0, -7.0, 1.0)
    found = path_mass(traces(np.repeat([0, 1], 200), correct, change)).given_prompt["rare"]
    assert found.responses == pytest.approx(1.0, abs=0.01)
    assert found.change == pytest.approx(-7.0, abs=0.1)
    assert found.pruned.value == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("correct", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_a_kind_that_is_not_there_has_no_figures(correct):
    found = path_mass(traces([0, 0, 1, 1], correct, [0.5, 0.0, 0.1, -9.0]))
    missing, present = ("wrong", "correct") if correct[0] else ("correct", "wrong")
    assert math.isnan(found.given_prompt[missing].change)
    assert math.isnan(found.mass[missing].ratio)
    assert math.isnan(found.spared.p)
    assert found.given_prompt[present].change == pytest.approx(-2.1)
    assert found.mass[present].ratio == pytest.approx(found.weights.seen)


def test_one_problem_has_figures_without_intervals():
    found = path_mass(traces([0, 0], [1, 0], [1.0, -1.0]))
    assert found.given_prompt["correct"].change == 1.0
    assert math.isnan(found.given_prompt["correct"].low)
    assert math.isnan(found.mass["correct"].low)


def test_very_large_changes_do_not_overflow():
    found = path_mass(traces([0, 0, 1, 1], [1, 0, 1, 0], [2000.0, 0.0, -2000.0, 0.0]))
    assert found.mass["correct"].trained == math.inf
    assert found.weights.thin


def test_intervals_cover_the_population():
    # 2,000 runs each: python -m tests.path_mass_coverage; figures in docs/score.md.
    found = coverage(Training(1.0, 1.0), problems=60, n=32, runs=150)
    assert all(
        found[f"{what} {kind}"] > 0.88
        for what in ("change", "pruned", "mass")
        for kind in ("correct", "wrong")
    )


# --- Reports -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def really_scored(tiny_model, other_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paths") / "base"
    options = {"n": 4, "limit": 5, "max_tokens": 16, "batch_size": 8, "engine": "transformers"}
    evaluate(RunOptions(ckpt=[str(tiny_model)], bench=["countdown"], out=folder, **options))
    score(ScoreOptions(folder, [str(tiny_model), str(other_model)]))
    return folder


@pytest.fixture
def base(really_scored, tmp_path):
    return shutil.copytree(really_scored, tmp_path / "base")


def test_a_report_finds_the_bases_own_scores_and_compares_all_others(base):
    report = path_report(base)
    assert report["base"] == "logp-tiny-a"
    (entry,) = report["paths"]
    assert (entry["benchmark"], entry["checkpoint"], entry["responses"]) == ("countdown", "tiny-b", 20)
    values = {}
    for name in ("logp-tiny-a", "logp-tiny-b"):
        table = annotations.read_annotations(base, name).to_pylist()
        values[name] = np.mean([row["value"] for row in table if row["label"] == ALONE])
    assert entry["alone"]["wrong"]["change"] == pytest.approx(values["logp-tiny-b"] - values["logp-tiny-a"])
    assert json.loads(json.dumps(report)) == report
    text = render_paths(report)
    assert max(map(len, text)) <= 100
    assert any("tiny-b" in line and "correct" in line for line in text)


def test_a_checkpoint_may_be_named_with_and_without_its_prefix(base):
    assert path_report(base, ["tiny-b"]) == path_report(base, ["logp-tiny-b"]) == path_report(base)
    unchanged = path_report(base, ["tiny-a"])["paths"][0]
    assert unchanged["given_prompt"]["wrong"]["change"] == 0
    assert unchanged["mass"]["wrong"]["ratio"] == 1


def test_the_annotation_of_a_checkpoint_is_found_by_its_weights(base):
    about = annotations.read_about(base, "logp-tiny-b")
    assert scored_under(base, about["settings"]["checkpoint"]) == "logp-tiny-b"
    assert scored_under(base, "another") is None


def settings_changed(run, **changes):
    record = read_record(run)
    write_record(run, {**record, "settings": record["settings"] | changes})


def test_samples_of_another_distribution_have_no_masses(base):
    settings_changed(base, temperature=0.6)
    report = path_report(base)
    assert report["paths"][0]["mass"] is None
    assert report["notes"][0] == "no masses: responses are no plain samples of the base (temperature 0.6)"
    assert "–" in "\n".join(render_paths(report))


def test_responses_that_are_not_scored_are_counted(base):
    store.write_part(base, store.rows_to_table([sample("9", 0, "wrong", benchmark="countdown")]))
    report = path_report(base)
    assert report["paths"][0]["responses"] == 20
    assert report["notes"][0].startswith("1 responses to countdown are not scored")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda run: shutil.rmtree(run / "annotations"),
            "is not scored under .*tiny-a; run `prerl-eval score",
        ),
        (
            lambda run: shutil.rmtree(run / "annotations" / "logp-tiny-b"),
            "is scored under no trained checkpoint",
        ),
        (lambda run: respelled(run, start_token=7), r"different settings \(start_token: 1 and 7\)"),
        (
            lambda run: store.write_part(
                run, store.rows_to_table([sample("9", 0, "wrong", benchmark="countdown", step=3)])
            ),
            "holds several steps; choose one with --step",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(base, spoil, message):
    spoil(base)
    with pytest.raises(UserError, match=message):
        path_report(base)


def respelled(run, **changes):
    about = annotations.read_about(run, "logp-tiny-b")
    write_about(run, "logp-tiny-b", {**about, "settings": about["settings"] | changes})


def test_an_unknown_benchmark_or_checkpoint_is_refused(base):
    with pytest.raises(UserError, match="holds no scored samples of aime24"):
        path_report(base, benchmarks=["aime24"])
    with pytest.raises(UserError, match="has no annotation logp-x; it has: logp-tiny-a, logp-tiny-b"):
        path_report(base, ["x"])


def annotate(run, name, rows, change):
    """A scoring of `rows` by hand; `change` takes a row."""
    settings = {"checkpoint": name, "start_token": 1, "retokenize": False, "prompts": "stored"}
    write_about(run, f"logp-{name}", {"settings": settings, "dtype": "float32", "sessions": []})
    statements = [
        Annotation("aime24", row.problem_id, row.sample_index, 0, label, value=-9.0 + change(row))
        for row in rows
        for label in (GIVEN_PROMPT, ALONE)
    ]
    write_annotations(run, f"logp-{name}", statements)


def test_unscored_rows_are_left_out_and_thin_masses_marked(tmp_path):
    settings = {"checkpoint": "base", "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    rows = [
        sample(str(problem), index, ("correct", "wrong", "unscored")[index])
        for problem in range(12)
        for index in range(3)
    ]
    run = write_run(tmp_path / "run", rows, settings=settings)
    annotate(run, "base", rows, lambda row: 0.0)
    annotate(run, "heavy", rows, lambda row: 30.0 if row.problem_id == "0" else 0.0)
    annotate(run, "even", rows, lambda row: 50.0 * (row.status == "unscored"))
    annotate(run, "partial", rows, lambda row: -1.0 - 0.01 * int(row.problem_id))
    heavy, even = path_report(run, ["heavy", "even"])["paths"]
    assert (heavy["responses"], heavy["weights"]["problems"]) == (24, pytest.approx(1.0))
    assert even["mass"]["correct"]["ratio"] == pytest.approx(1.0)
    text = " ".join(" ".join(render_paths(path_report(run, ["heavy"]))).split())
    assert "would rest on few of its problems (effectively 1.0 of 12): not told" in text
    assert "≥" not in text.partition("change: mean")[0]
    (row,) = (line for line in render_paths(path_report(run, ["heavy"])) if " wrong   " in line)
    assert row.endswith("–")
    (row,) = (line for line in render_paths(path_report(run, ["even"])) if " wrong   " in line)
    assert not row.endswith("–")
    text = " ".join(" ".join(render_paths(path_report(run, ["partial"]))).split())
    assert "65.2% of the mass of partial on aime24 is on responses unlike the base's samples" in text
    assert "≥0.35 (" in text


def test_compare_adds_the_paths_or_names_the_command_that_is_missing(base, tiny_model, other_model, tmp_path):
    def other_run(model):
        options = {"n": 4, "limit": 5, "max_tokens": 16, "batch_size": 8, "engine": "transformers"}
        return evaluate(
            RunOptions(ckpt=[str(model)], bench=["countdown"], out=tmp_path / "other", **options)
        )[0]

    trained = other_run(other_model)
    facts = compare(Options(str(base), [str(trained)], paths=True))
    assert facts["paths"] == path_report(base)
    assert set(render_paths(facts["paths"])) <= set(draw_comparison(facts)) | {""}
    second = shutil.copytree(base, tmp_path / "second")
    settings_changed(second, checkpoint="another seed")
    told = compare(Options(f"b={base},{second}", [str(trained)], paths=True))["paths"]["notes"]
    assert told[-1] == f"paths are of {base} alone, the first run of b"
    shutil.rmtree(base / "annotations" / "logp-tiny-b")
    with pytest.raises(
        UserError, match=r"is not scored under .*tiny-b; run `prerl-eval score .* --ckpt .*tiny-b`"
    ):
        compare(Options(str(base), [str(trained)], paths=True))
