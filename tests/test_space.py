"""The start token, the choice of samples and the erased prompt, by hand-computed values."""

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, LlamaConfig, PreTrainedTokenizerFast, Qwen3Config

from prerl_eval.errors import UserError
from prerl_eval.start_token import start_token_id
from prerl_train.space import contributing, erase_prompts, join, loss_mask, swap_prompts, take_rows

WORDS = ["one", "two", "three", "four"]


def make_tokenizer(added=(), unknown=None, **special):
    """Four words, then `added` tokens; `special` names which tokens are bos, eos, pad."""
    words = [*([unknown] if unknown else []), *WORDS]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=unknown))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.add_special_tokens([AddedToken(token) for token in added])
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token=unknown, **special)


@pytest.fixture
def qwen():
    """As Qwen3: no bos, turns opened by <|im_start|>; the base model's bos in the config ends and pads."""
    tokenizer = make_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    return tokenizer, Qwen3Config(bos_token_id=4, eos_token_id=6)


@pytest.fixture
def llama():
    tokenizer = make_tokenizer(["<s>", "</s>"], unknown="<unk>", bos_token="<s>", eos_token="</s>")
    return tokenizer, LlamaConfig(bos_token_id=5, eos_token_id=6)


# --- Start token ---------------------------------------------------------------------------------


def test_qwen_starts_as_its_turns_do(qwen):
    tokenizer, config = qwen
    assert tokenizer.convert_ids_to_tokens(5) == "<|im_start|>"
    assert start_token_id(tokenizer, config) == 5


def test_llama_starts_with_its_start_token(llama):
    assert start_token_id(*llama) == 5


def test_a_start_token_of_its_own_goes_before_the_turn_start():
    tokenizer = make_tokenizer(["<s>", "<|im_start|>"], bos_token="<s>", eos_token="<|im_start|>")
    assert start_token_id(tokenizer, LlamaConfig()) == tokenizer.bos_token_id == 4


def test_one_token_may_start_and_end():
    # As in GPT-2, whose texts begin after the end of the one before.
    tokenizer = make_tokenizer(["<|endoftext|>"], bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    assert start_token_id(tokenizer, GPT2Config(bos_token_id=4, eos_token_id=4)) == 4


def test_the_config_is_asked_last():
    tokenizer = make_tokenizer(["<start>", "<end>"], eos_token="<end>")
    assert start_token_id(tokenizer, LlamaConfig(bos_token_id=4, eos_token_id=5)) == 4


@pytest.mark.parametrize(
    "config",
    [
        Qwen3Config(bos_token_id=4, eos_token_id=4),  # ends, says the config
        Qwen3Config(bos_token_id=4, eos_token_id=[1, 4]),  # one of several ends
        Qwen3Config(bos_token_id=4, eos_token_id=1),  # pads, says the tokenizer
        Qwen3Config(bos_token_id=5, eos_token_id=1),  # ends, says the tokenizer
        Qwen3Config(bos_token_id=None, eos_token_id=1),
    ],
)
def test_no_start_token_is_refused_in_a_line_that_names_the_remedy(config):
    tokenizer = make_tokenizer(["<pad>", "<end>"], eos_token="<end>", pad_token="<pad>")
    with pytest.raises(UserError) as raised:
        start_token_id(tokenizer, config)
    assert "no start token" in str(raised.value)
    assert "--start-token" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "expected"), [("<|im_end|>", 6), ("three", 2), (0, 0), ("0", 0), (3, 3), (6, 6)]
)
def test_an_override_is_a_token_or_an_id(qwen, override, expected):
    assert start_token_id(*qwen, override) == expected


@pytest.mark.parametrize("override", ["<s>", "five", "", "-1", 7, -1, "7"])
def test_an_override_outside_the_vocabulary_is_refused(qwen, override):
    with pytest.raises(UserError, match=f"--start-token {override}"):
        start_token_id(*qwen, override)


@pytest.mark.parametrize("override", ["<s2>", "five", 7])
def test_an_unknown_override_is_not_the_unknown_token(llama, override):
    with pytest.raises(UserError, match=f"--start-token {override}"):
        start_token_id(*llama, override)
    assert start_token_id(*llama, "<unk>") == 0


# --- Which rows count ----------------------------------------------------------------------------


def make_batch(**changes):
    """Four rows: prompts of 1, 3, 2, 3 tokens on the left, completions of 3, 1, 2, 0 on the right."""
    return {
        "prompt_ids": torch.tensor([[0, 0, 11], [21, 22, 23], [0, 31, 32], [41, 42, 43]]),
        "prompt_mask": torch.tensor([[0, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]]),
        "completion_ids": torch.tensor([[14, 15, 2], [2, 0, 0], [34, 2, 0], [0, 0, 0]]),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]]),
        "advantages": torch.tensor([-0.25, 0.75, 0.0, -0.25]),
        "num_items_in_batch": torch.tensor(6),
        **changes,
    }


def test_rows_without_advantage_or_without_tokens_do_not_count():
    assert contributing(make_batch()).tolist() == [True, True, False, False]
    assert contributing(make_batch(), "all").tolist() == [True, True, False, False]
    assert contributing(make_batch(), "negative").tolist() == [True, False, False, False]
    assert contributing(make_batch(), "positive").tolist() == [False, True, False, False]


def test_tokens_that_are_only_read_are_not_trained():
    tool = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]])
    batch = make_batch(tool_mask=tool)
    assert loss_mask(batch).tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert contributing(batch).tolist() == [True, False, False, False]


def test_advantages_of_tokens_count_by_their_sum_over_trained_tokens():
    advantages = torch.tensor([[1.0, -3.0, 1.0], [0.5, -9.0, 0.0], [0.0, 0.0, 7.0], [1.0, 1.0, 1.0]])
    batch = make_batch(advantages=advantages)
    assert contributing(batch).tolist() == [True, True, False, False]
    assert contributing(batch, "negative").tolist() == [True, False, False, False]
    assert contributing(batch, "positive").tolist() == [False, True, False, False]
    cancelling = make_batch(advantages=torch.tensor([[1.0, -2.0, 1.0], *advantages[1:].tolist()]))
    assert contributing(cancelling).tolist() == [True, True, False, False]
    assert contributing(cancelling, "negative").tolist() == [False] * 4


# --- The erased prompt ---------------------------------------------------------------------------


def test_an_erased_prompt_is_one_start_token_and_everything_else_stays():
    batch = make_batch(
        sampling_per_token_logps=torch.zeros(4, 3),
        old_per_token_logps=torch.ones(4, 3),
        ref_per_token_logps=torch.ones(4, 3),
    )
    before = {key: value.clone() for key, value in batch.items()}
    erased = erase_prompts(batch, 9)
    assert erased["prompt_ids"].tolist() == erased["prompt_mask"].mul(9).tolist() == [[9]] * 4
    assert erased["prompt_ids"].dtype == torch.long
    # What was computed under the prompt is no log p(y).
    assert "old_per_token_logps" not in erased
    assert "ref_per_token_logps" not in erased
    for key in ("completion_ids", "completion_mask", "advantages", "num_items_in_batch"):
        assert torch.equal(erased[key], before[key])
    assert all(torch.equal(batch[key], before[key]) for key in batch)


def test_erasing_takes_back_what_was_weighed_under_the_prompt():
    batch = make_batch()
    ratio = torch.full(batch["completion_ids"].shape, 0.5)
    erased = erase_prompts(
        {**batch, "importance_sampling_ratio": ratio, "sampling_per_token_logps": ratio}, 3
    )
    assert torch.equal(erased["importance_sampling_ratio"], torch.ones_like(ratio))
    assert "sampling_per_token_logps" not in erased
    assert ratio.unique().tolist() == [0.5]


def test_a_swapped_prompt_is_the_next_groups_and_everything_else_stays():
    ratio = torch.full((4, 3), 0.5)
    batch = make_batch(old_per_token_logps=torch.ones(4, 3), importance_sampling_ratio=ratio)
    before = {key: value.clone() for key, value in batch.items()}
    swapped = swap_prompts(batch, 2)
    assert swapped["prompt_ids"].tolist() == [[0, 31, 32], [41, 42, 43], [0, 0, 11], [21, 22, 23]]
    assert swapped["prompt_mask"].tolist() == [[0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1]]
    # What was computed under its own prompt is no log p(y | x').
    assert "old_per_token_logps" not in swapped
    assert swapped["importance_sampling_ratio"].unique().tolist() == [1.0]
    for key in ("completion_ids", "completion_mask", "advantages", "num_items_in_batch"):
        assert torch.equal(swapped[key], before[key])
    assert all(torch.equal(batch[key], before[key]) for key in batch)
    # The last group's is the first one's.
    assert swap_prompts(batch, 1)["prompt_ids"].tolist() == [*before["prompt_ids"][1:].tolist(), [0, 0, 11]]


@pytest.mark.parametrize("group", [3, 4, 8])
def test_a_prompt_to_swap_with_takes_two_whole_groups(group):
    with pytest.raises(ValueError, match=f"4 rows in groups of {group}"):
        swap_prompts(make_batch(), group)


def test_taking_rows_leaves_what_belongs_to_no_row():
    part = take_rows(make_batch(note="kept", sizes=torch.arange(3)), torch.tensor([2, 0]))
    assert part["completion_ids"].tolist() == [[34, 2, 0], [14, 15, 2]]
    assert part["advantages"].tolist() == [0.0, -0.25]
    assert part["num_items_in_batch"] == 6
    assert part["note"] == "kept"
    assert part["sizes"].tolist() == [0, 1, 2]
    empty = take_rows(make_batch(), torch.tensor([], dtype=torch.long))
    assert empty["completion_ids"].shape == (0, 3)


def test_joining_pads_prompts_left_and_completions_right():
    first = erase_prompts(take_rows(make_batch(), torch.tensor([1])), 9)
    first["completion_ids"], first["completion_mask"] = torch.tensor([[2]]), torch.tensor([[1]])
    both = join(first, take_rows(make_batch(), torch.tensor([0, 2])))
    assert both["prompt_ids"].tolist() == [[0, 0, 9], [0, 0, 11], [0, 31, 32]]
    assert both["prompt_mask"].tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 1]]
    assert both["completion_ids"].tolist() == [[2, 0, 0], [14, 15, 2], [34, 2, 0]]
    assert both["completion_mask"].tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert both["advantages"].tolist() == [0.75, -0.25, 0.0]


def test_joining_does_not_train_tokens_that_one_side_only_reads():
    # Only one side says which tokens are read: those stay read, the other side's are all trained.
    read = make_batch(tool_mask=torch.zeros(4, 3, dtype=torch.long))
    both = join(make_batch(), read)
    assert loss_mask(both)[:4].tolist() == make_batch()["completion_mask"].tolist()
    assert loss_mask(both)[4:].sum() == 0
    assert loss_mask(join(read, make_batch()))[:4].sum() == 0


def test_joining_takes_batches_without_rows():
    none = torch.tensor([], dtype=torch.long)
    both = join(take_rows(make_batch(), none), make_batch())
    assert both["completion_ids"].tolist() == make_batch()["completion_ids"].tolist()
    assert join(make_batch(), take_rows(make_batch(), none))["advantages"].shape == (4,)


def test_joining_keeps_the_order_of_entries():
    # A set's order is another in each process, and TRL counts the rows of a batch's first entry.
    assert list(join(make_batch(), make_batch())) == list(make_batch())
    fewer = {key: value for key, value in make_batch().items() if key != "prompt_mask"}
    assert list(join(make_batch(), fewer)) == list(fewer)
