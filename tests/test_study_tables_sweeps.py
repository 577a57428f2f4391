"""The study's tables over temperatures and over k, by hand, and the data behind their pictures."""

import pytest

from prerl_eval.comparison.curves import Crossover
from results.study.committed import load_committed
from results.study.contrasts import Contrast
from results.study.hard import crossing, hard_curve, hard_groups, hard_table, kinds_of_problems, shown_ks
from results.study.plan_file import load_study
from results.study.tables import PICTURES
from results.study.temperature import temperature_points, temperature_table, temperature_verdicts
from results.study.warmup import warmup_points
from tests.study_data import add_rows, write_study

KINDS = ["4 numbers, one solution", "5 numbers, one solution", "5 numbers, several"]


@pytest.fixture
def made(tmp_path):
    def make(rows):
        return load_committed(load_study(write_study(tmp_path, rows=rows)))

    return make


def test_temperatures_by_hand(made):
    """Base at 0.6: 8 and 32 of 32; at 1: 0 and 32 of 64. Trained at 1: 50 and 25%."""
    rows = add_rows("base", "", 0, 0, "t0.6", "countdown", 32, correct=[8, 32])
    rows += add_rows("base", "", 0, 0, "test", "countdown", 64, correct=[0, 32])
    rows += add_rows("grpo", "8e-4", 0, 40, "test", "countdown", 32, correct=[32, 0])
    rows += add_rows("grpo", "8e-4", 1, 40, "test", "countdown", 32, correct=[16, 0])
    rows += add_rows("grpo", "8e-4", 0, 40, "t1.4", "countdown", 32, correct=[0, 0])
    data = made(rows)
    points = temperature_points(data)["countdown"]
    assert [(t, round(x, 9), round(y, 5)) for t, x, y in points["base"]] == [(0.6, 62.5, 100), (1, 25, 50)]
    assert points["grpo"] == [(1.0, 37.5, 50.0), (1.4, 0.0, 0.0)]
    assert "| grpo | 1 | 2 | 37.5 ± 17.7 | 50.0 ± 0.0 |" in temperature_table(data)


def test_what_is_said_of_temperature():
    def row(name, t, holm):
        return [name, "1", t, Contrast(0.1, 0.05, 0.2, holm, few=False, holm=holm), ""]

    assert temperature_verdicts([row("grpo", "0.6", 0.01), row("grpo", "1", 0.01)]) == [
        "grpo at T = 1 has an Avg above the base's at every T tried."
    ]
    assert temperature_verdicts([row("grpo", "0.6", 0.2), row("grpo", "1", 0.01)]) == [
        "grpo at T = 1 is not told to have an Avg above the base's at T = 0.6."
    ]


def test_hard_problems_by_their_kind(made):
    """Forty of each; the first of 4 numbers is solved in half of 4 samples by one of two seeds."""
    kinds = list(kinds_of_problems().values())
    assert {kind: kinds.count(kind) for kind in sorted(kinds)} == dict.fromkeys(KINDS, 40)
    place = kinds.index(KINDS[0])
    solved = [2 if i == place else 0 for i in range(120)]
    rows = add_rows("grpo", "8e-4", 0, 40, "hard", "countdown-hard", 4, correct=solved)
    rows += add_rows("grpo", "8e-4", 1, 40, "hard", "countdown-hard", 4, correct=[0] * 120)
    data = made(rows)
    groups = hard_groups(data)
    assert list(groups) == ["all", *KINDS]
    # Pass@1 is 2 of 4, Pass@2 is 1 - C(2, 2) / C(4, 2) = 5/6; over 2 seeds and 40 problems.
    curve = hard_curve(groups[KINDS[0]]["grpo"])
    assert curve.value.tolist() == pytest.approx([1 / 160, 5 / 480, 1 / 80, 1 / 80])
    assert curve.uncertain.tolist() == [False, True, True, True]
    assert shown_ks(groups) == [1, 4]
    assert "| grpo | 2 | 0.6 (" in hard_table(data)
    assert not hard_curve(groups[KINDS[2]]["grpo"]).value.any()


def test_a_crossing_that_is_not_claimed_has_no_interval():
    assert crossing(Crossover(6, 4, 9, 0.001, True, "")) == "6 (4–9)"
    assert crossing(Crossover(6, None, None, 0.2, False, "")) == "at 6, not more than luck may do"
    assert crossing(Crossover(None, None, None, 0.9, False, "")) == "not seen"


def test_the_points_of_the_warm_up_picture(tmp_path):
    data = load_committed(load_study(write_study(tmp_path)))
    points = warmup_points(data)["countdown", 1]["40 updates after the warm-up"]
    assert [s for s, _ in points] == [0, 10, 20, 40]
    assert points[1][1] == pytest.approx(
        100 * (data.at("dsrl", 50, "countdown").counts.correct / 32).mean(axis=1)
    )


def test_a_picture_is_drawn_where_there_are_data(tmp_path):
    data = load_committed(load_study(write_study(tmp_path)))
    PICTURES["temperature.png"](data, tmp_path / "one.png")
    # Of GRPO and the warm-ups only GRPO was measured on the hard set: no comparison to draw.
    PICTURES["hard-warmups.png"](data, tmp_path / "none.png")
    assert [file.name for file in tmp_path.glob("*.png")] == ["one.png"]


def test_nothing_is_drawn_of_nothing(made, tmp_path):
    data = made(add_rows("base", "", 0, 0, "test", "countdown", 4))
    for name, draw in PICTURES.items():
        draw(data, tmp_path / name)
    assert not list(tmp_path.glob("*.png"))
