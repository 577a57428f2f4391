"""How responses are cut into blocks and batches, and models whose output is more than their last layer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval.errors import RunStopped
from prerl_eval.scoring.batches import cut_blocks
from prerl_eval.scoring.logprobs import Scorer

rows = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), max_size=60)


def cut(lengths, batch_tokens):
    return list(cut_blocks([p for p, _ in lengths], [c for _, c in lengths], batch_tokens))


@given(rows, st.integers(1, 400))
def test_every_row_is_scored_once_with_and_once_without_its_prompt(lengths, batch_tokens):
    blocks = cut(lengths, batch_tokens)
    for kind in ("given_prompt", "alone"):
        in_batches = [[row for batch in getattr(block, kind) for row in batch] for block in blocks]
        assert sorted(row for here in in_batches for row in here) == list(range(len(lengths)))
        assert all(sorted(here) == sorted(block.rows) for here, block in zip(in_batches, blocks, strict=True))


@given(rows, st.integers(1, 400))
def test_no_batch_of_two_rows_is_larger_than_asked(lengths, batch_tokens):
    for block in cut(lengths, batch_tokens):
        for batch in block.given_prompt:
            assert len(batch) == 1 or len(batch) * max(sum(lengths[row]) for row in batch) <= batch_tokens
        for batch in block.alone:
            assert len(batch) == 1 or len(batch) * (1 + max(lengths[row][1] for row in batch)) <= batch_tokens


@given(rows, st.integers(1, 400), st.data())
def test_what_is_left_after_some_blocks_is_cut_as_before(lengths, batch_tokens, data):
    blocks = cut(lengths, batch_tokens)
    stored = data.draw(st.integers(0, len(blocks)))
    left = sorted(row for block in blocks[stored:] for row in block.rows)
    again = cut([lengths[row] for row in left], batch_tokens)

    def named(batches):
        return [[left[row] for row in batch] for batch in batches]

    assert [(named(b.given_prompt), named(b.alone)) for b in again] == [
        (b.given_prompt, b.alone) for b in blocks[stored:]
    ]


def test_equal_lengths_fill_their_batches():
    blocks = cut([(4, 6)] * 30, 100)
    assert [len(batch) for block in blocks for batch in block.given_prompt] == [10, 10, 10]
    assert [len(batch) for block in blocks for batch in block.alone] == [14, 14, 2]


# --- Models --------------------------------------------------------------------------------------


def capped_model():
    """Gemma 2 caps its logits after the last layer; here so low that it shows."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, initializer_range=0.5,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


def position_model():
    """GPT-2 learns positions: padding must not shift them."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=64, n_embd=16, n_layer=2, n_head=2)).eval()


def plain_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        initializer_range=0.5,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("make", "apart"), [(capped_model, False), (position_model, True), (plain_model, True)]
)
def test_a_padded_batch_scores_as_its_rows_do_alone(make, apart):
    model = make()
    scorer = Scorer(model)
    assert scorer._apart == apart
    source = np.random.default_rng(0)
    pairs = [
        (source.integers(0, 50, prefix), source.integers(0, 50, length))
        for prefix, length in ((1, 9), (5, 1), (3, 0), (2, 14))
    ]
    found = scorer.logprobs([prefix for prefix, _ in pairs], [completion for _, completion in pairs])
    for (prefix, completion), logps in zip(pairs, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor(np.concatenate([prefix, completion])[None])).logits[0]
        expected = logits.log_softmax(-1)[len(prefix) - 1 : len(prefix) + len(completion) - 1]
        assert logps == pytest.approx(
            expected[range(len(completion)), completion].tolist() if len(completion) else [], abs=1e-5
        )


def test_few_logits_at_a_time_give_the_same():
    model = plain_model()
    rows = ([np.array([1, 2]), np.array([3])], [np.arange(9), np.arange(20)])
    whole, pieces = Scorer(model), Scorer(model)
    pieces._positions = 4
    for one, other in zip(whole.logprobs(*rows), pieces.logprobs(*rows), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_weights_that_are_no_numbers_stop_the_scoring():
    model = plain_model()
    model.lm_head.weight.data[7] = torch.nan
    with pytest.raises(RunStopped, match="logits are not numbers"):
        Scorer(model).logprobs([np.array([1])], [np.array([2, 3])])
