"""PPO: advantages, whitening and value loss by hand; the critic; whole runs, and resuming them."""

import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from prerl_eval.errors import RunStopped, UserError
from prerl_train import DSRLTrainer
from prerl_train.advantages import generalized_advantages, token_moments, whitened
from prerl_train.critic import Critic, clipped_value_loss, final_rewards
from prerl_train.ppo import CRITIC_FILE
from tests.ppo_runs import (
    EOS,
    ROWS,
    Watch,
    injected,
    make_trainer,
    randomize_head,
    reward,
    train_all_rows,
    weights,
)


def alone(here):
    """The sum over the processes of a run with one."""
    return here


def close(one, other, rtol=1e-5, atol=1e-6):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )


def same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


# Formulas


REWARDS = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
VALUES = torch.tensor([[0.2, 0.4, 0.5, 9.0], [0.6, 0.8, 9.0, 9.0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize(
    ("gamma", "lam", "expected"),
    [
        # delta = .2, .1, .5 and .2, .2
        (1.0, 0.0, [[0.2, 0.1, 0.5, 0], [0.2, 0.2, 0, 0]]),
        # r - V
        (1.0, 1.0, [[0.8, 0.6, 0.5, 0], [0.4, 0.2, 0, 0]]),
        # .1 + .5 * .5 = .35, .2 + .5 * .35 = .375; .2 + .5 * .2 = .3
        (1.0, 0.5, [[0.375, 0.35, 0.5, 0], [0.3, 0.2, 0, 0]]),
        # delta = .5 * .4 - .2 = 0, .5 * .5 - .4 = -.15, .5; then -.15 + .25 * .5 = -.025, .25 * -.025
        (0.5, 0.5, [[-0.00625, -0.025, 0.5, 0], [-0.15, 0.2, 0, 0]]),
    ],
)
def test_generalized_advantages_are_those_worked_out_by_hand(gamma, lam, expected):
    found, returns = generalized_advantages(REWARDS, VALUES, MASK, gamma, lam)
    torch.testing.assert_close(found, torch.tensor(expected))
    torch.testing.assert_close(returns, (torch.tensor(expected) + VALUES) * MASK)


def test_tokens_that_the_policy_did_not_choose_are_no_steps():
    """Two tokens of a tool's answer in the middle: the advantages of the others are as without them."""
    without, returns = generalized_advantages(REWARDS[:1, :3], VALUES[:1, :3], MASK[:1, :3], 0.9, 0.5)
    wide = [0, 1, 4]
    rewards, values, mask = torch.zeros(1, 5), torch.full((1, 5), 7.0), torch.zeros(1, 5)
    rewards[:, wide], values[:, wide], mask[:, wide] = REWARDS[:1, :3], VALUES[:1, :3], 1.0
    found, wide_returns = generalized_advantages(rewards, values, mask, 0.9, 0.5)
    torch.testing.assert_close(found[:, wide], without)
    torch.testing.assert_close(wide_returns[:, wide], returns)
    assert (found[:, 2:4] == 0).all()
    assert (wide_returns[:, 2:4] == 0).all()


def test_whitening_by_hand():
    """1, 2, 6 and 3 have mean 3 and population variance (4 + 1 + 9 + 0) / 4 = 3.5."""
    found = whitened(
        torch.tensor([[1.0, 2, 6, 50], [3, 50, 50, 50]]),
        torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]),
        alone,
        0.0,
    )
    expected = torch.tensor([[-2.0, -1, 3, 0], [0, 0, 0, 0]]) / 3.5**0.5
    torch.testing.assert_close(found, expected)


def test_whitening_is_over_all_processes():
    """This process has 1 and 2, another 6 and 3: as if all four were here."""
    here = torch.tensor([[1.0, 2]])
    answers = iter([torch.tensor([12.0, 4.0]), torch.tensor(14.0)])
    asked = []
    found = whitened(here, torch.ones(1, 2), lambda sums: asked.append(sums) or next(answers), 0.0)
    torch.testing.assert_close(found, torch.tensor([[-2.0, -1]]) / 3.5**0.5)
    torch.testing.assert_close(asked[0], torch.tensor([3.0, 2.0]))
    torch.testing.assert_close(asked[1], torch.tensor(5.0))


def test_equal_advantages_whiten_to_nothing():
    """0.1 is no float: the mean of 7 of them is another."""
    equal = torch.full((1, 7), 0.1)
    assert not torch.equal(equal, equal.sum().expand(1, 7) / 7)
    assert (whitened(equal, torch.ones(1, 7), alone) == 0).all()
    assert token_moments(torch.ones(2, 3), torch.zeros(2, 3), alone)[0] == 0


def test_the_reward_stands_at_the_last_trained_token():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 0, 1], [0, 0, 0]])
    expected = torch.tensor([[0.0, 0, 2], [3, 0, 0], [0, 0, 4], [0, 0, 0]])
    assert torch.equal(final_rewards(torch.tensor([2.0, 3, 4, 5]), mask), expected)


def test_value_loss_by_hand():
    """Clip .5 around 1: inside, outside on the far side of the return, outside on its near side."""
    values = torch.tensor([1.2, 2.0, 2.0], requires_grad=True)
    old, returns = torch.ones(3), torch.tensor([2.0, 1.0, 3.0])
    loss = clipped_value_loss(values, old, returns, 0.5)
    # .8^2 / 2; max(1, .5^2) / 2; max(1, 1.5^2) / 2, of which the clipped one has no gradient
    torch.testing.assert_close(loss, torch.tensor([0.32, 0.5, 1.125]))
    loss.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.8, 1.0, 0.0]))


# The critic


def test_a_critic_reads_the_state_before_each_token(tiny_model):
    policy = AutoModelForCausalLM.from_pretrained(tiny_model)
    before = torch.random.get_rng_state()
    critic = Critic(policy)
    assert torch.equal(before, torch.random.get_rng_state())
    ids = torch.tensor([[1, 7, 8, 9, 10]])
    assert (critic(ids, torch.ones_like(ids), 3) == 0).all()
    with torch.no_grad():
        critic.head.weight.normal_()
        critic.head.bias.fill_(0.25)
    hidden = AutoModel.from_pretrained(tiny_model)(ids).last_hidden_state[0]
    expected = torch.stack([hidden[at] @ critic.head.weight[0] + 0.25 for at in (1, 2, 3)])
    torch.testing.assert_close(critic(ids, torch.ones_like(ids), 3)[0], expected)
    padded = torch.tensor([[0, 0, 1, 7, 8, 9, 10, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 0]])
    torch.testing.assert_close(critic(padded, mask, 4)[0, :3], expected, rtol=1e-4, atol=1e-5)


def test_a_critic_is_float32_and_shares_no_weights(tiny_model):
    policy = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    critic = Critic(policy)
    assert {value.dtype for value in critic.parameters()} == {torch.float32}
    assert all(value.dtype == torch.bfloat16 for value in policy.parameters())
    with torch.no_grad():
        critic.backbone.embed_tokens.weight.zero_()
    assert policy.model.embed_tokens.weight.any()


def test_the_critic_of_an_adapted_policy_trains_adapters_and_head(tiny_model):
    from peft import LoraConfig, get_peft_model

    policy = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    adapted = get_peft_model(policy, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    critic = Critic(adapted)
    trained = {name: value for name, value in critic.named_parameters() if value.requires_grad}
    assert {name.split(".")[-2] for name in trained if "lora" in name} == {"default"}
    assert {name for name in trained if "lora" not in name} == {"head.weight", "head.bias"}
    assert {value.dtype for value in trained.values()} == {torch.float32}
    assert critic.backbone.embed_tokens.weight.dtype == torch.bfloat16
    ids = torch.tensor([[1, 7, 8]])
    with torch.autocast("cpu", torch.bfloat16):
        assert critic(ids, torch.ones_like(ids), 2).dtype == torch.float32


# Whole updates


@pytest.mark.parametrize(
    "settings",
    [{}, {"loss_type": "grpo"}, {"steps_per_generation": True, "num_iterations": 2, "max_steps": 4}],
    ids=["token-mean", "sequence-mean", "two-updates-two-passes"],
)
def test_weights_do_not_depend_on_micro_batches(tiny_model, tmp_path, settings):
    found = []
    for rows in (3, 1):
        several = {**settings, "steps_per_generation": ROWS // rows} if len(settings) > 1 else settings
        accumulated = {"gradient_accumulation_steps": 3 // rows} if len(settings) > 1 else {}
        trainer = make_trainer(
            tiny_model,
            tmp_path,
            per_device_train_batch_size=rows,
            **{"gradient_accumulation_steps": ROWS // rows, **accumulated, **several},
        )
        randomize_head(trainer).train()
        assert trainer.state.global_step == settings.get("max_steps", 3)
        found.append(weights(trainer))
    close(*found)


def test_two_processes_give_the_weights_of_one(tiny_model, tmp_path):
    """Rows without a reward and a warm-up of the critic included."""
    one = train_all_rows(tiny_model, tmp_path / "one", rows=3)
    out = tmp_path / "two"
    out.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.ppo_runs", str(tiny_model), str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (first, facts), (second, _) = (torch.load(out / f"process-{rank}.pt") for rank in range(2))
    same(first, second)
    close(first, weights(one))
    for name in ("value_loss", "value_mean", "return_mean", "explained_variance", "critic_grad_norm"):
        assert facts[name] == pytest.approx(one.update_facts[name], rel=1e-4), name


def test_rows_without_a_reward_teach_nothing(tiny_model, tmp_path):
    """Their completions may be anything."""
    found = []
    for shift in (0, 5):

        def rollouts(prompts, trainer, shift=shift):
            drawn = injected(prompts, trainer)
            drawn["completion_ids"][1] = [token + shift for token in (20, 21, 22)]
            return drawn

        def rewards(completion_ids, **_):
            return [None if at == 1 else value for at, value in enumerate(reward(completion_ids))]

        trainer = make_trainer(tiny_model, tmp_path, rollouts=rollouts, rewards=rewards, max_steps=2)
        randomize_head(trainer).train()
        found.append(weights(trainer))
    close(*found)


def test_a_tools_answer_is_part_of_the_state(tiny_model, tmp_path):
    """Tokens that the policy reads but did not write have no advantage and no say in means."""
    watch = Watch()
    parts = []

    def rollouts(prompts, trainer):
        drawn = injected(prompts, trainer)
        drawn["completion_ids"] = [[10, 11, 12, 13, EOS] for _ in prompts]
        return {**drawn, "env_mask": [[1, 0, 0, 1, 1] for _ in prompts]}

    trainer = make_trainer(tiny_model, tmp_path, rollouts=rollouts, max_steps=1)
    plain = trainer._train_critic
    trainer._train_critic = lambda part: (parts.append(part), plain(part))
    watch.follow(randomize_head(trainer)).train()
    assert watch.facts[0]["contributing_tokens"] == 3 * ROWS
    assert parts[0]["value_tokens"] == 3 * ROWS
    assert (parts[0]["advantages"][:, 1:3] == 0).all()
    assert (parts[0]["advantages"][:, [0, 3, 4]] != 0).all()


def test_equal_advantages_leave_an_update_to_the_critic(tiny_model, tmp_path):
    """All right, all values 0: the policy has nothing to learn, the critic that everything is right."""
    watch = Watch()
    trainer = make_trainer(
        tiny_model, tmp_path, rewards=lambda completion_ids, **_: [1.0] * len(completion_ids), max_steps=1
    )
    watch.follow(trainer).train()
    assert all(not grad.any() for grad in watch.policy[0][1].values())
    assert watch.facts[0]["value_loss"] == 0.5
    assert watch.facts[0]["explained_variance"] is None
    assert trainer.critic.head.bias > 0


def test_warm_up_of_the_critic_leaves_the_policy_alone(tiny_model, tmp_path):
    """No drift by weight decay, no count of steps in Adam: the first update is as without warm-up."""
    watch = Watch()
    trainer = make_trainer(tiny_model, tmp_path, ppo_critic_warmup=2, weight_decay=0.5)
    watch.follow(randomize_head(trainer))
    start = weights(trainer)
    trainer.train()
    for kept, grads in watch.policy[:3]:
        same(
            {f"policy.{name}": value for name, value in kept.items()},
            {n: v for n, v in start.items() if "policy" in n},
        )
        assert all(grad is None for grad in grads.values()) == (grads is not watch.policy[2][1])
    for before, after in zip(watch.critic, watch.critic[1:], strict=False):
        assert all(not torch.equal(before[0][name], after[0][name]) for name in ("head.weight", "head.bias"))
    assert not torch.equal(weights(trainer)["policy.lm_head.weight"], start["policy.lm_head.weight"])
    assert {float(state["step"]) for state in trainer.optimizer.state.values()} == {1.0}
    assert [facts["loss"] != 0 for facts in watch.facts] == [False, False, True]
    assert all(facts["entropy"] > 0 for facts in watch.facts)


def test_the_policys_loss_does_not_reach_the_critic(tiny_model, tmp_path):
    """No gradient is left in a critic that has stepped before the policy's backward pass."""
    trainer = make_trainer(tiny_model, tmp_path, ppo_critic_lr=0.0, weight_decay=0.0)
    start = weights(randomize_head(trainer))
    trainer.train()
    end = weights(trainer)
    same({n: v for n, v in start.items() if "critic" in n}, {n: v for n, v in end.items() if "critic" in n})
    assert not torch.equal(start["policy.lm_head.weight"], end["policy.lm_head.weight"])
    assert all(value.grad is None for value in trainer.critic.parameters())


@pytest.mark.parametrize("group", [1, 2])
def test_sampling_from_the_model_itself_works_in_groups_and_alone(tiny_model, tmp_path, group):
    trainer = make_trainer(tiny_model, tmp_path, rollouts=None, num_generations=group, max_steps=2)
    trainer.train()
    assert trainer.update_facts["samples"] == ROWS
    assert trainer.update_facts["problems"] == ROWS // group
    assert trainer.update_facts["draws"] == 1


def test_a_critic_that_breaks_stops_the_run_before_its_step(tiny_model, tmp_path):
    def rewards(completion_ids, trainer_state, **_):
        return [float("inf") if trainer_state.global_step == 1 else 1.0] * len(completion_ids)

    trainer = make_trainer(tiny_model, tmp_path, rewards=rewards)
    with pytest.raises(RunStopped, match=r"critic is not a number at update 2; .* lower --critic-lr"):
        randomize_head(trainer).train()
    assert all(value.isfinite().all() for value in weights(trainer).values())
    assert trainer.state.global_step == 1


# Checkpoints


def test_a_run_resumes_bitwise(tiny_model, tmp_path):
    """The warm-up ends after the checkpoint; rollouts are the model's own."""
    settings = {
        "rollouts": None,
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
        "ppo_critic_warmup": 1,
        "num_iterations": 2,
    }
    whole = make_trainer(tiny_model, tmp_path / "run", **settings)
    whole.train()
    again = make_trainer(tiny_model, tmp_path / "again", **settings)
    checkpoint = tmp_path / "run" / "checkpoint-2"
    again.train(resume_from_checkpoint=str(checkpoint))
    same(weights(whole), weights(again))
    one, other = (run.critic_optimizer.state_dict()["state"] for run in (whole, again))
    for number, state in one.items():
        same(state, other[number])
    assert CRITIC_FILE in json.loads((checkpoint / "prerl.json").read_text())["files"]
    (checkpoint / CRITIC_FILE).unlink()
    with pytest.raises(UserError, match=r"critic\.pt is missing"):
        make_trainer(tiny_model, tmp_path / "third", **settings).train(resume_from_checkpoint=str(checkpoint))


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "grpo", "num_generations": 2}, "algorithm='grpo': PPOTrainer is for 'ppo'"),
        ({"sample_weight": "constant"}, "sample_weight='constant' weighs samples"),
        ({"ppo_critic_warmup": 3}, "ppo_critic_warmup=3: a run of max_steps=3 would never"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tiny_model, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(tiny_model, tmp_path, **settings)


def test_a_trainer_without_critic_refuses_ppo(tiny_model, tmp_path):
    with pytest.raises(ValueError, match=r"use prerl_train\.PPOTrainer"):
        make_trainer(tiny_model, tmp_path, kind=DSRLTrainer).train()


def test_sharded_weights_are_refused(tiny_model, tmp_path):
    from prerl_train import PPOTrainer

    class Sharded(PPOTrainer):
        def create_accelerator_and_postprocess(self):
            super().create_accelerator_and_postprocess()
            self.is_fsdp_enabled = True

    with pytest.raises(UserError, match="launch it without FSDP and DeepSpeed"):
        make_trainer(tiny_model, tmp_path, kind=Sharded)
