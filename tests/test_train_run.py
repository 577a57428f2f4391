"""`prerl-train` as a user runs it, on the shipped base model: killed and resumed it is the same run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy
import pyarrow.compute as pc
import pytest
import torch
from safetensors.numpy import load_file

from prerl_eval import store
from prerl_eval.errors import RunStopped
from prerl_eval.plan import RunOptions
from prerl_eval.run import evaluate
from prerl_eval.run_record import read_record
from prerl_train import journal
from prerl_train.arguments import Machine
from prerl_train.checkpoints import latest_complete
from prerl_train.settings import OPTIONS, TrainSettings
from prerl_train.train import explaining_full_memory, train
from tests.conftest import REPO

STEPS = 6
DSRL = ("dsrl", "--warmup-steps", "3", "--save-every", "2", "--steps", STEPS)
EVALUATED = ("--eval-bench", "countdown", "--eval-every", "4", "--eval-n", "2", "--eval-limit", "5")
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
    code, out, err = finish(start(*DSRL, *EVALUATED, out="run", cwd=folder))
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


def metrics(run):
    """metrics.jsonl without what a clock says."""
    timed = ("seconds", "tokens_per_second", "time")
    lines = journal.read(run / "metrics.jsonl")
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def test_a_run_killed_in_the_warm_up_goes_on_as_if_nothing_had_happened(undisturbed, tmp_path):
    # Nor is it evaluated, as the other is: evaluating changes nothing either.
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
    assert metrics(run) == metrics(undisturbed)
    assert [line["phase"] for line in metrics(run)] == ["prerl"] * 3 + ["rl"] * 3
    assert len(read_record(run)["sessions"]) == 2


def test_the_run_folder_says_what_was_done(undisturbed):
    record = read_record(undisturbed)
    assert (record["kind"], record["settings"]["algorithm"]) == ("training", "dsrl")
    assert record["sessions"][0]["engine"]["parameters"] == 608192
    assert {"trl", "torch", "transformers"} <= set(record["sessions"][0]["versions"])
    rows = rollouts(undisturbed)
    assert pc.unique(rows["step"]).to_pylist() == list(range(1, STEPS + 1))
    assert not same_weights(weights(undisturbed, 2), weights(undisturbed, 4))


def test_a_finished_run_says_so_and_more_steps_go_on_in_it(undisturbed, tmp_path, capsys):
    settings = read_record(undisturbed)["settings"]
    chosen = {name: settings[name] for name in OPTIONS if name not in ("out", "eval_bench")}
    finished = TrainSettings(algorithm="dsrl", out=undisturbed, **chosen)
    assert train(finished) == undisturbed
    assert capsys.readouterr().err == f"{undisturbed}: {STEPS} updates, 0 to go\n"

    longer = shutil.copytree(undisturbed, tmp_path / "run")
    code, _, err = finish(start(*DSRL[:-1], STEPS + 2, out="run", cwd=tmp_path))
    assert code == 0, err
    assert f"{STEPS + 2} updates, 2 to go" in err
    assert pc.unique(rollouts(longer)["step"]).to_pylist() == list(range(1, STEPS + 3))
    assert metrics(longer)[:STEPS] == metrics(undisturbed)


def test_sigterm_stores_what_is_there_and_leaves_no_half_checkpoint(tmp_path):
    run = tmp_path / "run"
    process = start("grpo", "--steps", "50", "--save-every", "2", out="run", cwd=tmp_path)
    wait_for(run / "checkpoint-2", process)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 143
    assert "Traceback" not in err
    assert pc.max(rollouts(run)["step"]).as_py() >= len(metrics(run)) >= 2
    assert latest_complete(run) == max(run.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(undisturbed, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, *map(str, ("-m", "prerl_train", DSRL[0], *SMALL, *DSRL[1:], "--out", "run"))],
        cwd=tmp_path, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run\n"
    run = tmp_path / "run"
    assert read_record(run)["sessions"][0]["engine"]["processes"] == 2
    assert (run / f"checkpoint-{STEPS}" / "rng_state_1.pth").is_file()
    assert rollouts(run).equals(rollouts(undisturbed))
    for name, tensor in weights(undisturbed).items():
        numpy.testing.assert_allclose(weights(run)[name], tensor, rtol=0, atol=1e-5)


def test_an_evaluation_samples_what_the_checkpoint_would(undisturbed, tmp_path):
    entries = journal.read(undisturbed / "evals.jsonl")
    assert [entry["step"] for entry in entries] == [0, 4, STEPS]
    assert {"avg", "pass_k"} <= set(entries[0]["evals"]["countdown"])
    checkpoint = str(undisturbed / "checkpoint-4")
    evaluate(RunOptions(ckpt=[checkpoint], bench=["countdown"], n=2, limit=5, out=tmp_path / "alone"))

    def sampled(folder):
        columns = ["problem_id", "sample_index", "completion"]
        return store.read_samples(folder, columns).sort_by([(name, "ascending") for name in columns])

    assert sampled(undisturbed / "evals" / "step-4").equals(sampled(tmp_path / "alone"))


def test_a_full_gpu_says_what_to_lower(undisturbed):
    chosen = {name: value for name, value in read_record(undisturbed)["settings"].items() if name in OPTIONS}
    plan = SimpleNamespace(
        settings=TrainSettings(algorithm="dsrl", **chosen),
        machine=Machine(device="cuda"), engine="vllm", longest_prompt=20, folder=SimpleNamespace(path="RUN"),
    )  # fmt: skip
    with pytest.raises(RunStopped) as caught, explaining_full_memory(plan):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert str(caught.value).startswith(
        "RUN: the GPU is full; run the same command with --micro-batch 32 (now 64) or "
        "--gradient-checkpointing or --vllm-memory below 0.3, else take --max-tokens below 48"
    )


def test_a_model_that_is_never_right_stops_with_what_to_look_at(tmp_path, tiny_model):
    arguments = ("nsr-prerl", "--steps", "2", "--max-draws", "2", "--model", tiny_model)
    code, _, err = finish(start(*arguments, out="run", cwd=tmp_path))
    assert code == 1
    assert "contributes to nsr-prerl (groups all right or all wrong)" in err
    assert "Traceback" not in err


def test_an_adapter_for_no_module_is_refused_before_anything_is_written(tmp_path, tiny_model):
    arguments = ("grpo", "--model", tiny_model, "--lora-rank", "2", "--lora-targets", "q_prj")
    code, _, err = finish(start(*arguments, out="run", cwd=tmp_path))
    assert code == 2
    assert "--lora-targets q_prj: " in err
    assert "did you mean 'q_proj'?" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "run.json").exists()
