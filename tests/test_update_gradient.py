"""The gradient of an update equals autograd of the formula, written out by hand one sample at a time.

Each test trains a tiny model and recomputes what its updates should have been from the papers'
formulas, in float64, without padding, batching or code of prerl_train. All errors are below 1e-5.
A new release of TRL is good when these pass.
"""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.formulas import (
    centred,
    check,
    check_run,
    check_windows,
    contributing_nsr,
    erased,
    groups,
    negative,
    normalized,
    nsr_prerl,
    objective,
    positive,
    prompted,
    token_mean,
    tokens,
    weigh,
)
from tests.tiny import save_tokenizer
from tests.training import (
    EOS,
    MIXED,
    START,
    Policy,
    Script,
    error,
    surrogate,
    train,
)

# --- NSR-PreRL, the method's own update ----------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "accumulation"), [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)], ids=lambda value: str(value)
)
def test_nsr_prerl_whatever_the_micro_batches(tiny_model, tmp_path, rows, accumulation):
    run = train(
        tiny_model,
        tmp_path,
        algorithm="nsr-prerl",
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
    )
    check_run(tiny_model, run, nsr_prerl)
    # Only wrong samples of groups with a right one were looked at, behind the start token alone.
    for step, update in enumerate(run.updates):
        expected = [((START,), sample.completion) for sample, _ in negative(weigh(run.batch(step), centred))]
        assert sorted(update.seen) == sorted(expected)


def test_the_stop_token_is_trained(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", max_steps=1)
    policy = Policy(tiny_model)
    weighed = negative(weigh(run.batch(0), centred))
    assert any(sample.completion[-1] == EOS for sample, _ in weighed)
    total = 0.0
    for sample, weight in weighed:
        log_probs = policy.log_probs([START], sample.completion)
        ends = sample.completion[-1] == EOS
        total = total + surrogate(log_probs, weight)[: -1 if ends else None].sum()
    without = policy.gradient(-total / tokens(sample for sample, _ in weighed))
    assert error(run.updates[0].gradient, without) > 0.05


def test_positions_restart_at_the_start_token(tmp_path):
    # A model that learned a vector for each position; rotary ones cannot tell where a text begins.
    torch.manual_seed(0)
    model = tmp_path / "gpt2"
    config = GPT2Config(
        vocab_size=65, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.4,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(model)
    save_tokenizer(model)
    run = train(model, tmp_path, algorithm="nsr-prerl")
    check_run(model, run, nsr_prerl)


def test_another_start_token_is_another_gradient(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", start_token="<think>", max_steps=1)
    policy = Policy(tiny_model)
    weighed = negative(weigh(run.batch(0), centred))
    check(run.updates[0], policy, token_mean(policy, weighed, lambda sample: [3]))
    assert error(run.updates[0].gradient, policy.gradient(token_mean(policy, weighed, erased))) > 0.05


def test_the_temperature_of_sampling_is_that_of_the_update(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", temperature=0.7, max_steps=1)
    policy = Policy(tiny_model)
    weighed = negative(weigh(run.batch(0), centred))
    total = 0.0
    for sample, weight in weighed:
        ids = torch.tensor([[START, *sample.completion]])
        log_probs = (policy.model(ids).logits[0, :-1] / 0.7).log_softmax(-1)
        total = total + weight * log_probs.gather(1, ids[0, 1:, None]).sum()
    check(run.updates[0], policy, -total / tokens(sample for sample, _ in weighed))


@pytest.mark.parametrize(
    ("algorithm", "choose", "before"),
    [
        ("prerl", lambda weighed: [pair for pair in weighed if pair[1]], erased),
        ("psr-prerl", positive, erased),
        ("nsr-rl", negative, prompted),
        ("psr-rl", positive, prompted),
    ],
)
def test_the_ablations(tiny_model, tmp_path, algorithm, choose, before):
    run = train(tiny_model, tmp_path, algorithm=algorithm)
    check_run(
        tiny_model,
        run,
        lambda policy, batch: token_mean(policy, choose(weigh(batch, centred)), before),
    )


def test_constant_weights(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", sample_weight="constant")

    def loss(policy, batch):
        ones = [(sample, -1.0) for sample, _ in negative(weigh(batch, centred))]
        return token_mean(policy, ones, erased)

    check_run(tiny_model, run, loss)


# --- Several updates of one rollout batch --------------------------------------------------------


@pytest.mark.parametrize(("rows", "accumulation"), [(4, 2), (2, 4), (8, 1)])
def test_steps_per_generation_above_accumulation(tiny_model, tmp_path, rows, accumulation):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="nsr-prerl",
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=2 * accumulation,
        learning_rate=3e-2,
    )
    left = check_windows(
        tiny_model,
        run,
        2,
        1,
        erased,
        contributing_nsr,
        lambda batch, weighed, mine: tokens(s for s, _ in mine),
    )
    assert sum(left) > 0


def test_grpo_with_several_updates_of_a_batch(tiny_model, tmp_path):
    # Rows of groups that agree move nothing; their tokens count, in equal parts in each update.
    run = train(
        tiny_model, tmp_path, algorithm="grpo", steps_per_generation=4, gradient_accumulation_steps=2,
        learning_rate=3e-2,
    )  # fmt: skip

    def weighing(batch):
        return [
            pair
            for group in groups(batch)
            if len({sample.reward for sample in group}) > 1
            for pair in weigh(group, normalized)
        ]

    def denominator(batch, weighed, mine):
        return tokens(s for s, _ in mine) + (tokens(batch) - tokens(s for s, _ in weighed)) / 2

    check_windows(tiny_model, run, 2, 1, prompted, weighing, denominator)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_two_iterations_with_active_clipping(tiny_model, tmp_path, accumulation):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="prerl",
        num_iterations=2,
        per_device_train_batch_size=16 // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=3e-2,
    )
    left = check_windows(
        tiny_model, run, 1, 2, erased, lambda batch: weigh(batch, centred), lambda batch, *_: tokens(batch)
    )
    assert min(left) > 5


def test_clip_higher_and_dual_clip(tiny_model, tmp_path):
    settings = {
        "algorithm": "prerl",
        "num_iterations": 3,
        "epsilon": 0.1,
        "epsilon_high": 0.3,
        "learning_rate": 3e-2,
        "max_steps": 3,
    }
    whole = Script(lambda *_: MIXED)
    run = train(tiny_model, tmp_path, whole, delta=1.5, **settings)
    clip = {"low": 0.1, "high": 0.3}

    def denominator(batch, *_):
        return tokens(batch)

    check_windows(
        tiny_model, run, 1, 3, erased, lambda batch: weigh(batch, centred), denominator, most=1.5, **clip
    )
    # The dual clip was at work: without it the last update would have been another.
    policy, old = Policy(tiny_model, run.updates[2].weights), Policy(tiny_model)
    plain = -objective(policy, weigh(run.batch(0), centred), erased, old=old, **clip) / tokens(run.batch(0))
    assert error(run.updates[2].gradient, policy.gradient(plain)) > 1e-3


def test_iterations_and_several_updates_together(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="nsr-prerl",
        num_iterations=2,
        steps_per_generation=4,
        gradient_accumulation_steps=2,
        learning_rate=3e-4,
        max_steps=4,
    )
    left = check_windows(
        tiny_model,
        run,
        2,
        2,
        erased,
        contributing_nsr,
        lambda batch, weighed, mine: tokens(s for s, _ in mine),
    )
    assert left[0] > 5


# --- Tokens that are read and not trained --------------------------------------------------------


def test_tokens_of_the_environment_are_read_and_not_trained(tiny_model, tmp_path):
    # env_mask of TRL's rollout functions: here every third token is not the policy's own.
    class Masking(Script):
        def __call__(self, prompts, trainer):
            found = super().__call__(prompts, trainer)
            return {**found, "env_mask": [own(ids) for ids in found["completion_ids"]]}

    def own(ids):
        return [int(place % 3 != 1) for place in range(len(ids))]

    def loss(policy, batch):
        total, count = 0.0, 0
        for sample, weight in contributing_nsr(batch):
            keep = torch.tensor(own(sample.completion), dtype=torch.bool)
            log_probs = policy.log_probs([START], sample.completion)
            total = total + surrogate(log_probs, weight)[keep].sum()
            count += int(keep.sum())
        return -total / count

    run = train(tiny_model, tmp_path, Masking(), algorithm="nsr-prerl")
    check_run(tiny_model, run, loss)
