"""DSRL with real vLLM (its CPU build) through the phase switch, in the trainer's process and as a server.

2 warm-up updates and 2 of RL on a tiny float32 model; tests/vllm/training.py does the runs.
"""

import json
import subprocess
import sys

import pytest

from prerl_eval.store import read_samples
from prerl_train import journal
from tests.conftest import REPO
from tests.vllm.training import EOS, HMM

SAME = 1e-4
"""Mean |log p of trainer - of engine| in nats: 1e-6 measured where both hold the same weights in float32."""


def train(model, out, *names):
    command = [sys.executable, "-m", "tests.vllm.training", str(model), str(out), *names]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return {name: json.loads((out / f"{name}.json").read_text()) for name in names}


@pytest.fixture(scope="module")
def colocated(tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("colocated")
    found = train(tiny_model, out, "corrected", "uncorrected", "other-seed", "stale", "command")
    return {**found, "run": out / "run", "rows": read_samples(out / "run").to_pylist()}


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    return train(tiny_model, tmp_path_factory.mktemp("server"), "server")["server"]


@pytest.fixture(params=["corrected", "uncorrected", "server"])
def run(request):
    if request.param == "server":
        return request.getfixturevalue("server")
    return request.getfixturevalue("colocated")[request.param]


def gaps(run):
    return [update["logprob_gap"] for update in run["updates"]]


def passes(run, *steps):
    """("prompt" or "start", rows) of each forward pass made after so many updates."""
    return [(kind, rows) for step, kind, rows in run["passes"] if step in steps]


def test_two_updates_of_each_phase_reach_the_engine(run):
    assert [update["phase"] for update in run["updates"]] == ["prerl", "prerl", "rl", "rl"]
    assert [found["engine"] for found in run["greedy"]] == [found["trainer"] for found in run["greedy"]]
    by_step = {found["step"]: json.dumps(found["engine"]) for found in run["greedy"]}
    assert len(set(by_step.values())) == len(by_step) == 4  # every update moved the weights


@pytest.mark.parametrize("name", ["corrected", "server"])
def test_trainer_and_engine_agree_on_log_probs_before_and_after_the_switch(name, colocated, server):
    run = server if name == "server" else colocated[name]
    assert max(gaps(run)) < SAME
    # TRL corrects in the RL phase only: an update of P(y) has no such ratio.
    ratios = [update["ratio"] for update in run["updates"]]
    assert ratios == [None, None, pytest.approx(1, abs=SAME), pytest.approx(1, abs=SAME)]


def test_without_correction_no_prompt_is_scored_in_warm_up_and_every_one_once_after_it(colocated):
    run = colocated["uncorrected"]
    assert {kind for kind, _ in passes(run, 0, 1)} == {"start"}
    assert [rows for _, rows in passes(run, 0, 1)] == [
        update["contributing_samples"] for update in run["updates"][:2]
    ]
    assert {kind for kind, _ in passes(run, 2, 3)} == {"prompt"}


def test_without_correction_the_first_sync_is_still_checked(colocated):
    measured = [gap for gap in gaps(colocated["uncorrected"]) if gap is not None]
    assert measured
    assert max(measured) < SAME


def test_weights_that_never_arrive_show_at_the_second_update_and_are_warned_of_once(colocated):
    run = colocated["stale"]
    assert {json.dumps(found["engine"]) for found in run["greedy"]} == {
        json.dumps(run["greedy"][0]["trainer"])
    }
    assert gaps(run)[0] < SAME
    assert min(gaps(run)[1:]) > 0.1
    (warning,) = run["warnings"]
    assert f"differ by {gaps(run)[1]:.3f} nats per token at update 2" in warning
    assert colocated["corrected"]["warnings"] == colocated["uncorrected"]["warnings"] == []


def test_another_seed_draws_other_rollouts(colocated):
    first = [colocated[name]["rollouts"][0] for name in ("corrected", "uncorrected", "other-seed")]
    assert first[0] == first[1]
    assert first[0] != first[2]


def test_the_command_trains_with_vllm_and_keeps_its_rollouts(colocated):
    found, rows = colocated["command"], colocated["rows"]
    assert [greedy["engine"] for greedy in found["greedy"]] == [
        greedy["trainer"] for greedy in found["greedy"]
    ]
    assert {kind for kind, _ in passes(found, 2, 3)} == {"prompt"}
    sampled = [ids for batch in found["rollouts"] for ids in batch]
    assert sorted(row["token_ids"] for row in rows) == sorted(sampled)
    assert {row["step"] for row in rows} == {1, 2, 3, 4}
    assert {row["status"] for row in rows} >= {"correct", "wrong"}


def test_a_rollout_of_vllm_ends_at_every_stop_id_of_the_model(colocated):
    """config.json names HMM as a stop id, generation_config.json and tokenizer do not."""
    rows = colocated["rows"]
    ends = [[place for place, number in enumerate(row["token_ids"]) if number in (EOS, HMM)] for row in rows]
    assert any(row["token_ids"][-1] == HMM for row in rows)
    for row, places in zip(rows, ends, strict=True):
        assert places in ([], [row["tokens"] - 1])
        assert row["finish_reason"] == ("stop" if places else "length")


def test_the_command_evaluates_with_the_trainings_vllm(colocated):
    evals = journal.read(colocated["run"] / "evals.jsonl")
    assert [entry["step"] for entry in evals] == [0, 2, 4]
    for entry in evals:
        folder = colocated["run"] / "evals" / f"step-{entry['step']}"
        rows = read_samples(folder).to_pylist()
        assert len(rows) == 12
        right = sum(row["status"] == "correct" for row in rows)
        assert entry["evals"]["countdown"]["avg"] == pytest.approx(right / 12)
