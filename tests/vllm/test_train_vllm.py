"""DSRL with real vLLM (its CPU build) through the phase switch, in the trainer's process and as a server.

2 warm-up updates and 2 of RL on a tiny float32 model; tests/vllm/training.py does the runs.
"""

import json
import subprocess
import sys

import pytest

from tests.conftest import REPO

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
    return train(tiny_model, out, "corrected", "uncorrected", "other-seed", "stale")


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
    one_by_one = [json.dumps(found["engine"]) for found in run["greedy"]]
    assert len(set(one_by_one)) == len(one_by_one) == 4  # every update moved the weights


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


def test_weights_that_never_arrive_show_at_the_second_update(colocated):
    run = colocated["stale"]
    assert [found["engine"] for found in run["greedy"]] == [run["greedy"][0]["engine"]] * 4
    assert gaps(run)[0] < SAME
    assert min(gaps(run)[1:]) > 0.1


def test_another_seed_draws_other_rollouts(colocated):
    first = [colocated[name]["rollouts"][0] for name in ("corrected", "uncorrected", "other-seed")]
    assert first[0] == first[1]
    assert first[0] != first[2]
