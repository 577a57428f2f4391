"""Gradients of the alignment study: exact against plain autograd and closed forms."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from prerl_eval.checkpoint import open_checkpoint
from prerl_eval.engines.transformers import read_model
from prerl_train.alignment import gradients
from tests.autograd import COMPLETION, PROMPT, START, by_hand, ids


@pytest.fixture(params=["qwen3", "gpt2"])
def model(request, tiny_model):
    """In float64; Qwen3 computes its norms in float32 even so, GPT-2 (with tied embeddings) nothing."""
    if request.param == "qwen3":
        found = read_model(open_checkpoint(str(tiny_model)), "float32", "cpu").double()
    else:
        torch.manual_seed(0)
        size = {"vocab_size": 65, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
        ends = {"bos_token_id": 1, "eos_token_id": 2}
        found = GPT2LMHeadModel(GPT2Config(**size, **ends, initializer_range=0.3)).double()
    gradients.prepare(found)
    return found


@pytest.mark.parametrize("chunk", [1, 2, 3, 10, 32])
def test_tokens_in_chunks_equal_one_autograd_call_per_token(model, chunk):
    found = gradients.token_alignment(model, PROMPT, START, COMPLETION, chunk)
    assert len(found.inner) == len(COMPLETION)
    for t, weight in enumerate(torch.eye(len(COMPLETION), dtype=torch.float64)):
        alone, _ = by_hand(model, START, COMPLETION, weight)
        prompted, _ = by_hand(model, PROMPT, COMPLETION, weight)
        assert found.inner[t].item() == pytest.approx(float(alone @ prompted), rel=1e-9)
        assert found.norm_y[t].item() == pytest.approx(float(alone.norm()), rel=1e-9)
        assert found.norm_yx[t].item() == pytest.approx(float(prompted.norm()), rel=1e-9)


def test_a_response_has_the_gradient_of_the_formula_over_all_parameters(model):
    found = gradients.response_gradient(model, PROMPT, COMPLETION)
    expected, _ = by_hand(model, PROMPT, COMPLETION)
    assert sum(gradient.numel() for gradient in found) == model.num_parameters() == len(expected)
    other, _ = by_hand(model, START, COMPLETION)
    marginal = gradients.response_gradient(model, START, COMPLETION)
    assert gradients.inner(found, marginal) == pytest.approx(float(expected @ other), rel=1e-12)
    assert gradients.norm(found) == pytest.approx(float(expected.norm()), rel=1e-12)


def test_a_model_too_large_for_chunks_recomputes_its_activations_and_finds_the_same(tiny_model, monkeypatch):
    plain = read_model(open_checkpoint(str(tiny_model)), "float32", "cpu").double()
    gradients.prepare(plain)
    monkeypatch.setattr(gradients, "CHUNK_BYTES", 1000)
    saving = read_model(open_checkpoint(str(tiny_model)), "float32", "cpu").double()
    gradients.prepare(saving)
    assert (saving.is_gradient_checkpointing, plain.is_gradient_checkpointing) == (True, False)
    assert gradients.chunk_size(saving) == 1
    recomputed = Counter()
    for layer in saving.model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: recomputed.update(passes=1))
    found = gradients.response_gradient(saving, PROMPT, COMPLETION)
    assert recomputed["passes"] == 2 * len(saving.model.layers)
    for one, other in zip(found, gradients.response_gradient(plain, PROMPT, COMPLETION), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    by_token = gradients.token_alignment(saving, PROMPT, START, COMPLETION)
    expected = gradients.token_alignment(plain, PROMPT, START, COMPLETION)
    torch.testing.assert_close(by_token.inner, expected.inner, rtol=1e-9, atol=1e-14)


def test_a_model_with_dropout_never_draws(model, monkeypatch):
    monkeypatch.setattr(gradients, "CHUNK_BYTES", 1000)
    gradients.prepare(model)
    first, second = (gradients.response_gradient(model, PROMPT, COMPLETION) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_merged_adapter_counts_with_all_its_weights(tiny_adapter):
    adapted = read_model(open_checkpoint(str(tiny_adapter)), "float32", "cpu")
    gradients.prepare(adapted)
    found = gradients.response_gradient(adapted, PROMPT, COMPLETION)
    assert sum(gradient.numel() for gradient in found) == adapted.num_parameters()


class Bigram(torch.nn.Module):
    """p(b | a) = softmax(rows[a])[b]."""

    def __init__(self, words):
        super().__init__()
        self.rows = torch.nn.Parameter(torch.zeros(words, words, dtype=torch.float64))
        self.unused = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, input_ids, use_cache=True):
        return SimpleNamespace(logits=self.rows[input_ids])


def test_bigrams_have_the_gradients_of_the_closed_form():
    # All zero: each transition a -> b has gradient onehot(b) - 1/V in row a, of squared norm 1 - 1/V. The
    # spaces differ in the row of the first transition only: T transitions, T - 1 of them in common.
    words, completion = 8, ids(2, 3, 4, 5, 6)
    model = Bigram(words)
    unit = 1 - 1 / words
    given, alone = (gradients.response_gradient(model, prefix, completion) for prefix in (ids(0, 7), ids(1)))
    assert gradients.inner(given, given) == pytest.approx(5 * unit)
    assert gradients.inner(alone, alone) == pytest.approx(5 * unit)
    assert gradients.inner(given, alone) == pytest.approx(4 * unit)
    for chunk in (1, 2, 5):
        tokens = gradients.token_alignment(model, ids(0, 7), ids(1), completion, chunk)
        assert tokens.inner.tolist() == pytest.approx([0, *4 * [unit]])
        assert tokens.norm_y.tolist() == tokens.norm_yx.tolist() == pytest.approx(5 * [unit**0.5])
    logps, entropies = gradients.logprobs_and_entropies(model, ids(1), completion)
    assert logps.tolist() == pytest.approx(5 * [-np.log(words)])
    assert entropies.tolist() == pytest.approx(5 * [np.log(words)])


@pytest.mark.parametrize("model", ["gpt2"], indirect=True)
def test_the_predicted_change_becomes_the_realised_one_as_the_step_shrinks(model):
    before = [parameter.clone() for parameter in model.parameters()]
    marginal = gradients.response_gradient(model, START, COMPLETION)
    conditional = gradients.response_gradient(model, PROMPT, COMPLETION)
    slope = gradients.inner(marginal, conditional)
    largest = 1e-3 / gradients.norm(marginal) / gradients.norm(conditional)
    steps = [largest, largest / 2, largest / 4]
    errors = [
        gradients.change_after_step(model, marginal, step, PROMPT, COMPLETION) - step * slope
        for step in steps
    ]
    # What first order leaves out is of second order: half the step, a quarter of the error.
    assert errors[0] != 0
    assert errors[1] / errors[0] == pytest.approx(1 / 4, rel=0.05)
    assert errors[2] / errors[1] == pytest.approx(1 / 4, rel=0.05)
    assert abs(errors[2]) < 0.02 * steps[2] * abs(slope)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
