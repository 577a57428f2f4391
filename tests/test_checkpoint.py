"""Checkpoints: real tiny ones opened, and broken ones refused in one line before anything loads."""

import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from prerl_eval.checkpoint import Checkpoint, expand_checkpoints, open_checkpoint, remote_checkpoint
from prerl_eval.errors import UserError
from prerl_eval.weights import fingerprint, read_header
from tests.tiny import SPECIAL, WORDS, other_model, save_tokenizer, tiny_adapter, tiny_model

__all__ = ["other_model", "tiny_adapter", "tiny_model"]  # fixtures


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "run" / "model-x"))


def edit(file: Path, **keys: object) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    content.update(keys)
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def refusal(ref: Path | str) -> str:
    with pytest.raises(UserError) as error:
        open_checkpoint(str(ref))
    message = str(error.value)
    assert "\n" not in message
    return message


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return folder


def test_a_model_folder_opens(tiny_model):
    checkpoint = open_checkpoint(str(tiny_model))
    assert (checkpoint.name, checkpoint.path, checkpoint.base) == ("tiny-a", tiny_model, None)
    assert checkpoint.tokenizer_path == tiny_model
    assert checkpoint.context_length == 512
    assert checkpoint.tokenizer_files.size == len(SPECIAL) + 1 + len(WORDS)
    assert checkpoint.tokenizer_files.special_id("bos_token") == 1
    json.dumps(checkpoint.describe())


def test_opening_imports_nothing_heavy(tiny_model):
    code = (
        "import sys; from prerl_eval.checkpoint import open_checkpoint as o;"
        f"c = o({str(tiny_model)!r}); c.stop_ids(); c.fingerprint;"
        "print([m for m in ('torch', 'transformers', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_adapter_stands_on_its_base(tiny_adapter, tiny_model):
    checkpoint = open_checkpoint(str(tiny_adapter))
    assert checkpoint.name == "tiny-lora"
    assert checkpoint.path == tiny_adapter
    assert checkpoint.base_path == tiny_model
    assert checkpoint.tokenizer_path == tiny_model
    assert checkpoint.context_length == 512
    assert checkpoint.stop_ids().used == (2,)
    assert checkpoint.fingerprint != checkpoint.base.fingerprint


def test_an_adapter_prefers_its_own_tokenizer(tiny_adapter, tmp_path):
    adapter = Path(shutil.copytree(tiny_adapter, tmp_path / "adapter"))
    save_tokenizer(adapter)
    assert open_checkpoint(str(adapter)).tokenizer_path == adapter


def test_an_adapter_without_a_base_is_refused(tiny_adapter, tmp_path):
    adapter = Path(shutil.copytree(tiny_adapter, tmp_path / "adapter"))
    edit(adapter / "adapter_config.json", base_model_name_or_path="/nowhere/base")
    assert refusal(adapter).startswith(f"base model of the adapter {adapter}: no checkpoint at /nowhere/base")
    edit(adapter / "adapter_config.json", base_model_name_or_path="")
    assert "names no base_model_name_or_path" in refusal(adapter)


def test_an_adapter_that_stands_on_itself_is_refused(tiny_adapter, tmp_path):
    mine = Path(shutil.copytree(tiny_adapter, tmp_path / "adapter"))
    edit(mine / "adapter_config.json", base_model_name_or_path=str(mine))
    assert "names itself as base model" in refusal(mine)


def test_a_remote_model_has_a_name_and_nothing_else():
    checkpoint = remote_checkpoint("Qwen/Qwen3-4B")
    assert (checkpoint.name, checkpoint.path, checkpoint.fingerprint) == (
        "Qwen3-4B",
        None,
        "remote:Qwen/Qwen3-4B",
    )
    assert checkpoint.stop_ids().used == ()
    assert checkpoint.context_length is None
    assert checkpoint.generation_defaults() == {}
    json.dumps(checkpoint.describe())


def test_missing_places(tmp_path):
    assert refusal(tmp_path / "nowhere").startswith(
        f"no checkpoint at {tmp_path}/nowhere; give a folder, or a hub id"
    )
    file = touch(tmp_path, "model.safetensors") / "model.safetensors"
    assert "is a file; give the folder" in refusal(file)
    assert f"no config.json in {tmp_path}" in refusal(tmp_path)


def test_an_unreachable_hub_is_one_line():
    message = refusal("some-org/some-model")  # conftest switches the hub off
    assert message.startswith("no folder some-org/some-model here, and the hub has no such model for you")


@pytest.mark.parametrize("ref", ["~nobody-of-that-name/model", "org/a--b", "org/a..b"])
def test_refs_that_neither_system_takes(ref):
    assert ref in refusal(ref)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_config_that_is_no_json_object(model, content):
    (model / "config.json").write_text(content)
    assert f"{model}/config.json" in refusal(model)


def test_not_a_language_model(model):
    edit(model / "config.json", architectures=["BertForSequenceClassification"])
    assert "is a BertForSequenceClassification; give a causal language model" in refusal(model)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_cut_off_weights(model, keep):
    file = model / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    assert re.search(r"model\.safetensors is (corrupt or cut off|cut off or damaged)", refusal(model))


def test_weights_with_a_broken_header(model):
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"notjson!")
    assert "its header is not readable" in refusal(model)
    (model / "model.safetensors").write_bytes(b"<html>404 not found</html>")
    assert "corrupt or cut off" in refusal(model)


def test_shards_of_an_index(model):
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    shutil.copy(model / "model-00001-of-00002.safetensors", model / "model-00002-of-00002.safetensors")
    index = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    edit(model / "model.safetensors.index.json", weight_map=index)
    assert open_checkpoint(str(model)).name == "model-x"
    (model / "model-00002-of-00002.safetensors").unlink()
    message = refusal(model)
    assert "1 of 2 weight files are missing (first: model-00002-of-00002.safetensors)" in message
    (model / "model.safetensors.index.json").write_text("{}")
    assert "is not a weight index" in refusal(model)


def test_torch_files_are_accepted_when_whole(model):
    (model / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1000)}, model / "pytorch_model.bin")
    whole = (model / "pytorch_model.bin").read_bytes()
    assert open_checkpoint(str(model)).name == "model-x"
    (model / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    assert "pytorch_model.bin is corrupt or cut off" in refusal(model)


def test_no_weights(model):
    (model / "model.safetensors").unlink()
    assert refusal(model) == f"no model.safetensors in {model}; give the folder that save_pretrained wrote"


def test_no_tokenizer(model):
    (model / "tokenizer.json").unlink()
    assert refusal(model).startswith(f"no tokenizer in {model}; copy tokenizer.json")


def test_a_broken_tokenizer(model):
    (model / "tokenizer.json").write_text('{"model": {}}')
    assert "tokenizer.json is no tokenizer file" in refusal(model)


@pytest.mark.parametrize("decoder", [["</s>"], {"two": {"content": "</s>"}}])
def test_token_ids_that_are_no_numbers(model, decoder):
    edit(model / "tokenizer_config.json", added_tokens_decoder=decoder)
    assert "ids that are no numbers" in refusal(model)


def test_stop_ids_that_are_no_numbers(model):
    edit(model / "generation_config.json", eos_token_id=[2, "</s>"])
    with pytest.raises(UserError, match=r"eos_token_id = \[2, '</s>'\]"):
        open_checkpoint(str(model)).stop_ids()


def test_a_vocabulary_larger_than_the_embedding(model):
    save_tokenizer(model, [*WORDS, "one", "more"])
    size = len(SPECIAL) + 1 + len(WORDS)
    message = refusal(model)
    assert f"the tokenizer has ids up to {size + 1}, the model only {size} embeddings" in message


def test_a_config_that_disagrees_with_the_embedding(model):
    edit(model / "config.json", vocab_size=1000)
    assert "config.json says vocab_size 1000, the embedding has" in refusal(model)


def test_a_vocabulary_smaller_than_the_embedding_is_padding(model):
    save_tokenizer(model, WORDS[:-5])
    assert open_checkpoint(str(model)).name == "model-x"


@pytest.mark.parametrize(
    ("names", "opened", "command"),
    [
        (
            ["actor/model_world_size_8_rank_0.pt", "actor/huggingface/config.json"],
            "",
            "python -m verl.model_merger merge --backend fsdp --local_dir {0}/actor --target_dir {0}-merged",
        ),
        (
            ["actor/model_world_size_8_rank_0.pt", "actor/huggingface/config.json"],
            "actor/huggingface",
            "python -m verl.model_merger merge --backend fsdp --local_dir {0}/actor "
            "--target_dir {0}/actor/huggingface-merged",
        ),
        (
            ["actor/dist_ckpt/common.pt"],
            "actor",
            "python -m verl.model_merger merge --backend megatron --local_dir {0}/actor "
            "--target_dir {0}/actor-merged",
        ),
        (
            ["zero_to_fp32.py", "latest", "global_step50/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"],
            "",
            "python {0}/zero_to_fp32.py {0} {0}-merged --safe_serialization",
        ),
        (
            ["global_step50/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"],
            "global_step50",
            "python {0}/zero_to_fp32.py {0} {0}/global_step50-merged --safe_serialization",
        ),
        (
            ["pytorch_model_fsdp_0/__0_0.distcp", "config.json"],
            "",
            "accelerate merge-weights {0}/pytorch_model_fsdp_0 {0}-merged",
        ),
        (["__0_0.distcp", ".metadata"], "", "accelerate merge-weights {0} {0}-merged"),
        (
            ["iter_0000100/mp_rank_00/model_optim_rng.pt"],
            "iter_0000100",
            "python examples/conversion/convert_checkpoints.py export --hf-model BASE "
            "--megatron-path {0}/iter_0000100 --hf-path {0}/iter_0000100-merged (of Megatron-Bridge)",
        ),
    ],
)  # fmt: skip
def test_training_shards_name_their_merge_command(tmp_path, names, opened, command):
    step = touch(tmp_path / "run" / "global_step_50", *names)
    for config in step.rglob("config.json"):
        config.write_text("{}")
    message = refusal(step / opened)
    assert "holds a trainer's shards, not a model; merge them first: " in message
    assert message.endswith(command.format(step))


def test_a_folder_of_checkpoints_is_a_series(tiny_model, other_model, tmp_path):
    run = tmp_path / "my-run"
    for step, source in ((100, tiny_model), (20, other_model), (3, tiny_model)):
        shutil.copytree(source, run / f"checkpoint-{step}")
    touch(run, "trainer_state.json", "logs/events")
    series = expand_checkpoints([str(run), str(other_model)])
    names = ["my-run-checkpoint-3", "my-run-checkpoint-20", "my-run-checkpoint-100", "tiny-b"]
    assert [checkpoint.name for checkpoint in series] == names
    shutil.copytree(tiny_model, run, dirs_exist_ok=True)
    assert [checkpoint.name for checkpoint in expand_checkpoints([str(run)])] == ["my-run"]


def test_two_checkpoints_of_one_name(tiny_model):
    with pytest.raises(UserError, match="two checkpoints are called 'tiny-a'"):
        expand_checkpoints([str(tiny_model), str(tiny_model)])
    with pytest.raises(UserError, match="no checkpoint given"):
        expand_checkpoints([])


def test_names_take_parents_that_say_more(tiny_model, tmp_path):
    step = Path(shutil.copytree(tiny_model, tmp_path / "exp7" / "global_step_50" / "actor" / "merged"))
    assert open_checkpoint(str(step)).name == "exp7-global_step_50-actor-merged"


def test_the_fingerprint_follows_the_weights_not_the_place(tiny_model, other_model, model):
    first = open_checkpoint(str(tiny_model)).fingerprint
    assert open_checkpoint(str(model)).fingerprint == first
    assert open_checkpoint(str(other_model)).fingerprint != first
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert open_checkpoint(str(model)).fingerprint != first


def test_an_update_of_a_large_file_is_noticed(tmp_path):
    """40 MiB, of which an update leaves the first and last quarter as they were."""
    file = tmp_path / "model.safetensors"
    content = bytearray(40 << 20)
    file.write_bytes(content)
    before = fingerprint([file])
    content[10 << 20 : 30 << 20] = b"\x01" * (20 << 20)
    file.write_bytes(content)
    assert fingerprint([file]) != before


def test_a_header_says_what_is_inside(tiny_model):
    header = read_header(tiny_model / "model.safetensors")
    assert header["model.embed_tokens.weight"]["shape"] == [len(SPECIAL) + 1 + len(WORDS), 32]
    assert "__metadata__" not in header


def test_stop_ids_of_all_files_are_used_and_differences_named(model):
    edit(model / "config.json", eos_token_id=2)
    edit(model / "generation_config.json", eos_token_id=[4, 2])
    stop = open_checkpoint(str(model)).stop_ids()
    assert stop.sources == {"config.json": (2,), "generation_config.json": (4, 2), "tokenizer": (2,)}
    assert stop.used == (2, 4)
    assert stop.disagreements == (
        "stop ids differ (config.json: 2; generation_config.json: 4, 2; tokenizer: 2); "
        "all of them end a completion here",
    )
    edit(model / "generation_config.json", eos_token_id=2)
    assert open_checkpoint(str(model)).stop_ids().disagreements == ()
    edit(model / "config.json", eos_token_id=None)
    edit(model / "tokenizer_config.json", eos_token="</think>")
    assert open_checkpoint(str(model)).stop_ids().used == (2, 4)


def test_generation_config_is_reported_where_it_would_change_something(model):
    edit(model / "generation_config.json", temperature=0.6, top_p=1.0, top_k=20, do_sample=True, max_length=9)
    assert open_checkpoint(str(model)).generation_defaults() == {"temperature": 0.6, "top_k": 20}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 131072),
        ({"max_position_embeddings": 512, "rope_parameters": {"rope_type": "default"}}, 512),
        ({}, None),
    ],
)
def test_context_length(tmp_path, config, length):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Checkpoint("x", "x", tmp_path).context_length == length


def test_image_rows_of_a_multimodal_embedding_are_no_disagreement(model):
    size = len(SPECIAL) + 1 + len(WORDS)
    edit(model / "config.json", vocab_size=None, text_config={"vocab_size": size - 8, "eos_token_id": 0})
    checkpoint = open_checkpoint(str(model))
    assert checkpoint.stop_ids().sources["config.json"] == (0,)
