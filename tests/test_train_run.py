"""`prerl-train` as a user runs it, on the shipped base model: killed and resumed it is the same run."""

import os
import signal
import subprocess
import sys
import time

import pyarrow.compute as pc
import pytest
from safetensors.numpy import load_file

from prerl_eval import store
from prerl_train.settings import OPTIONS, TrainSettings
from prerl_train.train import train
from tests.conftest import REPO

STEPS = 6
DSRL = ("dsrl", "--warmup-steps", "3", "--save-every", "2", "--steps", STEPS)
SMALL = (
    *("--model", REPO / "results" / "base-nano", "--data", "countdown", "--engine", "transformers"),
    *("--prompts-per-step", "8", "--samples-per-prompt", "8", "--max-tokens", "48"),
    *("--lr", "1e-3", "--workers", "1", "--threads", "1"),
)


def start(*arguments, out, cwd):
    command = [sys.executable, "-m", "prerl_train", arguments[0], *SMALL, *arguments[1:], "--out", out]
    return subprocess.Popen(
        list(map(str, command)), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, err = finish(start(*DSRL, out="run", cwd=folder))
    assert code == 0, err
    assert out == "run\n"
    return folder / "run"


def weights(run, step=STEPS):
    return load_file(run / f"checkpoint-{step}" / "model.safetensors")


def same_weights(first, second):
    return first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


def rollouts(run):
    columns = ["step", "problem_id", "sample_index", "completion", "status", "seed"]
    return store.read_samples(run, columns).sort_by([(name, "ascending") for name in columns[:3]])


def test_a_run_killed_in_the_warm_up_goes_on_as_if_nothing_had_happened(undisturbed, tmp_path):
    run = tmp_path / "run"
    victim = start(*DSRL, out="run", cwd=tmp_path)
    wait_for(run / "checkpoint-2", victim)
    os.kill(victim.pid, signal.SIGKILL)
    assert finish(victim)[0] == -signal.SIGKILL
    assert not (run / f"checkpoint-{STEPS}").exists()

    code, _, err = finish(start(*DSRL, out="run", cwd=tmp_path))
    assert code == 0, err
    assert f"{STEPS} updates, {STEPS} to go" not in err
    assert same_weights(weights(run), weights(undisturbed))
    assert rollouts(run).equals(rollouts(undisturbed))
    assert len(store.read_record(run)["sessions"]) == 2


def test_the_run_folder_says_what_was_done(undisturbed):
    record = store.read_record(undisturbed)
    assert (record["kind"], record["settings"]["algorithm"]) == ("training", "dsrl")
    assert record["sessions"][0]["engine"]["parameters"] == 608192
    assert {"trl", "torch", "transformers"} <= set(record["sessions"][0]["versions"])
    rows = rollouts(undisturbed)
    assert pc.unique(rows["step"]).to_pylist() == list(range(1, STEPS + 1))
    assert not same_weights(weights(undisturbed, 2), weights(undisturbed, 4))


def test_a_finished_run_says_so_and_more_steps_go_on_in_it(undisturbed, capsys):
    settings = store.read_record(undisturbed)["settings"]
    chosen = {name: settings[name] for name in OPTIONS if name not in ("out", "recipe")}
    finished = TrainSettings(algorithm="dsrl", out=undisturbed, **chosen)
    assert train(finished) == undisturbed
    assert capsys.readouterr().err == f"{undisturbed}: {STEPS} updates, 0 to go\n"

    code, _, err = finish(start(*DSRL[:-1], STEPS + 2, out="run", cwd=undisturbed.parent))
    assert code == 0
    assert f"{STEPS + 2} updates, 2 to go" in err
    assert pc.max(rollouts(undisturbed)["step"]).as_py() == STEPS + 2


def test_sigterm_stores_what_is_there_and_leaves_no_half_checkpoint(tmp_path):
    run = tmp_path / "run"
    process = start("grpo", "--steps", "50", "--save-every", "2", out="run", cwd=tmp_path)
    wait_for(run / "checkpoint-2", process)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 143
    assert "Traceback" not in err
    assert pc.max(rollouts(run)["step"]).as_py() >= 2
    assert list(run.glob(".partial-*")) == []


def test_a_model_that_is_never_right_stops_with_what_to_look_at(tmp_path, tiny_model):
    arguments = ("nsr-prerl", "--steps", "2", "--max-draws", "2", "--model", tiny_model)
    code, _, err = finish(start(*arguments, out="run", cwd=tmp_path))
    assert code == 1
    assert "prerl-train: update 1: none of 2 rollout batches had a sample that contributes" in err
