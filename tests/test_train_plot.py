"""The picture of training runs: what is drawn is what the metrics say, and the switch is where it was."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from prerl_eval.errors import UserError
from prerl_eval.plots import SUFFIXES
from prerl_train.course import Course, smoothed, smoothing_window
from prerl_train.plot import PANELS, plot_runs

REWARDS = [0.1, 0.2, 0.3, 0.2, None, 0.6]


def entry(step, phase="rl", **changes):
    facts = {
        "step": step,
        "phase": phase,
        "reward": 0.5,
        "problems": 8,
        "solved": 2,
        "unsolved": 4,
        "length_mean": 100.0 + step,
        "truncated": 0.25,
        "entropy": 0.4,
        "grad_norm": 0.2,
        "contributing_tokens": 1500,
        "clip_fraction": 0.0,
        "logprob_gap": None,
        "seconds": {"sampling": 3.0, "reward": 0.5, "update": 1.5},
    }
    return facts | changes


def write_run(folder, entries, evals=()):
    folder.mkdir(parents=True)
    for name, lines in (("metrics", entries), ("evals", evals)):
        if lines:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def dsrl(tmp_path):
    """Two warm-up updates in P(y), then four of GRPO."""
    phases = ["prerl"] * 2 + ["rl"] * 4
    rows = zip(phases, REWARDS, strict=True)
    return write_run(
        tmp_path / "dsrl", [entry(n, phase, reward=reward) for n, (phase, reward) in enumerate(rows, 1)]
    )


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, for a look at what is on them."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1]
    )
    return figures


def panels(figure):
    return {axes.get_title("left"): axes for axes in figure.axes}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_are_written_and_the_same_bytes_twice(tmp_path, dsrl, suffix):
    first, second = tmp_path / f"new/one{suffix}", tmp_path / f"two{suffix}"
    plot_runs([dsrl], first)
    plot_runs([dsrl], second)
    assert first.stat().st_size > 5000
    assert first.read_bytes() == second.read_bytes()


def test_every_figure_is_what_the_metrics_say(tmp_path, dsrl, drawn):
    plot_runs([dsrl], tmp_path / "out.png")
    found = {
        title: np.concatenate([line.get_ydata() for line in axes.lines[1:]])
        for title, axes in panels(drawn[0]).items()
    }
    ones = np.ones(6)
    expected = {
        "Reward": [np.nan if reward is None else reward for reward in REWARDS],
        "Solved": 25 * ones,
        "Unsolved": 50 * ones,
        "Response length": np.arange(101, 107),
        "Cut off": 25 * ones,
        "Entropy": 0.4 * ones,
        "Gradient norm": 0.2 * ones,
        "Contributing tokens": 1.5 * ones,
        "Time": 5 * ones,
    }
    assert found.keys() == expected.keys()  # nothing was clipped, no engine compared, no KL
    for title, values in expected.items():
        np.testing.assert_allclose(found[title], values, err_msg=title)


def test_the_switch_is_marked_between_the_last_warm_up_update_and_the_next(tmp_path, dsrl, drawn):
    plot_runs([dsrl], tmp_path / "out.png")
    for title, axes in panels(drawn[0]).items():
        mark, *lines = axes.lines
        assert list(mark.get_xdata()) == [2.5, 2.5], title
        (shade,) = axes.patches
        assert shade.get_x() + shade.get_width() == 2.5
        # No line crosses it.
        assert [list(line.get_xdata()) for line in lines] == [[1, 2], [3, 4, 5, 6]]
    words = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert words == ["warm-up on log P(y)", "switch of phase"]


def test_a_run_of_one_phase_has_no_switch(tmp_path, drawn):
    run = write_run(tmp_path / "prerl", [entry(n, "prerl") for n in range(1, 5)])
    plot_runs([run], tmp_path / "out.png")
    axes = panels(drawn[0])["Reward"]
    assert len(axes.lines) == 1
    assert not axes.patches
    assert not drawn[0].legends


def test_each_run_has_its_colour_its_switch_and_its_name(tmp_path, dsrl, drawn):
    control = [entry(n, "warmup-rl" if n < 4 else "rl", kl=0.01 * n) for n in range(1, 7)]
    grpo = write_run(tmp_path / "grpo", [entry(n) for n in range(1, 9)])
    plot_runs([dsrl, write_run(tmp_path / "nsr-rl", control), grpo], tmp_path / "out.png")
    axes = panels(drawn[0])["Reward"]
    marks = {line.get_xdata()[0]: line.get_color() for line in axes.lines[:2]}
    assert set(marks) == {2.5, 3.5}
    by_colour = {}
    for line in axes.lines[2:]:
        by_colour.setdefault(line.get_color(), []).extend(line.get_xdata())
    assert sorted(map(len, by_colour.values())) == [6, 6, 8]
    assert len(by_colour[marks[2.5]]) == len(by_colour[marks[3.5]]) == 6
    words = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert {"dsrl", "nsr-rl", "grpo", "warm-up on log P(y)", "warm-up on log P(y|x)"} < set(words)
    # Only one of them has a KL term; the others leave the panel to it.
    kl = panels(drawn[0])["KL to the reference"].lines[2:]
    np.testing.assert_allclose(
        [y for line in kl for y in line.get_ydata() if not np.isnan(y)], [0.01 * n for n in range(1, 7)]
    )


def test_evaluations_are_drawn_with_interval_and_pass_k(tmp_path, drawn):
    scores = [(0, 0.25, 0.5), (40, 0.5, 0.75)]
    evals = [
        {
            "step": step,
            "evals": {
                "countdown": {"avg": avg, "avg_ci": [avg - 0.1, avg + 0.1], "pass": {"1": avg, "8": top}}
            },
        }
        for step, avg, top in scores
    ]
    run = write_run(tmp_path / "run", [entry(n) for n in range(1, 41)], evals)
    bare = write_run(tmp_path / "bare", [entry(n) for n in range(1, 41)])
    plot_runs([run, bare], tmp_path / "out.png")
    axes = panels(drawn[0])["countdown"]
    assert axes.get_title("right") == "%: Avg, hollow Pass@8"
    avg, top = axes.lines
    assert (list(avg.get_xdata()), list(avg.get_ydata())) == ([0, 40], [25, 50])
    assert list(top.get_ydata()) == [50, 75]
    assert top.get_markerfacecolor() == "white"
    bars = [collection.get_segments()[0][:, 1].tolist() for collection in axes.collections]
    np.testing.assert_allclose(bars, [[15, 35], [40, 60]])


def test_a_spike_does_not_flatten_the_rest_and_is_named(tmp_path, drawn):
    norms = [0.2] * 99 + [90.0]
    run = write_run(tmp_path / "run", [entry(n, grad_norm=norm) for n, norm in enumerate(norms, 1)])
    plot_runs([run], tmp_path / "out.png")
    axes = panels(drawn[0])["Gradient norm"]
    assert axes.get_ylim()[1] < 50
    assert [text.get_text() for text in axes.texts] == ["spikes to 90"]
    raw, average = axes.lines
    assert raw.get_ydata().max() == 90
    assert raw.get_alpha() < 1
    assert average.get_linewidth() > raw.get_linewidth()
    words = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert words == ["average over 11 updates", "each update"]


def test_what_was_never_measured_is_said_and_breaks_nothing(tmp_path, drawn):
    run = write_run(tmp_path / "run", [{"step": 1, "phase": None, "loss": None}])
    plot_runs([run], tmp_path / "out.png")
    assert [axes.texts[0].get_text() for axes in drawn[0].axes] == ["not measured"] * 9


def test_titles_leave_room_for_their_units(tmp_path, drawn):
    full = {"kl": 0.1, "clip_fraction": 0.1, "logprob_gap": 0.1, "value_loss": 0.1, "true_reward": 0.1}
    run = write_run(tmp_path / "run", [entry(n, **full) for n in range(1, 9)])
    plot_runs([run], tmp_path / "out.png")
    assert len(drawn[0].axes) == len(PANELS)
    for axes in drawn[0].axes:
        title, unit = (text.get_window_extent() for text in (axes._left_title, axes._right_title))
        assert title.x1 < unit.x0, axes.get_title("left")


def test_smoothing_by_hand():
    assert smoothed(np.array([1.0, 2, 3, 4]), 1).tolist() == [1, 2, 3, 4]
    # A straight slope stays one, to both ends.
    np.testing.assert_allclose(smoothed(np.arange(20.0), 7), np.arange(20))
    # Tricube: a neighbour at half the width of three weighs (1 - (1/2)^3)^3.
    weight = (7 / 8) ** 3
    middle = smoothed(np.array([0.0, 3, 0]), 3)[1]
    assert middle == pytest.approx(3 / (1 + 2 * weight))
    with_gap = smoothed(np.array([0.0, np.nan, 6, np.nan, np.nan, np.nan]), 3)
    np.testing.assert_allclose(with_gap, [0, 3, 6, 6, np.nan, np.nan], atol=1e-12)


def test_nothing_is_averaged_across_a_switch():
    entries = [{"step": n, "phase": "prerl" if n <= 10 else "rl"} for n in range(1, 31)]
    course = Course("run", entries, [])
    assert course.spans == [(0, 10), (10, 30)]
    assert course.switches == [10.5]
    jump = np.where(np.arange(30) < 10, 5.0, 50.0)
    np.testing.assert_allclose(course.smooth(jump, 9), jump)
    assert smoothing_window([course]) == 5
    assert smoothing_window([Course("short", entries[:6], [])]) == 1


def test_mistakes_are_one_line_and_nothing_is_written(tmp_path, dsrl):
    with pytest.raises(UserError, match=r"name it \.png, \.svg or \.pdf"):
        plot_runs([dsrl], tmp_path / "out.jpeg")
    with pytest.raises(
        UserError, match=r"no metrics.jsonl in .*elsewhere; give the folder of a training run"
    ):
        plot_runs([dsrl, tmp_path / "elsewhere"], tmp_path / "out.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/metrics.jsonl").write_text('{"step": 1, "pha')
    with pytest.raises(UserError, match="holds no update yet"):
        plot_runs([tmp_path / "empty"], tmp_path / "out.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/out.png \(.*\); give another --out"):
        plot_runs([dsrl], tmp_path / "file/out.png")
    assert not (tmp_path / "out.png").exists()
