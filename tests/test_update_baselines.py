"""Gradients of the baselines, of DSRL's phases and of the KL term, against formulas by hand.

See test_update_gradient.py, which does the same for the method's own update.
"""

import math

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from tests.formulas import (
    BOUND,
    by_tokens,
    centred,
    check,
    check_run,
    check_windows,
    contributing_nsr,
    erased,
    groups,
    grpo,
    leave_one_out,
    normalized,
    nsr_prerl,
    objective,
    positive,
    prompted,
    token_mean,
    tokens,
    weigh,
)
from tests.training import (
    LONGEST,
    MIXED,
    ONE_OF_TWO,
    UNEVEN,
    Policy,
    Script,
    error,
    train,
)

# --- The baselines -------------------------------------------------------------------------------


BASELINES = {
    "grpo": ({}, grpo),
    "grpo-eps": ({"advantage_eps": 0.1}, lambda p, b: grpo(p, b, lambda r: normalized(r, 0.1))),
    "rloo": ({"algorithm": "rloo"}, lambda p, b: grpo(p, b, leave_one_out)),
    "reinforce-pp": (
        {"algorithm": "reinforce-pp"},
        lambda p, b: token_mean(p, by_tokens(b), prompted, counted=b),
    ),
    "dr-grpo": (
        {"algorithm": "dr-grpo"},
        lambda p, b: -objective(p, weigh(b, centred), prompted) / (len(b) * LONGEST),
    ),
    "dr-grpo-token-mean": (
        {"algorithm": "dr-grpo", "loss_type": "dr_grpo", "max_completion_length": 20},
        lambda p, b: -objective(p, weigh(b, centred), prompted) / (len(b) * 20),
    ),
    "sequence-mean": (
        {"loss_type": "grpo"},
        lambda p, b: (
            sum(
                -objective(p, [(sample, weight)], prompted) / len(sample.completion)
                for sample, weight in weigh(b, normalized)
            )
            / len(b)
        ),
    ),
    "nsr-prerl-sequence-mean": (
        {"algorithm": "nsr-prerl", "loss_type": "grpo"},
        lambda p, b: (
            sum(
                -objective(p, [(sample, weight)], erased) / len(sample.completion)
                for sample, weight in contributing_nsr(b)
            )
            / len(contributing_nsr(b))
        ),
    ),
}


@pytest.mark.parametrize("name", BASELINES)
def test_the_baselines(tiny_model, tmp_path, name):
    settings, loss = BASELINES[name]
    run = train(tiny_model, tmp_path, **{"algorithm": "grpo", **settings})
    check_run(tiny_model, run, loss)


def test_reinforce_pp_takes_one_sample_per_problem(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, algorithm="reinforce-pp", num_generations=1, per_device_train_batch_size=3,
        gradient_accumulation_steps=3,
    )  # fmt: skip
    check_run(tiny_model, run, lambda p, b: token_mean(p, by_tokens(b), prompted, counted=b))


def test_dapo_fills_the_batch_with_groups_that_disagree(tiny_model, tmp_path):
    # Two useful groups in the first draw, three in the second, of which two are wanted.
    verdicts = {0: UNEVEN, 1: "0000 1000 1100 0111"}
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda step, draw: verdicts[draw]),
        algorithm="dapo",
        overlong_buffer=6,
        overlong_penalty=0.5,
        max_steps=1,
    )

    def punished(sample):
        over = min(max(len(sample.completion) - (LONGEST - 6), 0), 6)
        return sample.reward - 0.5 * over / 6

    first, second = groups(run.batch(0, 0)), groups(run.batch(0, 1))
    chosen = [first[1], first[3], second[1], second[2]]
    weighed = [
        pair
        for group in chosen
        for pair in zip(group, normalized([punished(sample) for sample in group]), strict=True)
    ]
    policy = Policy(tiny_model)
    check(run.updates[0], policy, token_mean(policy, weighed, prompted))
    assert max(punished(sample) - sample.reward for group in chosen for sample in group) == 0
    assert min(punished(sample) - sample.reward for group in chosen for sample in group) < 0


def test_dapo_clips_higher(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, Script(lambda *_: MIXED), algorithm="dapo", num_iterations=2, learning_rate=3e-2
    )
    check_windows(
        tiny_model, run, 1, 2, prompted,
        lambda batch: weigh(batch, normalized), lambda batch, *_: tokens(batch), high=0.28,
    )  # fmt: skip


def test_a_group_that_agrees_but_for_its_length_still_learns_from_length_in_grpo(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, Script(lambda *_: "1111 0000 1111 0000"), algorithm="grpo", overlong_buffer=6
    )

    def loss(policy, batch):
        def estimate(group):
            rewards = [s.reward - min(max(len(s.completion) - 6, 0), 6) / 6 for s in group]
            return list(zip(group, normalized(rewards), strict=True))

        return token_mean(policy, [p for g in groups(batch) for p in estimate(g)], prompted, counted=batch)

    check_run(tiny_model, run, loss)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_grpo_is_stock_grpo(tiny_model, tmp_path, accumulation):
    settings = {
        "per_device_train_batch_size": 16 // accumulation,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": 1e-6,
    }
    ours = train(tiny_model, tmp_path, algorithm="grpo", advantage_eps=1e-4, **settings)
    stock = train(
        tiny_model,
        tmp_path,
        Script(),
        kind=GRPOTrainer,
        config=GRPOConfig,
        loss_type="dapo",
        beta=0.0,
        **settings,
    )
    for mine, theirs in zip(ours.updates, stock.updates, strict=True):
        assert error(mine.gradient, theirs.gradient) < BOUND
        assert mine.logs["loss"] == pytest.approx(theirs.logs["loss"], abs=1e-6)


# --- DSRL ----------------------------------------------------------------------------------------


def test_dsrl_is_nsr_prerl_and_then_grpo(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=2, max_steps=4)
    for step, update in enumerate(run.updates):
        policy = Policy(tiny_model, update.weights)
        batch = run.batch(step)
        loss = 0.01 * nsr_prerl(policy, batch) if step < 2 else grpo(policy, batch)
        check(update, policy, loss)


def test_the_nsr_rl_control(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        algorithm="dsrl",
        dsrl_warmup_steps=1,
        dsrl_warmup_space="rl",
        dsrl_warmup_coef=0.5,
    )
    first, second = run.updates
    policy = Policy(tiny_model)
    check(first, policy, 0.5 * token_mean(policy, contributing_nsr(run.batch(0)), prompted))
    policy = Policy(tiny_model, second.weights)
    check(second, policy, grpo(policy, run.batch(1)))


@pytest.mark.parametrize(("samples", "choose"), [("positive", positive), ("all", list)])
def test_a_warm_up_on_other_samples(tiny_model, tmp_path, samples, choose):
    run = train(
        tiny_model, tmp_path, Script(lambda *_: MIXED), algorithm="dsrl", dsrl_warmup_samples=samples,
        dsrl_warmup_steps=2,
    )  # fmt: skip
    check_run(tiny_model, run, lambda p, b: 0.01 * token_mean(p, choose(weigh(b, centred)), erased))


@pytest.mark.parametrize("weight", ["advantage", "constant"])
def test_constant_weights_are_for_the_warm_up(tiny_model, tmp_path, weight):
    # "Every later step is standard GRPO."
    run = train(tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=1, sample_weight=weight)
    policy = Policy(tiny_model, run.updates[1].weights)
    check(run.updates[1], policy, grpo(policy, run.batch(1)))


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("verdicts", [UNEVEN, ONE_OF_TWO])
def test_a_joint_update_is_the_sum_of_both(tiny_model, tmp_path, accumulation, verdicts):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: verdicts),
        algorithm="dsrl",
        dsrl_warmup_space="joint",
        dsrl_warmup_steps=2,
        dsrl_joint_coef=0.3,
        per_device_train_batch_size=16 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    check_run(tiny_model, run, lambda p, b: grpo(p, b) + 0.3 * nsr_prerl(p, b))


def test_a_joint_update_with_constant_weights(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_space="joint", sample_weight="constant",
        max_steps=1, dsrl_warmup_steps=1,
    )  # fmt: skip
    policy = Policy(tiny_model)
    ones = [(sample, -1.0) for sample, _ in contributing_nsr(run.batch(0))]
    loss = grpo(policy, run.batch(0)) + 0.1 * token_mean(policy, ones, erased)
    check(run.updates[0], policy, loss)


# --- KL ------------------------------------------------------------------------------------------


def kl_mean(policy, reference, batch, corrected=True):
    """Schulman's k3 over all tokens of the batch: exp(r - p) - (r - p) - 1.

    corrected: times the ratio to the sampling policy, so that its gradient is the KL's (DeepSeek-V3.2,
    TRL's default).
    """
    total = 0.0
    for sample in batch:
        log_probs = policy.log_probs(sample.prompt, sample.completion)
        gap = reference.log_probs(sample.prompt, sample.completion).detach() - log_probs
        ratio = (log_probs - log_probs.detach()).exp() if corrected else 1.0
        total = total + (ratio * (gap.exp() - gap - 1)).sum()
    return total / tokens(batch)


def check_kl(run, model, first, switch, beta, corrected=True):
    """Updates `first` and later of a run, against the reference at the switch."""
    for step, update in enumerate(run.updates, start=first):
        policy = Policy(model, update.weights)
        kl = kl_mean(policy, switch, run.batch(step), corrected)
        check(update, policy, grpo(policy, run.batch(step)) + beta * kl)


@pytest.mark.parametrize("corrected", [True, False])
def test_kl_is_against_the_policy_at_the_switch(tiny_model, tmp_path, corrected):
    run = train(
        tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=2, max_steps=5, beta=0.5,
        learning_rate=1e-2, use_bias_correction_kl=corrected,
    )  # fmt: skip
    for step, update in enumerate(run.updates[:2]):
        policy = Policy(tiny_model, update.weights)
        check(update, policy, 0.01 * nsr_prerl(policy, run.batch(step)))
    switch = Policy(tiny_model, run.updates[2].weights)
    later = run.updates[2:]
    run.updates = later
    check_kl(run, tiny_model, 2, switch, 0.5, corrected)
    # The KL term was at work, and not against the policy before the warm-up.
    policy, batch = Policy(tiny_model, later[2].weights), run.batch(4)
    for other in (
        grpo(policy, batch),
        grpo(policy, batch) + 0.5 * kl_mean(policy, Policy(tiny_model), batch, corrected),
    ):
        assert error(later[2].gradient, policy.gradient(other)) > 1e-3


@pytest.mark.parametrize("saved", [2, 3])
def test_kl_after_a_resume_is_against_the_policy_at_the_switch(tiny_model, tmp_path, saved):
    settings = {
        "algorithm": "dsrl",
        "dsrl_warmup_steps": 2,
        "beta": 0.5,
        "learning_rate": 1e-2,
        "max_steps": 5,
        "save_strategy": "steps",
        "save_steps": saved,
    }
    whole = train(tiny_model, tmp_path, **settings)
    resumed = train(tiny_model, tmp_path, resume=tmp_path / f"checkpoint-{saved}", **settings)
    switch = Policy(tiny_model, whole.updates[2].weights)
    check_kl(resumed, tiny_model, saved, switch, 0.5)
    assert torch.equal(resumed.weights, whole.weights)


def test_kl_of_grpo_is_stock_trls(tiny_model, tmp_path):
    settings = {"beta": 0.5, "learning_rate": 1e-2, "per_device_train_batch_size": 16, "max_steps": 3}
    settings |= {"gradient_accumulation_steps": 1}
    ours = train(tiny_model, tmp_path, algorithm="grpo", advantage_eps=1e-4, **settings)
    stock = train(
        tiny_model, tmp_path, Script(), kind=GRPOTrainer, config=GRPOConfig, loss_type="dapo", **settings
    )
    # The first update only: Adam enlarges rounding where a gradient is nearly zero.
    assert error(ours.updates[0].gradient, stock.updates[0].gradient) < BOUND
    policy, reference = Policy(tiny_model, ours.updates[2].weights), Policy(tiny_model)
    loss = grpo(policy, ours.batch(2), lambda rewards: normalized(rewards, 1e-4))
    loss = loss + 0.5 * kl_mean(policy, reference, ours.batch(2))
    check(ours.updates[2], policy, loss)
    assert math.isfinite(ours.updates[2].logs["kl"])
