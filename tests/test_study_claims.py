"""The claims: verdicts by the rule, figures by hand, and the two READMEs that hold them."""

import pytest

from results.study.claims import CLAIMS, claims_table, verdict, verdicts_table
from results.study.committed import load_committed
from results.study.overview import overview_tables
from results.study.plan_file import load_study
from results.study.tables import with_tables
from tests.conftest import REPO

NANO = REPO / "results" / "nano"


@pytest.fixture(scope="module")
def data():
    return load_committed(load_study(NANO))


@pytest.mark.parametrize(
    ("signs", "word"),
    [
        ([1, 1], "holds"),
        ([1, 0], "holds partly"),
        ([1, -1], "holds partly"),
        ([0, -1], "does not hold here"),
        ([-1], "does not hold here"),
        ([0, 0], "not shown"),
        ([], "not measured yet"),
    ],
)
def test_a_verdict_is_a_matter_of_signs(signs, word):
    assert verdict(signs, len(signs)) == word


def test_a_claim_measured_in_part_says_so():
    assert verdict([1], 3) == "1 of 3 parts measured, on the claim's side"
    assert verdict([-1, 0], 3) == "2 of 3 parts measured, not on the claim's side"


def test_no_claim_has_more_parts_than_it_says(data):
    assert [claim.claim for claim in CLAIMS if len(list(claim.parts(data))) > claim.of] == []


def test_both_readmes_say_what_the_data_say(data):
    for file, tables in overview_tables(data).items():
        text = file.read_text(encoding="utf-8")
        assert with_tables(text, tables) == text, f"run python -m results.study --tables: {file}"


def test_every_claim_has_a_row_and_every_link_a_target(data):
    rows = claims_table(data).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows[: len(CLAIMS)]] == [claim.claim for claim in CLAIMS]
    for claim in CLAIMS:
        file, _, anchor = claim.where.split("(")[1].rstrip(")").partition("#")
        text = (REPO / "results" / file).read_text(encoding="utf-8")
        titles = {
            line.lstrip("# ").lower().replace(",", "").replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("#")
        }
        assert not anchor or anchor in titles, claim.where


def test_a_figure_without_an_interval_is_no_figure(data):
    """Every part that is printed has two ends in brackets."""
    for row in claims_table(data).splitlines()[2 : 2 + len(CLAIMS)]:
        figures = row.split(" | ")[2]
        for figure in figures.split("; ") if figures != "–" else ():
            assert "(" in figure, figure


def test_the_short_table_has_the_verdicts_of_the_long_one(data):
    words = [row.split("**")[1] for row in claims_table(data).splitlines()[2:]]
    shown = [word for claim, word in zip(CLAIMS, words, strict=False) if claim.short]
    assert [
        row.split(" | ")[1].rstrip(" |") for row in verdicts_table(data).splitlines()[2 : 2 + len(shown)]
    ] == shown
