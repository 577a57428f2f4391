"""Prompts: exact texts and token ids with real tokenizers, chat and plain, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from prerl_eval.cards import Card, load_card
from prerl_eval.checkpoint import Checkpoint, open_checkpoint, remote_checkpoint
from prerl_eval.engines.base import Prompt
from prerl_eval.errors import UserError
from prerl_eval.problems import Problem
from prerl_eval.prompts import PromptBuilder, check_lengths
from tests.tiny import tiny_model

__all__ = ["tiny_model"]  # fixture

CARD = Card(
    name="set",
    split="test",
    fields={"problem": "question", "answer": "answer"},
    prompt="{problem} Use \\boxed{}.",
    grader="math",
    path="set.jsonl",
)
PROBLEM = Problem("set", "7", "1 + 1 = {x}?", "2", "math")
ASKED = "1 + 1 = {x}? Use \\boxed{}."

SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = CHATML + (
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}"
)
ALWAYS_THINKS = CHATML + "{% if add_generation_prompt %}<think>\n{% endif %}"
WITH_START = "<s>" + CHATML
TWO_STARTS = "<s><s>" + CHATML
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML


def checkpoint(
    folder: Path, template: str | None = None, adds_start: bool = False, eos: str = "</s>"
) -> Checkpoint:
    """A tokenizer of single bytes; ids 0-5 are `SPECIAL`. No weights: prompts need none."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {token: number for number, token in enumerate((*SPECIAL, *alphabet))}
    backend = Tokenizer(models.BPE(ids, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if adds_start:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token=eos,
        additional_special_tokens=list(SPECIAL[2:]),
        model_max_length=8,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"eos_token_id": 1}')
    return Checkpoint("some/model", "model", folder)


def decode(builder: PromptBuilder, prompt: Prompt) -> str:
    return builder.tokenizer.decode(prompt.token_ids)


def refusal(*arguments: object) -> str:
    with pytest.raises(UserError) as error:
        PromptBuilder(*arguments).render(PROBLEM, CARD)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_plain_prompt_starts_with_one_start_token(tmp_path):
    builder = PromptBuilder(checkpoint(tmp_path, adds_start=True))
    prompt = builder.render(PROBLEM, CARD)
    assert prompt.text == "<s>" + ASKED
    assert prompt.token_ids[0] == 0
    assert prompt.token_ids.count(0) == 1
    assert len(prompt.token_ids) == 1 + len(ASKED)
    assert prompt.messages is None
    assert builder.notes == [
        "plain prompts that begin with the start token <s> (0), as the tokenizer does by itself"
    ]


def test_a_card_that_writes_the_start_token_gets_no_second_one(tmp_path):
    from dataclasses import replace

    builder = PromptBuilder(checkpoint(tmp_path, adds_start=True))
    prompt = builder.render(PROBLEM, replace(CARD, prompt="<s>{problem}"))
    assert prompt.token_ids.count(0) == 1
    assert prompt.text == "<s>1 + 1 = {x}?"


def test_a_tokenizer_that_adds_none_gets_none(tmp_path):
    builder = PromptBuilder(checkpoint(tmp_path))
    prompt = builder.render(PROBLEM, CARD)
    assert prompt.text == ASKED
    assert len(prompt.token_ids) == len(ASKED)
    assert builder.notes == ["plain prompts that begin with no start token, as the tokenizer does by itself"]


def test_plain_prompts_take_a_system_text(tmp_path):
    prompt = PromptBuilder(checkpoint(tmp_path), system="Be brief.").render(PROBLEM, CARD)
    assert prompt.text == "Be brief.\n\n" + ASKED


def test_chat_prompts_follow_the_template(tmp_path):
    builder = PromptBuilder(checkpoint(tmp_path, CHATML, eos="<|im_end|>"), system="Be brief.")
    prompt = builder.render(PROBLEM, CARD)
    text = (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt.text == text
    assert decode(builder, prompt) == text
    assert prompt.token_ids[0] == SPECIAL.index("<|im_start|>")
    assert prompt.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": ASKED},
    )
    assert not prompt.opens_thinking
    assert builder.notes == []


@pytest.mark.parametrize("adds_start", [False, True])
@pytest.mark.parametrize("template", [WITH_START, TWO_STARTS])
def test_a_chat_prompt_holds_one_start_token(tmp_path, template, adds_start):
    builder = PromptBuilder(checkpoint(tmp_path, template, adds_start))
    prompt = builder.render(PROBLEM, CARD)
    assert prompt.token_ids[0] == 0
    assert prompt.token_ids.count(0) == 1
    assert prompt.text.startswith("<s><|im_start|>user")
    assert decode(builder, prompt) == prompt.text


def test_plain_may_be_asked_of_a_chat_model(tmp_path):
    assert PromptBuilder(checkpoint(tmp_path, CHATML), template="plain").render(PROBLEM, CARD).text == ASKED


def test_a_card_may_ask_a_model_without_template_otherwise(tmp_path):
    card = replace(CARD, plain_prompt="def f(): # {problem}\n", stop=("\ndef",))
    chat, plain = (PromptBuilder(checkpoint(tmp_path, CHATML), template=name) for name in ("chat", "plain"))
    assert chat.render(PROBLEM, card).messages == ({"role": "user", "content": ASKED},)
    assert plain.render(PROBLEM, card).text == "def f(): # 1 + 1 = {x}?\n"
    assert (chat.stops(card), plain.stops(card)) == ((), ("\ndef",))


def test_chat_cannot_be_asked_of_a_tokenizer_without_template(tmp_path):
    assert "some/model has no chat template" in refusal(checkpoint(tmp_path), None, None, "chat")


def test_the_thinking_switch(tmp_path):
    model = checkpoint(tmp_path, QWEN3)
    default, on, off = (
        PromptBuilder(model, thinking=flag).render(PROBLEM, CARD).text for flag in (None, True, False)
    )
    assert default == on
    assert off == on + "<think>\n\n</think>\n\n"
    assert not PromptBuilder(model, thinking=False).render(PROBLEM, CARD).opens_thinking


@pytest.mark.parametrize("thinking", [True, False])
def test_a_template_without_switch_refuses_it(tmp_path, thinking):
    flag = "--thinking" if thinking else "--no-thinking"
    assert refusal(checkpoint(tmp_path / "a", CHATML), None, thinking).endswith(
        f"has no thinking switch; leave {flag} out"
    )
    assert f"{flag} needs a chat template" in refusal(checkpoint(tmp_path / "b"), None, thinking)
    assert f"{flag} is the server's to set" in refusal(remote_checkpoint("x"), None, thinking)


def test_a_prompt_that_ends_inside_thinking_says_so(tmp_path):
    assert PromptBuilder(checkpoint(tmp_path, ALWAYS_THINKS)).render(PROBLEM, CARD).opens_thinking


def test_a_template_that_refuses_a_system_message(tmp_path):
    message = refusal(checkpoint(tmp_path, NO_SYSTEM), "Be brief.")
    assert message == "the chat template of some/model refuses: no system role; leave out --system"


def test_a_template_that_fails_in_its_own_way(tmp_path):
    message = refusal(checkpoint(tmp_path, "{{ 1 + messages[0].content }}"))
    assert "unsupported operand" in message
    assert "give --template plain" in message


def test_a_template_that_renders_nothing(tmp_path):
    prompt = PromptBuilder(checkpoint(tmp_path, "{{ '' }}")).render(PROBLEM, CARD)
    with pytest.raises(UserError, match="the prompt of problem 7 has no tokens"):
        check_lengths("set", [PROBLEM], [prompt], 8, None)


def test_a_turn_end_that_is_no_stop_id_is_noted(tmp_path):
    (note,) = PromptBuilder(checkpoint(tmp_path, CHATML)).notes
    assert note.startswith(
        "the chat template ends a turn with <|im_end|> (3), which no file names as a stop id"
    )


def test_a_server_renders_for_itself():
    chat = PromptBuilder(remote_checkpoint("org/model"), "Be brief.").render(PROBLEM, CARD)
    assert chat.token_ids is None
    assert [message["role"] for message in chat.messages] == ["system", "user"]
    assert chat.text == "Be brief.\n\n" + ASKED
    plain = PromptBuilder(remote_checkpoint("org/model"), template="plain").render(PROBLEM, CARD)
    assert (plain.text, plain.token_ids, plain.messages) == (ASKED, None, None)


def test_a_tokenizer_that_cannot_be_loaded(tmp_path):
    model = checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}')
    assert f"the tokenizer in {tmp_path} cannot be loaded" in refusal(model)


def test_lengths_are_checked_and_the_remedy_fits():
    problems = [PROBLEM, Problem("set", "8", "long", "", "math")]
    prompts = [Prompt("a", (1,) * 10), Prompt("b", (1,) * 60)]
    check_lengths("set", problems, prompts, 40, 100)
    check_lengths("set", problems, prompts, 10**6, None)
    check_lengths("set", problems, [Prompt("a", None), Prompt("b", None)], 41, 100)
    with pytest.raises(UserError) as error:
        check_lengths("set", problems, prompts, 41, 100)
    assert str(error.value) == (
        "set: 1 of 2 prompts and 41 new tokens exceed the model's context of 100 "
        "(problem 8: 60 tokens); give --max-tokens 40 or less"
    )
    with pytest.raises(UserError, match="cannot take this benchmark whole"):
        check_lengths("set", problems, prompts, 1, 60)


def test_long_prompts_are_whole_and_quiet(tmp_path, capfd):
    builder = PromptBuilder(checkpoint(tmp_path))
    prompt = builder.render(Problem("set", "1", "x" * 5000, "", "math"), CARD)
    assert prompt.text.startswith("x" * 5000)
    assert len(prompt.token_ids) == len(prompt.text)
    assert capfd.readouterr().err == ""


def test_the_shipped_cards_ask_what_they_say(tiny_model):
    builder = PromptBuilder(open_checkpoint(str(tiny_model)))
    text = builder.render(PROBLEM, load_card("math500")).text
    assert text == ("1 + 1 = {x}?\n\nPlease reason step by step, and put your final answer within \\boxed{}.")
