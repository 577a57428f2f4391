"""The alignment study: its rows against plain autograd, its control, its summary, and how it resumes."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from prerl_eval.cards import load_card
from prerl_eval.checkpoint import open_checkpoint
from prerl_eval.engines.transformers import read_model
from prerl_eval.errors import RunStopped, UserError
from prerl_eval.problems import Problem
from prerl_eval.prompts import PromptBuilder
from prerl_train.alignment import gradients, measure
from prerl_train.alignment import study as alignment
from prerl_train.alignment.files import read_rows
from prerl_train.alignment.plan import AlignOptions, mispaired, plan_study
from prerl_train.alignment.study import align
from prerl_train.alignment.summary import bootstrap, correlation, summarise_responses, summarise_tokens
from tests.autograd import COMPLETION, PROMPT, START, by_hand, ids
from tests.conftest import REPO

BASE = REPO / "results" / "base-nano"
SMALL = {"samples": 4, "token_samples": 2, "device": "cpu", "max_tokens": 40}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small finished study of the shipped base."""
    return align(str(BASE), "countdown", out=tmp_path_factory.mktemp("align") / "study", **SMALL)


def result(folder):
    return json.loads((folder / "alignment.json").read_text())


# the whole study


def test_rows_hold_what_autograd_finds_with_their_own_and_with_the_other_prompt(study):
    model = AutoModelForCausalLM.from_pretrained(BASE).double()
    checkpoint = open_checkpoint(str(BASE))
    builder, card = PromptBuilder(checkpoint), load_card("countdown")
    plan = plan_study(AlignOptions(str(BASE), "countdown", **SMALL))
    problems = {problem.problem_id: problem for problem in plan.rollouts.benchmarks[0].problems}
    stored = {
        row["problem_id"]: row
        for part in sorted((study / "rollouts" / "samples").iterdir())
        for row in pq.read_table(part).to_pylist()
    }
    rows = result(study)["responses"]
    assert len(rows) == 4
    for row in rows:
        completion = torch.tensor(stored[row["problem_id"]]["token_ids"])
        prompt = torch.tensor(builder.render(problems[row["problem_id"]], card).token_ids)
        other_id, other = plan.other[row["problem_id"]]
        assert row["mispaired_with"] == other_id != row["problem_id"]
        assert list(other.token_ids) != prompt.tolist()
        alone, logps = by_hand(model, ids(1), completion)
        own, own_logps = by_hand(model, prompt, completion)
        wrong, _ = by_hand(model, torch.tensor(other.token_ids), completion)
        assert row["inner"] == pytest.approx(float(alone @ own), rel=1e-4)
        assert row["cosine"] == pytest.approx(float(alone @ own / alone.norm() / own.norm()), rel=1e-4)
        assert row["mispaired_inner"] == pytest.approx(float(alone @ wrong), rel=1e-3)
        assert row["logp_y"] == pytest.approx(float(logps.sum()), rel=1e-5)
        assert row["logp_yx"] == pytest.approx(float(own_logps.sum()), rel=1e-5)
        assert row["token_gap"] == pytest.approx(float((logps - own_logps).abs().mean()), rel=1e-4)
        sign = 1 if row["status"] == "correct" else -1
        assert row["step"] == pytest.approx(0.01 / float(alone.norm() * own.norm()), rel=1e-4)
        assert row["predicted"] == pytest.approx(sign * 0.01 * row["cosine"], rel=1e-4)
        assert row["realised"] == pytest.approx(row["predicted"], rel=0.02)


def test_every_token_is_in_one_bin_of_each_kind(study):
    tokens = pq.read_table(study / "tokens.parquet").to_pylist()
    summary = result(study)["summary"]["tokens"]
    rows = result(study)["responses"]
    assert summary["n"] == len(tokens) == sum(row["tokens"] for row in rows[:2])
    kinds = {"p_y", "p_yx", "entropy_y", "entropy_yx", "position", "relative_position", "restatement"}
    assert set(summary["bins"]) == kinds
    for bins in summary["bins"].values():
        assert sum(found["n"] for found in bins) == len(tokens)
    low = [token for token in tokens if token["p_y"] < 0.2]
    first = next(found for found in summary["bins"]["p_y"] if found["bin"] == "0-0.2")
    assert first["n"] == len(low) > 0
    assert first["mean"] == pytest.approx(sum(token["cosine"] for token in low) / len(low))
    assert first["norm_yx"] == pytest.approx(sum(token["norm_yx"] for token in low) / len(low))
    # The shipped base opens with "make T from a b c ." and the rest comes after it.
    for row in rows[:2]:
        own = [token for token in tokens if token["problem_id"] == row["problem_id"]]
        assert sum(token["is_restating"] for token in own) == row["restated"] in (7, 8, 9)


def test_a_study_leaves_a_picture_versions_and_a_run_that_prerl_eval_reads(study):
    assert (study / "alignment.png").read_bytes().startswith(b"\x89PNG")
    found = result(study)
    assert found["complete"]
    assert found["settings"]["start_token"] == 1
    assert "torch" in found["sessions"][0]["versions"]
    assert (study / "rollouts" / "run.json").is_file()


def test_the_same_command_measures_only_what_is_missing(study, tmp_path, monkeypatch, capsys):
    stopped = tmp_path / "stopped"
    real, calls = alignment.measure_response, []

    def two_then_full(*args):
        if len(calls) == 2:
            raise torch.OutOfMemoryError("full")
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(alignment, "measure_response", two_then_full)
    with pytest.raises(RunStopped, match="memory is full at a response of"):
        align(str(BASE), "countdown", out=stopped, **SMALL)
    rows = stopped / "responses.jsonl"
    lines = rows.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    assert not result(stopped)["complete"]
    with rows.open("ab") as stream:
        stream.write(b'{"problem_id": "torn')
    monkeypatch.setattr(alignment, "measure_response", lambda *args: calls.append(args) or real(*args))
    align(str(BASE), "countdown", out=stopped, **SMALL)
    assert len(calls) == 4
    assert rows.read_bytes().startswith(b"".join(lines))
    assert len(result(stopped)["sessions"]) == 2

    def timeless(row):
        return {name: value for name, value in row.items() if "seconds" not in name}

    undisturbed = [timeless(row) for row in read_rows(study / "responses.jsonl")]
    assert [timeless(row) for row in read_rows(rows)] == undisturbed
    assert result(stopped)["summary"] == result(study)["summary"]
    assert (stopped / "alignment.png").read_bytes() == (study / "alignment.png").read_bytes()
    capsys.readouterr()
    align(str(BASE), "countdown", out=stopped, **SMALL)
    assert len(calls) == 4
    assert "4 responses to 4 problems" in capsys.readouterr().out


def test_more_samples_than_problems_ask_problems_again(tiny_model, tmp_path):
    data = tmp_path / "few.jsonl"
    data.write_text(
        "".join(json.dumps({"problem": f"make {n} from 1 2", "answer": str(n)}) + "\n" for n in (3, 4, 5))
    )
    out = align(
        str(tiny_model), str(data), samples=5, token_samples=0, max_tokens=12, lr=1e-6,
        device="cpu", out=tmp_path / "study",
    )  # fmt: skip
    rows = result(out)["responses"]
    assert len(rows) == len({(row["problem_id"], row["sample_index"]) for row in rows}) == 5
    assert result(out)["summary"]["responses"]["problems"] == 3
    assert result(out)["summary"]["tokens"] == {"n": 0}
    assert {row["step"] for row in rows} == {1e-6}
    assert not (out / "tokens.parquet").exists()


# the control


def problems_asking(*texts):
    return [Problem("countdown", str(number), text, "1", "countdown") for number, text in enumerate(texts)]


def test_a_response_is_mispaired_with_the_next_problem_that_is_asked_differently(tiny_model):
    builder, card = PromptBuilder(open_checkpoint(str(tiny_model))), load_card("countdown")
    problems = problems_asking("make 3", "make 3", "make 4")
    found = mispaired(problems, problems, card, builder, 10)
    assert {own: other for own, (other, _) in found.items()} == {"0": "2", "1": "2", "2": "0"}
    assert found["0"][1].text.endswith("make 4")
    with pytest.raises(UserError, match="another problem's prompt"):
        mispaired(problems[:2], problems[:2], card, builder, 10)


# what is concluded


def test_intervals_resample_problems_and_not_values():
    even = bootstrap([1.0, 2.0, 3.0, float("nan")], ["a", "b", "c", "c"])
    assert (even["n"], even["mean"]) == (4, 2.0)
    # One draw in 27 is "a" three times: more than the 2.5% that the interval leaves out below.
    assert (even["low"], even["high"]) == (1.0, 3.0)
    # A hundred values of two problems know as much about problems as two values do.
    many = bootstrap([0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50)
    assert (many["mean"], many["low"], many["high"]) == (0.5, 0.0, 1.0)
    alone = bootstrap([0.0, 1.0], ["a", "a"])
    assert (alone["mean"], alone["low"]) == (0.5, None)
    assert bootstrap([float("nan")], ["a"])["mean"] is None


def test_correlation():
    assert correlation([1, 2, 4], [2, 4, 8]) == pytest.approx(1)
    assert correlation([1, 2, 3], [1, 0, -1]) == pytest.approx(-1)
    assert correlation([0, 1, 0, 1], [0, 0, 1, 1]) == pytest.approx(0)
    assert correlation([1, 1], [1, 2]) is None


def test_summary_of_two_responses_by_hand():
    row = {
        "problem_id": "a", "status": "correct", "tokens": 4, "inner": 6.0, "cosine": 0.5, "norm_y": 3.0,
        "norm_yx": 6.0, "mispaired_inner": 1.0, "mispaired_cosine": 0.25, "logp_y": -8.0, "logp_yx": -4.0,
        "token_gap": 1.5, "step": 0.1, "predicted": 0.6, "realised": 0.66,
    }  # fmt: skip
    other = row | {
        "problem_id": "b", "status": "wrong", "inner": -2.0, "cosine": 0.3, "mispaired_cosine": -0.05,
        "predicted": 0.2, "realised": 0.2,
    }  # fmt: skip
    found = summarise_responses([row, other])
    assert (found["responses"], found["correct"], found["tokens"]) == (2, 1, 8)
    assert (found["inner"]["mean"], found["inner"]["min"], found["inner"]["negative"]) == (2.0, -2.0, 1)
    assert found["inner"]["sd"] == pytest.approx(32**0.5)
    assert (found["cosine_correct"]["mean"], found["cosine_not_correct"]["mean"]) == (0.5, 0.3)
    assert found["mispaired_share"] == pytest.approx(0.1 / 0.4)
    assert found["own_minus_mispaired"]["mean"] == pytest.approx(0.3)
    assert found["logprob_gap"]["mean"] == 1.0
    assert found["step"]["realised_over_predicted"]["mean"] == pytest.approx(1.05)
    assert found["step"]["correlation"] == pytest.approx(1)


def test_a_token_without_gradient_counts_and_has_no_cosine():
    per_token = {"token_id": [5, 2], "inner": [3.0, 0.0], "norm_y": [2.0, 0.0], "norm_yx": [2.0, 1.0]}
    per_token |= {name: [0.0, 0.0] for name in ("logp_y", "logp_yx", "entropy_y", "entropy_yx")}
    row = {"problem_id": "a", "sample_index": 0, "restated": None, "per_token": per_token}
    columns = alignment.token_columns([row])
    assert columns["cosine"].tolist() == pytest.approx([0.75, float("nan")], nan_ok=True)
    found = summarise_tokens(columns)
    assert (found["n"], found["without_gradient"], found["cosine"]["mean"]) == (2, 1, 0.75)
    assert all(sum(part["n"] for part in bins) == 2 for bins in found["bins"].values())


# bad input


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"samples": 0}, "--samples 0 is too small"),
        ({"token_samples": -1}, "--token-samples -1 is too small"),
        ({"lr": 0.0}, "--lr 0.0 is no step"),
        ({"dtype": "bfloat16"}, "--dtype bfloat16 cannot resolve a small step"),
        ({"device": "tpu"}, "--device tpu is unknown"),
        ({"temperature": -1.0}, "--temperature -1.0 is too small"),
        ({"max_tokens": 5000}, "give --max-tokens"),
        ({"start_token": "<nowhere>"}, "--start-token <nowhere> is no token"),
        ({"split": "nowhere"}, "holds no nowhere.jsonl"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_written(tmp_path, flags, message):
    out = tmp_path / "study"
    with pytest.raises(UserError, match=message):
        align(str(BASE), "countdown", out=out, **flags)
    assert not out.exists()


def test_a_checkpoint_without_a_start_token_is_refused(tiny_model, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        content = json.loads((bare / name).read_text())
        content.pop("bos_token_id", None)
        content.pop("bos_token", None)
        (bare / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match="no start token to stand before y"):
        align(str(bare), "countdown", out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_folder_with_something_else_or_other_settings_is_refused(study, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"holds thesis\.tex: it is no study"):
        align(str(BASE), "countdown", out=foreign, **SMALL)
    before = result(study)
    with pytest.raises(UserError, match="seed: 0 -> 1"):
        align(str(BASE), "countdown", out=study, seed=1, **SMALL)
    headless = tmp_path / "headless"
    headless.mkdir()
    shutil.copy(study / "responses.jsonl", headless)
    with pytest.raises(UserError, match=r"holds responses\.jsonl and no alignment\.json"):
        align(str(BASE), "countdown", out=headless, **SMALL)
    assert result(study) == before


def test_a_gradient_that_is_no_number_is_named(tiny_model):
    broken = read_model(open_checkpoint(str(tiny_model)), "float32", "cpu")
    gradients.prepare(broken)
    with torch.no_grad():
        broken.lm_head.weight[0, 0] = float("nan")
    row = {"problem_id": "p7", "sample_index": 0, "status": "wrong", "finish_reason": "stop"}
    response = measure.Response(row, COMPLETION, PROMPT, PROMPT, START)
    with pytest.raises(UserError, match="problem p7 have norms nan"):
        measure.measure_response(broken, response, None, False)


def test_a_damaged_row_is_named(tmp_path):
    file = tmp_path / "responses.jsonl"
    file.write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(UserError, match="damaged in line 2"):
        read_rows(file)
