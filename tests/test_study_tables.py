"""The study's tables: by hand where they can be, and the README is what the data say."""

from dataclasses import replace

import numpy as np
import pytest

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.curves import pass_difference
from prerl_eval.comparison.differences import mean_difference
from prerl_eval.errors import UserError
from results.study.budgets import equal_steps
from results.study.committed import load_committed, read_measured
from results.study.contrasts import Contrast, contrast, difference, levels, paired_difference, with_holm
from results.study.controls import warmup_kl
from results.study.forks import AFTER, HEAD, coverage_verdict
from results.study.main_table import main_table
from results.study.markdown import FEW, NOTHING, tables, written
from results.study.plan_file import load_study
from results.study.roles import controls, main_arms, of_base, other_bases, role, warmup_arms
from results.study.tables import TABLES, all_tables, with_tables
from results.study.warmup import optimum_weights, trend_weights
from tests.conftest import REPO
from tests.study_data import PLAN, add_rows, table_of, write_study

NANO = REPO / "results" / "nano"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load_study(write_study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def data(study):
    return load_committed(study)


def arm(name, correct, n=4):
    counts = np.array(correct)
    ids = tuple(f"{i}" for i in range(counts.shape[1]))
    return Arm(name, ids, counts, np.full(counts.shape, n))


# --- contrasts ----------------------------------------------------------------------------------


def test_a_contrast_of_two_is_what_compare_computes():
    rng = np.random.default_rng(0)
    one, other = arm("a", rng.integers(0, 33, (3, 20)), 32), arm("b", rng.integers(0, 33, (4, 20)), 32)
    avg, known = difference(one, other, 1), mean_difference(one, other)
    assert (avg.value, avg.low, avg.high, avg.p) == pytest.approx(
        (known.value, known.low, known.high, known.p)
    )
    curve, at_8 = pass_difference(one, other), difference(one, other, 8)
    expected = (curve.value[7], curve.point_low[7], curve.point_high[7])
    assert (at_8.value, at_8.low, at_8.high) == pytest.approx(expected)
    assert difference(one, other, 33) is None


def test_a_seed_is_compared_with_what_it_continues():
    """Every seed gains 4 of 32 on every problem: nothing but that is left, however the seeds differ."""
    start = np.array([0, 6, 12])[:, None] + np.arange(16)
    before, after = arm("a", start, 32), arm("b", start + 4, 32)
    paired, apart = paired_difference(before, after, 1), difference(before, after, 1)
    assert paired.value == pytest.approx(0.125)
    assert apart.value == pytest.approx(0.125)
    assert paired.p < 0.001
    assert apart.p > 0.1


def test_one_or_two_seeds_are_not_tested():
    two, three = np.full((2, 5), 0.5), np.full((3, 5), 0.25)
    few = contrast([three, two], [-1, 1])
    assert few.few
    assert np.isnan(few.p)
    assert not contrast([two[:1], three], [-1, 1], fixed=1).few  # the base is one model
    assert written(few).endswith(" †")
    # It is no test, so the other is one of one and not one of two.
    other = Contrast(0.1, 0.05, 0.15, 0.04, few=False)
    assert [one.holm for one in with_holm([few, other])][1] == 0.04
    made = tables(["a", "b"], {"": [[few, other]]})
    assert FEW in made
    assert "+10.0 (+5.0, +15.0), p 0.040" in made


def test_equal_scores_are_no_change():
    """0.1 + 0.2 - 0.3 is not 0 in binary, and five such problems would be a p-value of 1 in 16."""
    sides = [np.full((3, 5), value) for value in (0.1, 0.2, 0.3)]
    assert contrast(sides, [1, 1, -1]).p == 1.0


def test_a_level_has_an_interval_over_seeds():
    alike, apart = np.tile([0.2, 0.4, 0.6, 0.8], (3, 1)), np.full((3, 4), 0.5)
    apart[0], apart[2] = 0.1, 0.9
    assert [levels(alike)[0], levels(apart)[0]] == pytest.approx([0.5, 0.5])
    assert levels(apart)[1] < levels(alike)[1]


# --- which arm is what --------------------------------------------------------------------------


def test_each_arm_has_its_table(data):
    assert main_arms(data) == ["grpo", "dsrl", "dsrl-rl"]
    assert controls(data) == ["dsrl-rl", "swapped"]
    assert role(data, "grpo-long") == "long"
    assert warmup_arms(data) == {0: "grpo", 10: "dsrl", 20: "dsrl-s20", 40: "dsrl-s40"}
    assert other_bases(data) == ["norestate"]
    assert of_base(data, "norestate") == ["norestate-grpo", "norestate-dsrl"]


def test_equal_budgets(data):
    """Tokens of a seed s at a step: step x (9000 + s); 35 is as near to 40 as any but 40 itself."""
    assert equal_steps(data, "dsrl") == {"updates": 40, "RL updates": 50, "tokens": 40}
    late = data.tokens | {key: 10 * count for key, count in data.tokens.items() if key[0] == "grpo"}
    rich = replace(data, tokens=late)
    assert equal_steps(rich, "dsrl-rl")["tokens"] == 50
    assert equal_steps(data, "never-trained") == {}


def test_the_measurement_of_most_seeds_counts(data):
    rows = [row for seed in range(4) for row in add_rows("grpo", "8e-4", seed, 40, "test64", "countdown", 64)]
    more = data.measured | read_measured(table_of(rows))
    found = replace(data, measured=more)
    assert data.at("grpo", 40, "countdown").counts.n == 32
    assert found.at("grpo", 40, "countdown").seeds == (0, 1, 2, 3)
    assert found.at("grpo", 40, "countdown-ood").seeds == (0, 1, 2)


def test_seeds_of_different_problems_are_refused():
    rows = add_rows("grpo", "8e-4", 0, 40, "test", "countdown", 4, problems=2)
    rows += add_rows("grpo", "8e-4", 1, 40, "test", "countdown", 4, problems=3)
    with pytest.raises(UserError, match="the seeds of grpo at step 40 have different problems of countdown"):
        read_measured(table_of(rows))


# --- tables -------------------------------------------------------------------------------------


def test_the_main_table_by_hand(study, tmp_path):
    """Two problems x 64 samples; Avg of the seeds 25 and 50: mean 37.5, sd 17.7.

    Pass@32 of 32 correct in 64 is 1 - C(32, 32) / C(64, 32), which prints as 100.
    """
    rows = add_rows("base", "", 0, 0, "test", "countdown", 64, correct=[0, 64], finished=[64, 32])
    rows += add_rows("grpo", "4e-4", 0, 40, "test", "countdown", 64, correct=[0, 32])
    rows += add_rows("grpo", "4e-4", 1, 40, "test", "countdown", 64, correct=[0, 64])
    write_study(tmp_path, rows=rows)
    (tmp_path / "runs.csv").write_text(
        "arm,lr,seed,step,tokens\ngrpo,4e-4,0,40,1000000\ngrpo,4e-4,1,40,2000000\n"
    )
    made = main_table(load_committed(load_study(tmp_path))).splitlines()
    assert made[0] == "**countdown**"
    assert made[4].startswith("| base | – | – | 64 | 50.0 (")
    assert made[4].endswith(" | 75.0 | – |")
    spreads = "37.5 ± 17.7 | 49.9 ± 0.1 | 50.0 ± 0.0 | 50.0 ± 0.0"
    assert made[5] == f"| grpo | 4e-4 | 2 | 64 | {spreads} | – | 1.50M |"
    assert len(made) == 6  # nothing of the other set


def test_a_figure_of_some_seeds_says_how_many(tmp_path):
    """A third seed with 32 samples, all right and ended: no Pass@64, and only its ends are known."""
    rows = add_rows("base", "", 0, 0, "test", "countdown", 64, correct=[0, 64])
    rows += add_rows("grpo", "4e-4", 0, 40, "test", "countdown", 64, correct=[0, 64])
    rows += add_rows("grpo", "4e-4", 1, 40, "test", "countdown", 64, correct=[0, 64])
    rows += add_rows("grpo", "4e-4", 2, 40, "test", "countdown", 32, correct=[32, 32], finished=[32, 16])
    write_study(tmp_path, rows=rows)
    made = main_table(load_committed(load_study(tmp_path))).splitlines()
    spreads = "66.7 ± 28.9 | 66.7 ± 28.9 | 66.7 ± 28.9 | 50.0 ± 0.0 (2) | 75.0 (1)"
    assert made[5].startswith(f"| grpo | 4e-4 | 3 | 32 | {spreads} |")


def test_kl_moved_in_the_warm_up(data):
    """kl.csv has 0.5 and 0.7 nats of dsrl after 10 updates: mean 0.60, sd 0.14."""
    assert warmup_kl(data, "dsrl") == "0.6 ± 0.14"
    assert warmup_kl(data, "swapped") == "–"


def test_the_trend_is_a_slope_and_the_optimum_a_contrast():
    lengths = [0, 10, 20, 40]
    weights, scale = trend_weights(lengths)
    means = 0.1 + 0.002 * np.array(lengths)
    assert scale * (weights @ means) == pytest.approx(0.02)  # per ten updates
    assert np.maximum(weights, 0).sum() == pytest.approx(1.0)
    assert optimum_weights(lengths).tolist() == [-0.5, 0.5, 0.5, -0.5]
    assert np.isnan(optimum_weights([0, 5, 40])).all()


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({10: "grpo prerl", 20: "prerl", 40: "prerl"}, "from t = 20 on by prerl alone."),
        ({10: "prerl", 20: "prerl grpo", 40: "grpo"}, "from t = 40 on by grpo alone."),
        ({10: "prerl", 20: ""}, "there is no t from which on one continuation alone adds it."),
        ({10: "", 20: ""}, "no continuation is found to add coverage at any of t = 10, 20."),
    ],
)
def test_who_adds_coverage(gains, said):
    def row(t, name, gained):
        cell = Contrast(0.1, 0.05, 0.2, 0.01, few=False, holm=0.01 if gained else 0.5)
        return [f"{t}", name, *[cell if place == AFTER else "" for place in range(2, len(HEAD))]]

    rows = [row(t, name, name in names) for t, names in gains.items() for name in ("grpo", "prerl")]
    assert coverage_verdict(rows).endswith(said)


def test_every_table_is_made_of_full_data_and_of_none(study, tmp_path):
    full = all_tables(study)
    assert not [name for name, made in full.items() if made == NOTHING]
    (tmp_path / "study.toml").write_text(PLAN)
    assert set(all_tables(load_study(tmp_path)).values()) == {NOTHING}


def test_a_readme_without_a_place_for_the_table_is_named():
    text = "<!-- table main -->\nold\n<!-- end -->\nafter\n<!-- table looks -->\n<!-- end -->\n"
    made = with_tables(text, {"main": "new", "looks": "| 2 |"})
    assert (
        made == "<!-- table main -->\nnew\n<!-- end -->\nafter\n<!-- table looks -->\n| 2 |\n<!-- end -->\n"
    )
    with pytest.raises(UserError, match="no place for table other"):
        with_tables(text, {"other": "x"})


def test_the_readme_is_what_the_data_say():
    made = all_tables(load_study(NANO))
    readme = (NANO / "README.md").read_text(encoding="utf-8")
    assert list(made) == list(TABLES)
    assert with_tables(readme, made) == readme


def test_each_seed_is_taken_from_its_largest_measurement(tmp_path):
    """Seeds 0 and 1 with 64 samples, seeds 0 and 2 with 32: three seeds, of 64, 64 and 32."""
    rows = [
        *add_rows("grpo", "8e-4", 0, 40, "test64", "countdown", 64, correct=[64, 0]),
        *add_rows("grpo", "8e-4", 1, 40, "test64", "countdown", 64, correct=[32, 0]),
        *add_rows("grpo", "8e-4", 0, 40, "test", "countdown", 32, correct=[1, 1]),
        *add_rows("grpo", "8e-4", 2, 40, "test", "countdown", 32, correct=[0, 32]),
    ]
    found = load_committed(load_study(write_study(tmp_path, rows))).at("grpo", 40, "countdown")
    assert found.seeds == (0, 1, 2)
    assert found.counts.samples.tolist() == [[64, 64], [64, 64], [32, 32]]
    assert found.counts.correct.tolist() == [[64, 0], [32, 0], [0, 32]]
