"""Pictures and CSV: right points, honest marks, same bytes, one-line refusals."""

import csv
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from prerl_eval import plots
from prerl_eval.errors import UserError
from prerl_eval.metrics import pass_curve
from tests.runs import sample, write_run

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def make_run(folder, correct, n=8, benchmark="aime24"):
    rows = [
        sample(f"{problem}", i, "correct" if i < count else "wrong", benchmark=benchmark)
        for problem, count in enumerate(correct)
        for i in range(n)
    ]
    return write_run(folder, rows)


@pytest.fixture
def runs(tmp_path):
    return [make_run(tmp_path / "base", [0, 1, 4, 8]), make_run(tmp_path / "trained", [1, 2, 6, 8])]


@pytest.mark.parametrize("suffix", plots.SUFFIXES)
def test_pictures_are_written_and_the_same_bytes_twice(tmp_path, runs, suffix):
    first, second = tmp_path / f"new/one{suffix}", tmp_path / f"two{suffix}"
    assert plots.draw_passk(runs, out=first)[-1] == f"wrote {first}"
    plots.draw_passk(runs, out=second)
    assert first.read_bytes().startswith(SIGNATURES[suffix])
    assert first.read_bytes() == second.read_bytes()


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path, runs):
    with pytest.raises(UserError, match=r"name it \.png, \.svg or \.pdf"):
        plots.draw_passk(runs, out=tmp_path / "curve.jpeg", csv=tmp_path / "curve.csv")
    assert not (tmp_path / "curve.csv").exists()


def test_an_incomplete_run_is_said_to_be_one(tmp_path):
    rows = [sample("1", index, "wrong") for index in range(2)]
    folder = write_run(tmp_path / "killed", rows, {"aime24": {"n": 4, "problems": 30}})
    lines = plots.draw_passk([folder])
    assert lines[1] == "  incomplete: 118 planned samples of aime24 are not there yet"


def test_one_file_for_picture_and_numbers_is_refused(tmp_path, runs):
    with pytest.raises(UserError, match="is the file of --out"):
        plots.draw_passk(runs, out=tmp_path / "curve.svg", csv=tmp_path / "." / "curve.svg")
    assert not (tmp_path / "curve.svg").exists()


def test_k_above_n_is_refused_before_anything_is_written(tmp_path, runs):
    with pytest.raises(UserError, match=r"k = 9 is more than the n = 8 samples of aime24 in .*base"):
        plots.draw_passk(runs, out=tmp_path / "curve.png", csv=tmp_path / "curve.csv", k=9)
    assert not (tmp_path / "curve.csv").exists()


def test_csv_holds_every_point(tmp_path, runs):
    lines = plots.draw_passk(runs, csv=tmp_path / "curve.csv")
    with (tmp_path / "curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["run"], row["k"]) for row in rows] == [
        (run, str(k)) for run in ("base", "trained") for k in range(1, 9)
    ]
    by_key = {(row["run"], int(row["k"])): row for row in rows}
    assert float(by_key["base", 1]["pass"]) == pytest.approx(13 / 32)
    assert float(by_key["base", 8]["pass"]) == 0.75
    assert float(by_key["base", 1]["lo"]) < 13 / 32 < float(by_key["base", 1]["hi"])
    assert [by_key["base", k]["uncertain"] for k in (1, 2, 3, 8)] == ["0", "0", "1", "1"]
    assert "base  aime24: 40.6 @1" in lines[0]
    assert "~75.0 @8" in lines[0]


def test_largest_k_cuts_the_curve(runs):
    assert plots.passk_curves(runs[0], max_k=4)["aime24"].k.tolist() == [1, 2, 3, 4]


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / "a/run", tmp_path / "b/run"]
    assert plots.run_labels(paths) == [str(path) for path in paths]
    assert plots.run_labels([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]


def test_a_run_of_bad_golds_has_no_curve(tmp_path):
    run = write_run(tmp_path / "bad", [sample("60", 0, "unscored")])
    with pytest.raises(UserError, match="no scored samples"):
        plots.passk_curves(run)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, for a look at what is on them."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1]
    )
    return figures


def test_the_axis_is_log_2_with_plain_numbers_and_uncertain_points_are_hollow(tmp_path, runs, drawn):
    plots.draw_passk(runs, out=tmp_path / "curve.png")
    (axes,) = drawn[0].axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "8"]
    assert axes.get_title("right") == "4 problems, n = 8"
    marked = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    hollow = {line.get_xdata()[0] for line in marked if line.get_markerfacecolor() == "white"}
    assert hollow == {4, 8}
    assert {line.get_xdata()[0] for line in marked} == {1, 2, 4, 8}
    words = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert set(words) == {"base", "trained", "k > n/4: uncertain", "95% band, pointwise"}
    low, high = axes.get_ylim()
    assert low < 100 * 13 / 32 < high < 105


def test_lines_differ_by_more_than_colour():
    # Readable in grey: the first eight runs have a marker of their own, and neighbours differ in dashes.
    styles = [(plots._marker(i, False)["marker"], str(plots._style(i)["linestyle"])) for i in range(8)]
    assert len({marker for marker, _ in styles}) == 8
    assert all(a[1] != b[1] for a, b in pairwise(styles))


def test_each_benchmark_has_its_panel_and_odd_sizes_do_not_break_it(tmp_path, drawn):
    rng = np.random.default_rng(0)
    curves = {
        f"bench{i}": pass_curve(rng.integers(0, n + 1, 5), [n] * 5) for i, n in enumerate((1, 3, 24, 100))
    }
    labelled = [(f"run {i} with a name of some length", curves) for i in range(5)]
    plots.plot_passk(labelled, tmp_path / "many.png")
    titles = [axes.get_title("left") for axes in drawn[0].axes]
    assert titles == ["bench0", "bench1", "bench2", "bench3"]
    ticks = [label.get_text() for label in drawn[0].axes[3].get_xticklabels()]
    assert ticks == ["1", "2", "4", "8", "16", "32", "64", "100"]
