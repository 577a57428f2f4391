"""Gradients of PPO's updates are those of the formula written out by hand, whatever the micro-batches."""

import json

import pytest
import torch

from tests.ppo_formula import Formula
from tests.ppo_runs import PROMPTS, ROWS, Trainer, Watch, injected, make_trainer, randomize_head


def _relative(grads, by_hand):
    """Relative error of a whole gradient."""
    off = sum((grads[name] - value).square().sum() for name, value in by_hand.items())
    return (off / sum(value.square().sum() for value in by_hand.values())).sqrt().item()


def _samples(trainer, prompts):
    """[(prompt ids, completion ids)] of the first rollout batch."""
    trainer.state.global_step = 0
    drawn = injected(prompts, trainer)
    return list(zip(drawn["prompt_ids"], drawn["completion_ids"], strict=True))


class Recording(Trainer):
    """Keeps the rows of each update's micro-batches, as tuples of completion ids."""

    def __init__(self, *args, **named):
        self.updates = [[]]
        super().__init__(*args, **named)

    def _compute_loss(self, model, inputs):
        for ids, mask in zip(inputs["completion_ids"], inputs["completion_mask"], strict=True):
            self.updates[-1].append(tuple(ids[mask.bool()].tolist()))
        loss = super()._compute_loss(model, inputs)
        if self.accelerator.sync_gradients:
            self.updates.append([])
        return loss


def _check_update(watch, update, by_hand):
    for seen, (grads, norm), logged in zip(
        (watch.policy[update][1], watch.critic[update][1]),
        by_hand,
        (watch.facts[update]["logs"]["grad_norm"], watch.facts[update]["critic_grad_norm"]),
        strict=True,
    ):
        assert logged == pytest.approx(norm, rel=1e-5)
        scale = min(1.0, watch.trainer.args.max_grad_norm / norm)
        assert _relative(seen, {name: grad * scale for name, grad in grads.items()}) < 1e-5


@pytest.mark.parametrize(("micro", "windows"), [(ROWS, 1), (2, 1), (1, 2)])
def test_updates_are_the_gradients_of_the_formula(tiny_model, tmp_path, micro, windows):
    """Two passes over a batch, both clips active in the second; lambda and gamma below 1, G = 1."""
    watch = Watch()
    trainer = make_trainer(
        tiny_model,
        tmp_path,
        kind=Recording,
        max_steps=2 * windows,
        num_iterations=2,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=ROWS // micro // windows,
        steps_per_generation=ROWS // micro,
        learning_rate=3e-3,
        ppo_gamma=0.9,
        ppo_gae_lambda=0.5,
        ppo_value_clip=0.02,
        adam_epsilon=1e-8,
        max_grad_norm=0.3,
    )
    samples = _samples(trainer, PROMPTS[:ROWS])
    watch.follow(randomize_head(trainer)).train()
    formula = Formula(tiny_model, samples, trainer.args)
    formula.load(watch.policy[0][0], watch.critic[0][0])
    formula.rollout()
    order = [tuple(completion) for _, completion in samples]
    for update in range(2 * windows):
        rows = [order.index(ids) for ids in trainer.updates[update]]
        assert len(rows) == ROWS // windows
        formula.load(watch.policy[update][0], watch.critic[update][0])
        policy, critic, clipped = formula.losses(rows)
        assert watch.facts[update]["value_loss"] == pytest.approx(critic.item(), rel=1e-5)
        _check_update(watch, update, formula.gradients(policy, critic))
    # The last update's clips, and nothing in the first.
    assert min(clipped) > 0
    assert watch.facts[0]["clip_fraction"] == 0
    _check_facts(watch.facts[0], formula)


def _check_facts(facts, formula):
    values = torch.cat([values for _, values in formula.old])
    returns = torch.cat(formula.returns)
    explained = 1 - (returns - values).var(correction=0) / returns.var(correction=0)
    assert facts["value_mean"] == pytest.approx(values.mean().item(), rel=1e-4)
    assert facts["return_mean"] == pytest.approx(returns.mean().item(), rel=1e-4)
    assert facts["explained_variance"] == pytest.approx(explained.item(), rel=1e-4)
    assert facts["logs"]["dsrl/explained_variance"] == facts["explained_variance"]
    json.dumps({name: value for name, value in facts.items() if name != "logs"}, allow_nan=False)
