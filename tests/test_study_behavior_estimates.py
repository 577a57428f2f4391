"""Words through training: rates, ratios and intervals from rows by hand."""

import math

import pyarrow as pa
import pytest

from behavior.ratios import Ratio
from results.study import behavior_estimates as estimates
from results.study.behavior_course import KEYS, SCHEMA, SUMS
from results.study.behavior_page import course_points
from results.study.behavior_tables import course_table, ratio_table, rise_table, split_table, verdict

PER, PER_1K, ALIKE = estimates.WAYS


def row(arm, seed, step, group, *, correct=True, length=14, end="finished", **sums):
    """Sums of some responses; "wait" is a word of reflection."""
    counts = {"responses": 10, "tokens": 400, "n wait": 0} | sums
    counts["with wait"] = counts["with reflection"] = counts["with simplerl"] = min(counts["n wait"], 1)
    keys = (f"{arm}-8e-4-{seed}", "train", step, "countdown", group, length, end, correct)
    facts = {"arm": arm, "lr": "8e-4", "seed": str(seed), "start": "s"}
    return dict.fromkeys(SUMS, 0) | dict(zip(KEYS, keys, strict=True)) | facts | counts


def read(*rows):
    return estimates.read_course(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def words(count):
    return {"n wait": count}


# The base waits once in ten responses of 40 tokens; GRPO's seeds twice and three times in ten of 50.
ROWS = [
    *(row("grpo", seed, 0, group, **words(1)) for seed in (0, 1) for group in range(4)),
    *(row("grpo", 0, 10, group, tokens=500, **words(2)) for group in range(4)),
    *(row("grpo", 1, 10, group, tokens=500, **words(3)) for group in range(4)),
]


def test_ratios_of_seeds_by_hand():
    course = read(*ROWS)
    base = estimates.base_of(course, "s", "train", "countdown")
    arm = estimates.arms_of(course, "train", "countdown", "s")["grpo"]
    assert (arm.seeds, list(arm.at)) == (("0", "1"), [10])
    assert base.rate("reflection", PER).value == pytest.approx(0.1)
    assert base.rate("reflection", PER_1K).value == pytest.approx(2.5)
    found = estimates.changes(base, arm.at[10], ["reflection"])["reflection"]
    assert found[PER].ratio == pytest.approx(2.5)
    assert found[PER].seeds == pytest.approx((2.0, 3.0))
    assert found[PER_1K].ratio == pytest.approx(2.0)
    assert found[ALIKE].ratio == pytest.approx(2.5)


def test_like_length_takes_the_rise_that_length_alone_makes_away():
    """Short responses have 0.1 words, long ones 0.4, before and after; only their shares change."""
    course = read(
        row("grpo", 0, 0, 0, length=14, responses=30, **words(3)),
        row("grpo", 0, 0, 0, length=16, responses=10, **words(4)),
        row("grpo", 0, 10, 0, length=14, responses=10, **words(1)),
        row("grpo", 0, 10, 0, length=16, responses=30, **words(12)),
        row("grpo", 0, 10, 0, length=18, responses=10, end="clipped", **words(90)),
    )
    base = estimates.base_of(course, "s", "train", "countdown")
    (later,) = estimates.arms_of(course, "train", "countdown", "s")["grpo"].at[10]
    found = estimates.changes(base, [later], ["reflection"])["reflection"]
    assert found[PER].ratio == pytest.approx((103 / 50) / (7 / 40))
    assert found[ALIKE].ratio == pytest.approx(1.0)
    assert later.clipped == pytest.approx(0.2)


def test_the_base_is_counted_once_per_seed_as_grpo_drew_it():
    course = read(*ROWS, row("dapo", 0, 0, 0, responses=99), row("dapo", 2, 0, 0, responses=7))
    base = estimates.base_of(course, "s", "train", "countdown")
    assert base.table.total("responses") == 87  # 40 of seeds 0 and 1 each, 7 of seed 2


def test_the_rate_with_most_seeds_stands_for_an_arm():
    later = [row("grpo", 0, 20, 0), *(row("grpo", 5, 10, 0) | {"lr": lr} for lr in ("1e-4", "9e-4"))]
    arm = estimates.arms_of(read(*ROWS, *later), "train", "countdown", "s")["grpo"]
    assert (arm.lr, arm.seeds, arm.last) == ("8e-4", ("0", "1"), 20)
    assert {step: len(found) for step, found in arm.at.items()} == {10: 2, 20: 1}
    elsewhere = [one | {"start": "other"} for one in ROWS]
    assert estimates.arms_of(read(*elsewhere), "train", "countdown", "s") == {}


def test_of_two_evaluations_on_the_same_problems_the_larger_stands():
    small, large = (row("grpo", 0, 10, 0, responses=size) for size in (32, 64))
    found = read(small | {"measure": "test"}, large | {"measure": "test64"})
    ((key, responses),) = found.items()
    assert (key.measure, responses.table.total("responses")) == ("test", 64)


def test_correct_and_other_responses_apart():
    course = read(row("grpo", 0, 10, 0, **words(1)), row("grpo", 0, 10, 0, correct=False, responses=30))
    (found,) = course.values()
    assert found.accuracy == 0.25
    assert found.split(True).rate("reflection", PER).value == pytest.approx(0.1)
    assert found.split(False).rate("reflection", PER).value == 0.0


def test_without_spread_of_seeds_the_interval_is_the_one_over_problems():
    ratio = Ratio(0.2, 0.1, 2.0, 1.6, 2.5)
    found = estimates.with_seeds(ratio, [2.0, 2.0, 2.0], groups=20)
    assert (found.low, found.high) == pytest.approx((1.6, 2.5))
    one = estimates.with_seeds(ratio, [2.0], groups=20)
    assert (one.low, one.high) == (1.6, 2.5)


def test_without_spread_of_problems_the_interval_is_a_t_interval_of_seeds():
    """Log ratios 0 and 0.2: error 0.1, one degree of freedom, t = 12.706."""
    ratio = Ratio(1.0, 1.0, 1.0, 1 - 1e-9, 1 + 1e-9)
    found = estimates.with_seeds(ratio, [1.0, math.exp(0.2)], groups=20)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((-1.2706, 1.2706), abs=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "direction"),
    [(1.1, 2.0, 1), (0.5, 0.9, -1), (0.5, 1.1, 0), (None, None, 0), (2, None, 0)],
)
def test_a_direction_needs_both_ends_on_one_side(low, high, direction):
    assert estimates.Change(1.0, low, high, ()).direction == direction


def test_a_seed_without_a_word_leaves_no_interval():
    found = estimates.with_seeds(Ratio(0.1, 0.1, 1.0, 0.5, 2.0), [2.0, 0.0], groups=20)
    assert (found.ratio, found.low, found.high) == (1.0, None, None)


@pytest.mark.parametrize(
    ("signs", "word"),
    [
        ([[0, 1], [1, 1]], "at every end"),
        ([[1, 0], [-1, -1]], "somewhere"),
        ([[0, 1], [0, 0]], "somewhere"),
        ([[0, -1], [-1, -1]], "never, below at every end"),
        ([[0, -1], [0, 0]], "never"),
    ],
)
def test_verdicts(signs, word):
    assert verdict(signs) == word


def test_the_tables_by_hand():
    course = read(*ROWS, *(row("grpo", s, 10, 9, correct=False, tokens=500, **words(0)) for s in (0, 1)))
    base, grpo = course_table(course).splitlines()[2:]
    assert cells_of(base)[:7] == ["base, 80 responses", "", "", "0", "100.0", "40.0", "0.0"]
    assert cells_of(grpo)[:7] == ["grpo", "8e-4", "2", "10", "80.0 ± 0.0", "50.0 ± 0.0", "0.0 ± 0.0"]
    assert cells_of(grpo)[7:] == ["0.200 ± 0.057", "4.00 ± 1.13", "0.000 ± 0.000", "0.00 ± 0.00"]
    ratios = cells_of(ratio_table(course).splitlines()[3])
    assert [cell.split()[0] for cell in ratios[6:]] == ["×2.50", "×2.00", "×2.50", "–", "–", "–"]
    assert cells_of(rise_table(course).splitlines()[0])[1] == "grpo: 10 (2)"
    _, right, wrong_base, wrong = split_table(course).splitlines()[2:]
    assert cells_of(right)[:5] == ["grpo", "10", "correct", "50.0 ± 0.0", "0.250 ± 0.071"]
    assert cells_of(wrong_base)[:4] == ["base", "0", "not correct", "–"]
    assert cells_of(wrong)[4] == "–"


def test_the_picture_starts_at_the_base():
    points = course_points(read(*ROWS))
    assert points["reflection per response"]["grpo"] == [
        (0, pytest.approx(0.1), 0.0),
        (10, pytest.approx(0.25), pytest.approx(0.0707, abs=1e-4)),
    ]
    assert points["reflection, × base at like length"]["grpo"][0] == (0, pytest.approx(1.0), 0.0)
