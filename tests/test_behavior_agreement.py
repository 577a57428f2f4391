"""Kappa, Fleiss' kappa and corrected prevalence against worked examples; intervals against simulation."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.agreement import (
    FEW_POSITIVES,
    cohen,
    compare,
    correct_prevalence,
    fleiss,
    rogan_gladen,
    share,
)
from tests.agreement_coverage import POPULATIONS, STATISTICS, coverage
from tests.conftest import REPO
from tests.lexicon_agreement import TRACES
from tests.lexicon_agreement import table as lexicon_table

CASES = json.loads((REPO / "tests/cases/behavior_agreement.json").read_text())


def items_of(table):
    """Judgements a, b that make a table, each item a problem of its own."""
    both, only_a, only_b, neither = table
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b, list(range(len(a)))


def near(wanted):
    return None if wanted is None else pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("case", CASES["cohen"], ids=lambda case: str(case["table"]))
def test_cohen_of_worked_examples(case):
    pair = compare(*items_of(case["table"]))
    assert [pair.both, pair.only_a, pair.only_b, pair.neither] == case["table"]
    assert pair.kappa.value == near(case["kappa"])
    assert pair.agreement.value == near(case["agreement"])
    for name in {"positive", "negative"} & case.keys():
        assert getattr(pair, name).value == near(case[name])
    # Which judge is called a does not matter.
    both, only_a, only_b, neither = case["table"]
    assert compare(*items_of([both, only_b, only_a, neither])).kappa.value == near(case["kappa"])


@pytest.mark.parametrize("case", CASES["fleiss"], ids=lambda case: case["source"][:30])
def test_fleiss_of_worked_examples(case):
    found = fleiss(case["ratings"], list(range(len(case["ratings"]))))
    assert found.value == near(case["kappa"])


def test_fleiss_refuses_unequal_numbers_of_judges():
    with pytest.raises(ValueError, match="same number of judges"):
        fleiss([[2, 1], [1, 1]], [0, 1])
    with pytest.raises(ValueError, match="two or more"):
        fleiss([[1, 0]], [0])


@pytest.mark.parametrize("case", CASES["rogan_gladen"], ids=lambda case: case["source"][:30])
def test_corrected_prevalence_of_worked_examples(case):
    found = rogan_gladen(*(tuple(case[name]) for name in ("apparent", "sensitivity", "specificity")))
    assert found.value == near(case["prevalence"])
    if "interval" in case:
        assert [found.low, found.high] == [near(edge) for edge in case["interval"]]


@pytest.mark.parametrize("case", CASES["simplerl"]["labels"], ids=lambda case: case["label"])
def test_published_kappas_belong_to_some_table(case):
    """Raw agreement alone does not give kappa; but a table of 105 items with both figures must exist."""
    items, apart = CASES["simplerl"]["items"], case["disagreements"]
    assert round(100 * (items - apart) / items, 1) == case["agreement"]
    tables = [
        [both, one, apart - one, items - apart - both]
        for one in range(apart + 1)
        for both in range(items - apart + 1)
    ]
    kappas = [cohen([table]).value for table in tables]
    assert any(kappa is not None and round(kappa, 2) == case["kappa"] for kappa in kappas)


def test_correct_prevalence_counts_errors_where_the_truth_is_known():
    # Truth: 4 yes (judge sees 3), 6 no (judge sees 5 of them as no); 20 judged, 8 marked.
    truth = [True] * 4 + [False] * 6
    judge = [True, True, True, False] + [False] * 5 + [True]
    judged = judge + [True] * 4 + [False] * 6
    found = correct_prevalence(judged, list(range(20)), truth, judge, list(range(10)))
    assert found.apparent.value == near(8 / 20)
    assert found.sensitivity.value == near(3 / 4)
    assert found.specificity.value == near(5 / 6)
    assert found.prevalence.value == near((8 / 20 + 5 / 6 - 1) / (3 / 4 + 5 / 6 - 1))
    no_positives = correct_prevalence(judged, list(range(20)), [False] * 10, judge, list(range(10)))
    assert no_positives.sensitivity.value is None
    assert no_positives.prevalence.value is None


def test_problems_not_items_carry_the_uncertainty():
    """Ten copies of every item in its problem tell next to nothing new."""
    a, b, ids = items_of([12, 5, 3, 20])
    once, tenfold = compare(a, b, ids), compare(a * 10, b * 10, ids * 10)
    assert tenfold.items == 10 * once.items
    assert tenfold.problems == once.problems == 40
    for name in ("kappa", "agreement", "positive", "negative", "prevalence_a"):
        one, ten = getattr(once, name), getattr(tenfold, name)
        assert ten.value == near(one.value)
        assert [ten.low, ten.high] == pytest.approx([one.low, one.high], abs=0.01)
    apart = compare(a * 10, b * 10, range(400)).kappa
    assert tenfold.kappa.high - tenfold.kappa.low > 2.5 * (apart.high - apart.low)


def test_full_agreement_keeps_a_width():
    a, b, ids = items_of([10, 0, 0, 30])
    kappa = compare(a, b, ids).kappa
    assert kappa.value == kappa.high == 1.0
    assert kappa.low < 0.8


def test_few_marked_items_are_flagged():
    assert compare(*items_of([FEW_POSITIVES - 1, 0, 3, 50])).few
    assert not compare(*items_of([FEW_POSITIVES, 0, 3, 50])).few


def test_problems_without_a_total_stand_outside_a_share():
    assert share([1, 0, 0], [2, 2, 0]) == share([1, 0], [2, 2])
    assert share([0, 0], [0, 0]).value is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_intervals_hold_their_estimate_and_stay_in_range(items):
    pair = compare(*map(list, zip(*items, strict=True)))
    for name, floor in (("kappa", -1), ("agreement", 0), ("positive", 0), ("negative", 0)):
        found = getattr(pair, name)
        if found.value is not None:
            assert floor <= found.low <= found.value + 1e-9
            assert found.value - 1e-9 <= found.high <= 1
            assert not math.isnan(found.low + found.high)


COVERED = [name for name in STATISTICS if "ignored" not in name]


@pytest.mark.parametrize("statistic", COVERED)
def test_intervals_hold_the_truth_in_clustered_data(statistic):
    """The short form of `python -m tests.agreement_coverage`."""
    _, held, width, _ = coverage(statistic, POPULATIONS["half marked"], 60, 6, 300, seed=4)
    assert held >= 0.93
    assert width < 0.4


def test_intervals_that_ignore_problems_would_undercover():
    """That the simulation can fail: each item taken for a problem of its own."""
    assert coverage("kappa, problems ignored", POPULATIONS["half marked"], 60, 6, 150, seed=4)[1] < 0.9


def test_the_documented_lexicon_figures_are_those_of_the_data(outputs):
    documented = (REPO / "docs/agreement.md").read_text()
    lines = list(lexicon_table(outputs / TRACES))
    assert lines[0] == "5,814 sentences placed, 0 not found in their trace; 40 traces of 10 problems"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) > 8
    assert [line for line in rows if line not in documented] == []
