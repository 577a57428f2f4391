"""Alignment of base models: intervals of rank correlations, and from folders to tables and a picture."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from prerl_train.alignment.files import TOKEN_COLUMNS
from results.study import alignment
from results.study.alignment_tables import (
    alignment_picture,
    alignment_table,
    bins_table,
    predictors_table,
    spearman,
)
from results.study.committed import load_committed
from results.study.expansion_page import pages, write_pages
from results.study.markdown import NOTHING
from results.study.plan_file import load_study
from tests.conftest import REPO
from tests.study_data import write_study

NANO = REPO / "results" / "nano"

RNG = np.random.default_rng(0)


def measured(folder, complete=True):
    """A folder as `prerl-train align` leaves it: four responses, half of one's tokens repeat the problem."""
    folder.mkdir()
    row = {
        "sample_index": 0, "status": "correct", "tokens": 10, "restated": 5, "cosine": 0.5, "inner": 2.0,
        "norm_y": 2.0, "norm_yx": 2.0, "mispaired_inner": 1.0, "mispaired_cosine": 0.25, "step": 0.1,
        "predicted": 0.1, "realised": 0.1, "logp_y": -9.0, "logp_yx": -6.0, "token_gap": 0.3, "seconds": 1.0,
    }  # fmt: skip
    rows = [{**row, "problem_id": f"p{number}"} for number in range(4)]
    (folder / "alignment.json").write_text(json.dumps({"complete": complete, "responses": rows}))
    columns = {
        "problem_id": [f"p{number}" for number in range(4) for _ in range(10)],
        "sample_index": [0] * 40,
        "position": list(range(10)) * 4,
        "relative_position": [(place + 0.5) / 10 for place in range(10)] * 4,
        "is_restating": ([True] * 5 + [False] * 5) * 4,
        "token_id": [1] * 40,
        "p_y": RNG.random(40),
        "p_yx": RNG.random(40),
        "entropy_y": RNG.random(40),
        "entropy_yx": RNG.random(40),
        "inner": [1.0] * 40,
        "norm_y": [1.0] * 40,
        "norm_yx": [1.0] * 40,
        "cosine": [0.25] * 5 + [0.75] * 5 + list(RNG.random(30)),
    }
    arrays = [pa.array(columns[name], kind) for name, kind in TOKEN_COLUMNS.items()]
    pq.write_table(pa.table(arrays, names=list(TOKEN_COLUMNS)), folder / "tokens.parquet")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    into = write_study(tmp_path_factory.mktemp("study"))
    measured(work / "align-norestate")
    measured(work / "align-base")
    measured(work / "align-unfinished", complete=False)
    assert alignment.collect(work, into) == ["base", "norestate"]
    assert alignment.collect(work, into) == []
    return load_committed(load_study(into))


def test_the_tables_have_a_row_or_column_per_base_the_shipped_one_first(data):
    lines = alignment_table(data).splitlines()
    assert lines[2].startswith(
        "| shipped | 4, 4 correct | 0.50 (0.50, 0.50) | 0.25 (0.25, 0.25) | 0.25 (0.25, 0.25)"
    )
    assert lines[3].startswith("| norestate |")
    assert bins_table(data).startswith("| mean cosine, 95%, tokens | shipped | norestate |")
    head = predictors_table(data).splitlines()[0]
    assert head == "| cosine of a token with | shipped | norestate | shipped, restating | shipped, other |"


def test_every_token_is_in_one_bin_of_each_kind(data):
    counts = [
        int(line.split("|")[2].split(",")[-1])
        for line in bins_table(data).splitlines()[7:]
        if "position" in line
    ]
    assert sum(counts) == 40


def test_a_folder_without_measurements_says_so(tmp_path):
    empty = load_committed(load_study(write_study(tmp_path)))
    assert [made(empty) for made in (alignment_table, bins_table, predictors_table)] == [NOTHING] * 3


def test_the_picture_is_drawn(data, tmp_path):
    alignment_picture(data, tmp_path / "alignment.png")
    assert (tmp_path / "alignment.png").read_bytes()[:4] == b"\x89PNG"


def test_the_rank_correlation_is_spearmans_and_its_interval_is_over_problems():
    problems = np.repeat(np.arange(20), 10)
    one = RNG.normal(size=200)
    other = one + RNG.normal(size=200)
    value, low, high = spearman(one, other, problems)
    assert value == pytest.approx(spearmanr(one, other).statistic)
    assert low < value < high
    # Ten copies of each token say nothing new; taken for problems of their own they would.
    same = [np.repeat(column[::10], 10) for column in (one, other)]
    wide, narrow = spearman(*same, problems), spearman(*same, np.arange(200))
    assert wide[0] == narrow[0]
    assert wide[2] - wide[1] > 2 * (narrow[2] - narrow[1])


def test_a_predictor_that_does_not_vary_has_no_correlation():
    value, low, high = spearman(RNG.normal(size=9), np.ones(9), np.repeat(np.arange(3), 3))
    assert all(map(math.isnan, (value, low, high)))


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Problems with a level of their own: true rank correlation of the sum of normals, 6/pi asin(r/2)."""
    truth = 6 / math.pi * math.asin(0.5 / 2)
    held = 0
    for _ in range(60):
        level = np.repeat(RNG.normal(size=(2, 40)), 5, axis=1)
        own = RNG.normal(size=(2, 200))
        one, other = (level + own) / math.sqrt(2)
        _, low, high = spearman(one, 0.5 * one + math.sqrt(0.75) * other, np.repeat(np.arange(40), 5))
        held += low <= truth <= high
    assert 0.85 <= held / 60 <= 1.0


def test_the_pages_are_what_the_data_say():
    made = pages(load_study(NANO))
    assert {name: (NANO / name).read_text(encoding="utf-8") for name in made} == made


def test_the_pages_of_a_study_without_data_can_be_made(tmp_path):
    study = load_study(write_study(tmp_path))
    assert [file.name for file in write_pages(study)] == ["expansion.md", "alignment.md"]
