"""Checkpoints: whole or not there, chosen rightly, and resumed from bit by bit."""

import json
import os
import subprocess
import sys

import pytest

from prerl_eval.checkpoint import open_checkpoint
from prerl_eval.errors import UserError
from prerl_train.checkpoints import clear_partial, latest_checkpoint, rotate
from prerl_train.manifest import MANIFEST
from tests.conftest import REPO
from tests.tiny import save_model

STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def write_checkpoint(run, step, files=("model.safetensors", *STATE), **changes):
    """A checkpoint-N of ten bytes per file, with its manifest."""
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_bytes(b"0123456789")
    record = {"step": step, "world_size": 1, "resumable": True, "files": dict.fromkeys(files, 10)} | changes
    (folder / MANIFEST).write_text(json.dumps(record))
    return folder


def assert_whole(checkpoint):
    """Every file that the manifest names is there in full, and the weights can be read."""
    from safetensors.torch import load_file

    files = json.loads((checkpoint / MANIFEST).read_text())["files"]
    assert {"model.safetensors", *STATE} <= files.keys()
    assert {name: (checkpoint / name).stat().st_size for name in files} == files
    assert len(load_file(checkpoint / "model.safetensors")) > 10


def run_saving(kind, model, out):
    # Not our warnings: a process that is forked on purpose.
    command = [sys.executable, "-W", "ignore", "-m", "tests.saving", kind, str(model), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, env={**os.environ})
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """Six updates, undisturbed, with checkpoints at 3 and 6; the run and its trainer."""
    from tests.saving import make_trainer

    run = tmp_path_factory.mktemp("trained") / "run"
    trainer = make_trainer(tiny_model, run)
    trainer.train()
    return run, trainer


def test_a_stopped_and_resumed_run_ends_bitwise_as_an_undisturbed_one(tiny_model, trained, tmp_path):
    import torch
    from transformers import TrainerCallback

    from tests.saving import make_trainer

    class Stop(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 4:
                raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tiny_model, run, callbacks=[Stop()]).train()
    assert [path.name for path in run.iterdir()] == ["checkpoint-3"]
    trainer = make_trainer(tiny_model, run)
    trainer.train(resume_from_checkpoint=True)
    ends = [folder / "checkpoint-6" for folder in (trained[0], run)]
    assert len({(end / "model.safetensors").read_bytes() for end in ends}) == 1
    assert (ends[0] / "model.safetensors").read_bytes() != (
        ends[0].with_name("checkpoint-3") / "model.safetensors"
    ).read_bytes()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        one, other = (torch.load(end / name, weights_only=False) for end in ends)
        assert _plain(one) == _plain(other), name
    states = [json.loads((end / "trainer_state.json").read_text()) for end in ends]
    assert [state["global_step"] for state in states] == [6, 6]


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


def test_a_checkpoint_is_complete_and_nothing_else_is_left_in_the_run(trained):
    run, _ = trained
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-3", "checkpoint-6"]
    for checkpoint in run.iterdir():
        assert_whole(checkpoint)
    record = json.loads((run / "checkpoint-3" / MANIFEST).read_text())
    assert (record["step"], record["world_size"]) == (3, 1)
    assert record["versions"]["torch"]
    assert latest_checkpoint(run) == run / "checkpoint-6"


def test_a_checkpoint_loads_as_the_model_that_was_trained(trained):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, trainer = trained
    loaded = AutoModelForCausalLM.from_pretrained(run / "checkpoint-6").state_dict()
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(loaded[name], weight), name
    tokenizer = AutoTokenizer.from_pretrained(run / "checkpoint-6")
    assert tokenizer("make 7").input_ids == trainer.processing_class("make 7").input_ids
    assert open_checkpoint(str(run / "checkpoint-6")).name == "run-checkpoint-6"


def test_token_ids_and_sampling_suggestions_stay_those_of_the_source(tmp_path):
    from tests.saving import make_trainer, save

    source = save_model(tmp_path / "source")
    # As Qwen3: the config has a start token, the tokenizer none, and two ids end a text.
    tokenizer = json.loads((source / "tokenizer_config.json").read_text())
    del tokenizer["bos_token"]
    (source / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    suggested = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "bos_token_id": 1}
    generation = {**suggested, "eos_token_id": [2, 7]}
    (source / "generation_config.json").write_text(json.dumps(generation))
    trainer = make_trainer(source, tmp_path / "run", steps=1, save_steps=1)
    trainer.train()
    assert trainer.model.config.bos_token_id is None  # what HF's Trainer does, and why this test is here
    saved = tmp_path / "run/checkpoint-1"
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (source, saved))
    assert after == before
    assert after["use_cache"] is True
    written = json.loads((saved / "generation_config.json").read_text())
    assert {key: written[key] for key in generation} == generation
    assert open_checkpoint(str(saved)).stop_ids().used == open_checkpoint(str(source)).stop_ids().used
    # Training goes on with what it had.
    assert trainer.model.config.use_cache is False
    save(trainer, 2)
    assert trainer.model.config.bos_token_id is None


def test_a_generation_config_that_could_not_be_saved_is_refused_before_training(tmp_path):
    from tests.saving import make_trainer

    source = save_model(tmp_path / "source")
    (source / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.6}')
    with pytest.raises(UserError, match=r"generation_config.json of .*source contradicts itself"):
        make_trainer(source, tmp_path / "run")


def test_a_checkpoint_of_a_lora_run_is_an_adapter_of_its_base(tiny_model, tmp_path):
    from peft import LoraConfig

    from tests.saving import make_trainer

    lora = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    make_trainer(tiny_model, tmp_path / "run", steps=1, save_steps=1, peft_config=lora).train()
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert open_checkpoint(str(checkpoint)).base_path == tiny_model
    assert (checkpoint / "optimizer.pt").stat().st_size < (tiny_model / "model.safetensors").stat().st_size


def test_hooks_run_before_and_inside_a_checkpoint(tiny_model, tmp_path):
    from tests.saving import make_trainer, save

    trainer = make_trainer(tiny_model, tmp_path / "run", steps=1, save_strategy="no")
    trainer.train()
    seen = []
    trainer.before_checkpoint.append(lambda: seen.append(sorted((tmp_path / "run").iterdir())))
    trainer.extra_writers.append(lambda folder: (folder / "critic.bin").write_bytes(b"12345"))
    save(trainer, 1)
    assert seen == [[]]
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert (checkpoint / "critic.bin").read_bytes() == b"12345"
    assert json.loads((checkpoint / MANIFEST).read_text())["files"]["critic.bin"] == 5
    assert_whole(checkpoint)


def test_the_best_checkpoint_is_named_by_its_final_place_and_not_rotated_away(tiny_model, tmp_path):
    from tests.saving import make_trainer, save

    trainer = make_trainer(tiny_model, tmp_path / "run", steps=1, save_total_limit=1)
    trainer.create_optimizer_and_scheduler(1)
    trainer.state.best_global_step = 1
    for step in (1, 2, 3):
        save(trainer, step)
    best = tmp_path / "run/checkpoint-1"
    assert trainer.state.best_model_checkpoint == str(best)
    assert json.loads((best / "trainer_state.json").read_text())["best_model_checkpoint"] == str(best)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint-1", "checkpoint-3"]


def test_resuming_where_nothing_was_saved_is_the_users_mistake(tiny_model, tmp_path):
    from tests.saving import make_trainer

    with pytest.raises(UserError, match="holds no complete checkpoint"):
        make_trainer(tiny_model, tmp_path / "run").train(resume_from_checkpoint=True)


@pytest.fixture(scope="module")
def broken_saves(tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("broken")
    run_saving("kills", tiny_model, out)
    return out


@pytest.mark.slow
def test_a_kill_at_any_file_operation_leaves_whole_checkpoints_only(broken_saves):
    runs = sorted(broken_saves.glob("kill-*")) + sorted(broken_saves.glob("timed-*"))
    left_behind = {name[:10] for run in runs for name in os.listdir(run)}
    assert {".partial-2", ".partial-c", ".replaced-"} <= left_behind  # the kills hit every stage
    for run in runs:
        before = latest_checkpoint(run)
        clear_partial(run)
        assert sorted(path.name[:11] for path in run.iterdir())[0] == "checkpoint-"
        for checkpoint in run.iterdir():
            assert_whole(checkpoint)
        found = latest_checkpoint(run)
        assert found is not None, f"{run}: no checkpoint survived"
        assert before in (found, None)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(broken_saves):
    runs = sorted(broken_saves.glob("limit-*"))
    assert len(runs) == 2
    for run in runs:
        message = (run / "message").read_text()
        assert f"cannot write {run}/checkpoint-2" in message
        assert f"last good checkpoint is {run}/checkpoint-1" in message
        assert sorted(os.listdir(run)) == ["checkpoint-1", "message"]


def test_two_processes_save_and_resume_one_checkpoint(tiny_model, tmp_path):
    run_saving("ranks", tiny_model, tmp_path)
    whole, resumed = (tmp_path / name / "checkpoint-4" for name in ("whole", "resumed"))
    files = json.loads((whole / MANIFEST).read_text())["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt", "model.safetensors"} <= files.keys()
    evaluated = (tmp_path / "whole/evals.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in evaluated] == [0, 2, 4]
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    assert latest_checkpoint(tmp_path / "whole", world_size=2) == whole
    with pytest.raises(UserError, match="saved by 2 processes, this run has 1; start 2"):
        latest_checkpoint(tmp_path / "whole")


def test_the_newest_checkpoint_is_the_one_of_most_updates(tmp_path):
    for step in (9, 100, 20):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert latest_checkpoint(tmp_path / "new") is None


@pytest.mark.parametrize("torn", ["no manifest", "half a manifest", "short file", "changed byte"])
def test_a_torn_checkpoint_is_skipped_with_one_line(tmp_path, capsys, torn):
    write_checkpoint(tmp_path, 3)
    # CRC-32 of "0123456789" by gzip.
    newest = write_checkpoint(tmp_path, 6, crc32={"model.safetensors": 0xA684C7C6})
    if torn == "no manifest":
        (newest / MANIFEST).unlink()
    elif torn == "half a manifest":
        (newest / MANIFEST).write_text((newest / MANIFEST).read_text()[:30])
    elif torn == "changed byte":
        assert latest_checkpoint(tmp_path) == newest
        (newest / "model.safetensors").write_bytes(b"0123466789")
    else:
        (newest / "optimizer.pt").write_bytes(b"0123")
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {newest} is torn (")
    assert ("optimizer.pt has 4 of 10 bytes" in line) == (torn == "short file")
    assert ("model.safetensors holds other bytes than were written" in line) == (torn == "changed byte")


@pytest.mark.parametrize("name", [*STATE, "model.safetensors"])
def test_a_removed_file_is_an_error_that_names_it(tmp_path, name):
    write_checkpoint(tmp_path, 3)
    (write_checkpoint(tmp_path, 6) / name).unlink()
    with pytest.raises(UserError, match=rf"checkpoint-6 lacks {name}.*put it back, or remove the folder"):
        latest_checkpoint(tmp_path)


def test_the_number_of_processes_comes_from_the_launcher(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, 3, world_size=4)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="saved by 4 processes, this run has 2; start 4"):
        latest_checkpoint(tmp_path)


def test_a_checkpoint_without_optimizer_is_no_place_to_resume_from(tmp_path):
    write_checkpoint(tmp_path, 3, files=("model.safetensors",), resumable=False)
    with pytest.raises(UserError, match="saved without optimizer"):
        latest_checkpoint(tmp_path)


def test_rotation_counts_and_deletes_whole_checkpoints_only(tmp_path):
    for step in (1, 2, 3, 4, 5):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-1" / MANIFEST).unlink()  # somebody else's
    (tmp_path / "checkpoint-5" / "optimizer.pt").write_bytes(b"")  # torn: nothing to resume from
    rotate(tmp_path, 2, {tmp_path / "checkpoint-4"})
    assert _steps(tmp_path) == [1, 3, 4, 5]
    rotate(tmp_path, 1, set())
    assert _steps(tmp_path) == [1, 4, 5]
    rotate(tmp_path, None, set())
    rotate(tmp_path, 0, set())
    assert _steps(tmp_path) == [1, 4, 5]


def test_rotation_spares_what_was_just_saved_below_an_older_runs_checkpoint(tmp_path):
    for step in (3, 6, 30):
        write_checkpoint(tmp_path, step)
    rotate(tmp_path, 1, {tmp_path / "checkpoint-6"})
    assert _steps(tmp_path) == [6, 30]


def _steps(run):
    assert all(path.name.startswith("checkpoint-") for path in run.iterdir())
    return sorted(int(path.name.partition("-")[2]) for path in run.iterdir())


def test_what_a_kill_left_is_cleared_and_a_replaced_checkpoint_comes_back(tmp_path):
    write_checkpoint(tmp_path, 3)
    write_checkpoint(tmp_path / ".partial-6", 6)
    write_checkpoint(tmp_path, 9).rename(tmp_path / ".replaced-9")
    write_checkpoint(tmp_path, 12).rename(tmp_path / ".replaced-12")
    write_checkpoint(tmp_path, 12)
    clear_partial(tmp_path)
    assert _steps(tmp_path) == [3, 9, 12]
    clear_partial(tmp_path / "new")
