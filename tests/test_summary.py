"""From stored rows to numbers: every figure of a tiny run by hand, and what is refused."""

import json
import math

import pytest

from prerl_eval import store
from prerl_eval.errors import UserError
from prerl_eval.summary import how_made, render_summary, summarize
from prerl_eval.tally import tally_run
from tests.runs import sample, write_run

PLAN = {"aime24": {"n": 4, "problems": 3, "max_tokens": 256}}


def tiny_rows():
    """Three problems of four samples: 3, 1 and 0 correct; one timeout, one error, two cut off."""
    return [
        *(sample("60", i, "correct", tokens=10) for i in range(3)),
        sample("60", 3, "wrong", "7", tokens=10),
        sample("61", 0, "correct", tokens=10),
        sample("61", 1, "wrong", "8", tokens=10),
        sample("61", 2, "wrong", "8", tokens=10),
        sample("61", 3, "truncated", tokens=256, finish_reason="length"),
        sample("62", 0, "timeout", "9", tokens=10),
        sample("62", 1, "error", tokens=10),
        sample("62", 2, "unparsed", tokens=10),
        sample("62", 3, "wrong", "9", tokens=256, finish_reason="length"),
    ]


@pytest.fixture
def tiny(tmp_path):
    return write_run(tmp_path / "tiny", tiny_rows(), PLAN)


def test_a_benchmark_without_samples_yet_is_missing_and_not_left_out(tmp_path):
    plans = {"aime24": {"n": 1, "problems": 1}, "aime25": {"n": 2, "problems": 30}}
    run = write_run(tmp_path, [sample("1", 0, "correct")], plans)
    numbers = summarize(run)["benchmarks"]
    assert (numbers["aime24"]["complete"], numbers["aime24"]["avg"]) == (True, 1.0)
    assert numbers["aime25"]["missing"] == 60
    assert numbers["aime25"]["avg"] is None
    assert "incomplete: 60 planned samples" in render_summary([summarize(run)])


def test_every_number_by_hand(tiny):
    numbers = summarize(tiny)["benchmarks"]["aime24"]
    assert (numbers["problems"], numbers["samples"], numbers["n"]) == (3, 12, 4)
    # Problem means 3/4, 1/4, 0: mean 1/3, sd sqrt((25 + 1 + 16) / 144 / 2).
    assert numbers["avg"] == pytest.approx(1 / 3)
    assert numbers["avg_se"] == pytest.approx(math.sqrt(42 / 144 / 2) / math.sqrt(3))
    low, high = numbers["avg_ci"]
    assert 0 <= low < 1 / 3 < high <= 1
    # Pass@2: 1 - 0/6, 1 - 3/6, 0. Pass@3: 1, 1 - 1/4, 0. Pass@4: 1, 1, 0.
    assert numbers["pass"] == pytest.approx({"1": 1 / 3, "2": 1.5 / 3, "3": 1.75 / 3, "4": 2 / 3})
    assert numbers["pass_ci"].keys() == numbers["pass"].keys()
    # maj@2 of 60: three pairs AA and three A7 at 1/2 make 3/4; of 61 (A, 8, 8, none): A8 twice at 1/2
    # and A alone make 2/6. maj@4: A; 8; 9.
    assert numbers["maj"] == pytest.approx({"1": 1 / 3, "2": (3 / 4 + 1 / 3) / 3, "4": 1 / 3})
    assert numbers["statuses"] == {
        "correct": 4,
        "wrong": 4,
        "unparsed": 1,
        "truncated": 1,
        "timeout": 1,
        "error": 1,
    }
    assert numbers["unscored"] == 0
    assert numbers["unparsed"] == pytest.approx(1 / 12)
    # Two were cut off, one of them with an answer: the rate counts both, the status one.
    assert numbers["truncated"] == pytest.approx(2 / 12)
    assert numbers["mean_tokens"] == pytest.approx((10 * 10 + 2 * 256) / 12)
    # 62 would be 2/4, and 3/4 with its unparsed sample.
    assert numbers["bounds"]["failed"] == pytest.approx([1 / 3, 1.5 / 3])
    assert numbers["bounds"]["failed_or_unparsed"] == pytest.approx([1 / 3, 1.75 / 3])
    assert (numbers["missing"], numbers["complete"]) == (0, True)
    assert numbers["samples_per_problem"] == [4, 4]
    assert numbers["graders"] == ["math/1"]


def test_a_summary_is_json_without_nan(tiny):
    json.dumps(summarize(tiny), allow_nan=False)


def test_doubling_n_with_equal_samples_leaves_avg_alone(tmp_path, tiny):
    # lighteval#771: AIME halved with every doubling of n.
    doubled = tiny_rows() + [
        sample(row.problem_id, row.sample_index + 4, row.status, row.answer_class) for row in tiny_rows()
    ]
    plan = {"aime24": {"n": 8, "problems": 3}}
    numbers = summarize(write_run(tmp_path / "doubled", doubled, plan))["benchmarks"]["aime24"]
    assert numbers["n"] == 8
    assert numbers["avg"] == pytest.approx(summarize(tiny)["benchmarks"]["aime24"]["avg"])


def test_nothing_missing_means_exactly_n_of_every_problem(tmp_path):
    # As many rows as planned, but one problem has 5 of 4 and another 3.
    rows = [row for row in tiny_rows() if (row.problem_id, row.sample_index) != ("62", 3)]
    run = write_run(tmp_path / "uneven", [*rows, sample("60", 4, "wrong", "7")], PLAN)
    with pytest.raises(UserError, match=r"aime24 problem 60 has 5 samples, run\.json says n = 4"):
        summarize(run)
    run = write_run(tmp_path / "more", [*tiny_rows(), sample("63", 0, "wrong")], PLAN)
    with pytest.raises(UserError, match=r"aime24 has 4 problems, run\.json says 3"):
        summarize(run)


def test_a_sample_stored_twice_is_refused(tiny):
    store.write_part(tiny, store.rows_to_table([sample("61", 2, "correct")]))
    with pytest.raises(UserError, match=r"1 samples more than once \(first: aime24 problem 61 sample 2\)"):
        summarize(tiny)


def test_an_interrupted_run_says_what_is_missing(tmp_path):
    run = write_run(tmp_path / "half", tiny_rows()[:6], PLAN)
    numbers = summarize(run)["benchmarks"]["aime24"]
    assert (numbers["missing"], numbers["complete"]) == (6, False)
    assert numbers["n"] == 2
    assert list(numbers["pass"]) == ["1", "2"]
    # Means of problems, 3/4 and 1/2, not 4 of 6 samples.
    assert numbers["avg"] == pytest.approx(5 / 8)
    text = render_summary([summarize(run)])
    assert "incomplete: 6 planned samples" in text
    assert "2 to 4 samples per problem" in text


def test_unscored_rows_stand_outside_everything(tmp_path):
    bad = [sample("63", i, "unscored", tokens=999, finish_reason="length") for i in range(4)]
    run = write_run(
        tmp_path / "bad", tiny_rows() + bad, {"aime24": {"n": 4, "problems": 4, "max_tokens": 256}}
    )
    numbers = summarize(run)["benchmarks"]["aime24"]
    assert numbers["unscored"] == 4
    assert sum(numbers["statuses"].values()) == numbers["samples"] == 12
    expected = summarize(write_run(tmp_path / "good", tiny_rows(), PLAN))["benchmarks"]["aime24"]
    assert {**numbers, "unscored": 0} == expected
    assert "4 samples unscored" in render_summary([summarize(run)])


def test_a_benchmark_with_nothing_scored_has_no_numbers(tmp_path):
    run = write_run(tmp_path / "none", [sample("60", 0, "unscored")])
    numbers = summarize(run)["benchmarks"]["aime24"]
    assert (numbers["samples"], numbers["n"], numbers["avg"], numbers["pass"]) == (0, 0, None, {})
    assert "aime24" in render_summary([summarize(run)])


def test_imports_say_only_what_is_known(tmp_path):
    rows = [sample("60", i, "correct", tokens=0, finish_reason="unknown") for i in range(2)]
    numbers = summarize(write_run(tmp_path / "import", rows))["benchmarks"]["aime24"]
    assert (numbers["truncated"], numbers["mean_tokens"], numbers["tokens_per_second"]) == (None, None, None)
    assert (numbers["avg"], numbers["avg_se"], numbers["avg_ci"]) == (1.0, None, [0.0, 1.0])
    assert numbers["complete"]


def test_steps_of_a_training_run_are_never_mixed(tmp_path):
    rows = [sample("60", 0, "wrong"), sample("60", 0, "correct", step=10)]
    run = write_run(tmp_path / "train", rows)
    with pytest.raises(UserError, match=r"holds steps 0, 10; choose one with --step"):
        summarize(run)
    assert summarize(run, step=10)["benchmarks"]["aime24"]["avg"] == 1.0
    with pytest.raises(UserError, match="no samples of step 5; it holds 0, 10"):
        summarize(run, step=5)


def training_rows():
    """Step 1: problem a 2 of 2 and b 0 of 2. Steps 2 and 3: a 1 of 2 each, c once 0 of 2 and once cut off."""
    return [
        *(sample("a", i, "correct", step=1, tokens=10) for i in range(2)),
        *(sample("b", i, "wrong", "7", step=1, tokens=20) for i in range(2)),
        sample("a", 0, "correct", step=2, tokens=10),
        sample("a", 1, "unparsed", step=2, tokens=10),
        *(sample("c", i, "wrong", "7", step=2, tokens=10) for i in range(2)),
        sample("a", 0, "correct", step=3, tokens=10),
        sample("a", 1, "wrong", "8", step=3, tokens=10),
        *(sample("c", i, "truncated", step=3, tokens=50, finish_reason="length") for i in range(2)),
    ]


TRAINING = {"aime24": {"n": 2, "max_tokens": 50, "training_problems": 900}}


def test_a_training_run_is_summed_up_by_steps(tmp_path):
    run = write_run(tmp_path / "train", training_rows(), TRAINING, kind="training")
    summary = summarize(run)
    json.dumps(summary, allow_nan=False)
    assert summary["benchmarks"] == {}
    windows = summary["training"]["aime24"]["windows"]
    assert [window["steps"] for window in windows] == [[1, 1], [2, 2], [3, 3]]
    assert [window["problems"] for window in windows] == [2, 2, 2]
    assert [window["avg"] for window in windows] == [0.5, 0.25, 0.25]
    assert [window["all_right"] for window in windows] == [0.5, 0.0, 0.0]
    assert [window["none_right"] for window in windows] == [0.5, 0.5, 0.5]
    assert [window["truncated"] for window in windows] == [0.0, 0.0, 0.5]
    assert [window["unparsed"] for window in windows] == [0.0, 0.25, 0.0]
    assert [window["mean_tokens"] for window in windows] == [15, 10, 30]
    lines = render_summary([summary]).splitlines()
    assert lines[1] == "  at most 50 tokens, grader math/1"
    assert lines[3].split("  ")[-1].strip() == "tokens"
    cells = lines[4].split()
    assert (cells[:3], cells[4:]) == (["1", "2×2", "50.0"], ["50.0", "50.0", "0.0", "0.0", "15"])
    assert max(map(len, lines)) <= 100


def test_a_long_training_run_has_ten_windows_that_hold_every_row(tmp_path):
    rows = [
        sample(problem, i, "correct" if step > 40 else "wrong", "" if step > 40 else "7", step=step)
        for step in range(1, 54)
        for problem in "ab"
        for i in range(2)
    ]
    run = write_run(tmp_path / "long", rows, TRAINING, kind="training")
    windows = summarize(run)["training"]["aime24"]["windows"]
    assert [window["steps"] for window in windows[:3]] == [[1, 6], [7, 12], [13, 18]]
    assert windows[-1]["steps"] == [49, 53]
    assert sum(window["samples"] for window in windows) == len(rows)
    # The same problem at two steps counts twice: its samples came from two policies.
    assert (windows[0]["problems"], windows[0]["n"]) == (12, 2)
    # Steps 39-43: problem means 0 at two steps and 1 at three.
    assert (windows[7]["steps"], windows[7]["avg"]) == ([39, 43], 0.6)
    assert "  39–43" in render_summary([summarize(run)])


def test_one_step_of_a_training_run_reads_as_any_run(tmp_path):
    run = write_run(tmp_path / "train", training_rows(), TRAINING, kind="training")
    numbers = summarize(run, step=2)["benchmarks"]["aime24"]
    assert (numbers["problems"], numbers["n"], numbers["avg"]) == (2, 2, 0.25)
    # No problems are planned, so none is missing at a step that samples some of them.
    assert (numbers["missing"], numbers["complete"]) == (0, True)
    both = render_summary([summarize(run), summarize(run, step=2)])
    assert "step 2" in both
    assert "all right" in both


def test_samples_of_a_training_run_stored_twice_are_refused(tmp_path):
    run = write_run(tmp_path / "train", training_rows(), TRAINING, kind="training")
    store.write_part(run, store.rows_to_table([sample("c", 1, "correct", step=3)]))
    with pytest.raises(UserError, match="1 samples more than once"):
        summarize(run)


def test_an_empty_run_and_no_run_are_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no samples yet"):
        summarize(write_run(tmp_path / "empty", []))
    with pytest.raises(UserError, match="is not a prerl run"):
        summarize(tmp_path)


def test_speed_is_tokens_over_wall_time_of_finished_sittings(tmp_path):
    sessions = [
        {"sampled": {"aime24": {"tokens": 100, "seconds": 2.0}}},
        {},
        {"sampled": {"aime24": {"tokens": 500, "seconds": 4.0}}},
    ]
    run = write_run(tmp_path / "fast", tiny_rows(), PLAN, sessions=sessions)
    assert summarize(run)["benchmarks"]["aime24"]["tokens_per_second"] == pytest.approx(100)


def test_benchmarks_keep_the_order_of_the_record(tmp_path):
    rows = [sample("a", 0, "correct", benchmark=name) for name in ("zeta", "alpha", "other")]
    plans = {"alpha": {"n": 1, "problems": 1}, "zeta": {"n": 1, "problems": 1}}
    assert list(tally_run(write_run(tmp_path / "three", rows, plans))) == ["alpha", "zeta", "other"]


def test_the_table_fits_and_says_how_it_was_made(tmp_path):
    settings = {
        "engine": "transformers",
        "temperature": 1.0,
        "top_p": 0.95,
        "top_k": 0,
        "template": "plain",
        "thinking": False,
        "seed": 3,
    }
    record = {"settings": settings, "sessions": [{"versions": {"transformers": "5.17.0"}}]}
    run = write_run(tmp_path / ("a-long-name-" * 8), tiny_rows(), PLAN, **record)
    summary = summarize(run)
    assert how_made(summary) == (
        "temperature 1.0, top-p 0.95, top-k off, at most 256 tokens, plain template, no thinking, "
        "transformers 5.17.0, seed 3, grader math/1"
    )
    text = render_summary([summary, summary])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    row = next(line for line in lines if line.startswith("  aime24"))
    cells = dict(zip(lines[0].split(), row.split()[1:], strict=True))
    assert cells["P×n"] == "3×4"
    assert cells["Avg@n"] == "33.3"
    assert cells["Pass@n"] == "66.7"
    assert cells["maj@n"] == "33.3"
    assert cells["cut"] == "16.7"
    assert cells["unparsed"] == "8.3"
    assert cells["tokens"] == "51"
    assert "Avg@n would be 50.0 if the 2 that grading failed on" in text


def test_pass_8_and_32_are_shown_where_n_is_larger(tmp_path):
    rows = [sample("60", i, "correct" if i < 4 else "wrong", "" if i < 4 else "7") for i in range(40)]
    header = render_summary([summarize(write_run(tmp_path / "n40", rows))]).splitlines()[0]
    assert " ".join(header.split()) == "P×n Avg@n 95% Pass@8 Pass@32 Pass@n maj@n cut unparsed tokens"
