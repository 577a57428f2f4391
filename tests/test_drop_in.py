"""A TRL script that changes its import only: chat prompts, own reward functions, TRL's generation."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import TrlParser

from prerl_train import DSRLConfig, DSRLTrainer
from prerl_train.packing import scored_by_length
from tests.tiny import tiny_model  # noqa: F401

CHAT = "{{ bos_token }}{% for m in messages %}{{ m['content'] }} {% endfor %}"


def counted(completions, **_):
    return [float(len(chat[0]["content"].split()) % 2) for chat in completions]


def named(prompts, completions, completion_ids, label, trainer_state, log_extra, log_metric):
    return [0.1 * (len(ids) % 3) for ids in completion_ids]


def script(model, folder, updates):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = CHAT
    asked = [{"prompt": [{"role": "user", "content": f"make {n} from 1 2"}], "label": n} for n in range(30)]
    config = DSRLConfig(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_generations=4,
        max_completion_length=12,
        max_steps=updates,
        save_steps=2,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        dsrl_warmup_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
    )
    return DSRLTrainer(
        str(model),
        [counted, named],
        config,
        train_dataset=Dataset.from_list(asked),
        processing_class=tokenizer,
    )


def test_a_script_trains_and_resumes_where_it_stopped(tiny_model, tmp_path):  # noqa: F811
    whole = script(tiny_model, tmp_path / "whole", 4)
    whole.train()
    script(tiny_model, tmp_path / "parts", 2).train()
    resumed = script(tiny_model, tmp_path / "parts", 4)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.update_facts["phase"] == "rl"
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_logged_advantages_are_the_algorithms(tiny_model, tmp_path):  # noqa: F811
    trainer = script(tiny_model, tmp_path, 2)
    trainer.train()
    rewards = torch.tensor([list(of) for of in trainer._logs["rewards"].values()]).sum(0).view(2, 4)
    centred = (rewards - rewards.mean(1, keepdim=True)).flatten()
    assert centred.any()
    assert torch.tensor(list(trainer._logs["advantages"])) == pytest.approx(centred, abs=1e-6)


@pytest.mark.parametrize("token", ["<s>", "151644"])
def test_trls_parser_takes_a_start_token(tmp_path, token):
    words = ["--output_dir", str(tmp_path), "--use_cpu", "true", "--bf16", "false", "--start_token", token]
    (config,) = TrlParser((DSRLConfig,)).parse_args_and_config(words)
    assert config.start_token == token


@pytest.mark.parametrize("most_rows", [1, 2, 3, 7])
def test_scoring_by_length_scores_as_scoring_at_once(tiny_model, most_rows):  # noqa: F811
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    passes = []

    def score(ids, mask, columns):
        passes.append(mask.numel())
        places = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=ids, attention_mask=mask, position_ids=places).logits
        scored = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[:, :, 0]
        return scored[:, -columns:]

    prompts, completions = [3, 1, 5, 2, 4], [9, 1, 0, 20, 2]
    torch.manual_seed(0)
    ids = torch.randint(6, 40, (5, 5 + 20))
    mask = torch.zeros_like(ids)
    for row, (before, after) in enumerate(zip(prompts, completions, strict=True)):
        mask[row, 5 - before : 5 + after] = 1
    with torch.no_grad():
        at_once = score(ids, mask, 20)
        full = passes.pop()
        found = scored_by_length(score, ids, mask, 20, most_rows)
    trained = mask[:, 5:].bool()
    assert torch.allclose(found[trained], at_once[trained], atol=1e-5)
    assert len(passes) == -(-5 // most_rows)
    assert most_rows > 3 or sum(passes) < 0.7 * full
