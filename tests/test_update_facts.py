"""Learning rates, optimizer resets and what update_facts says, by hand-computed values."""

import pytest
import torch
from transformers import TrainerCallback

from tests.training import (
    EOS,
    MIXED,
    Policy,
    Script,
    make_trainer,
    stubborn,
    train,
)

THINK = 3
"""Id of <think>: a start token that no prompt begins with."""


def phases(run):
    return [update.facts["phase"] for update in run.updates]


# --- Learning rate and optimizer -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [2e-4, 2e-4, 1e-3, 1e-3]), ("linear", [2e-4, 1.5e-4, 5e-4, 2.5e-4])],
)
def test_the_warm_up_has_a_learning_rate_of_its_own(tiny_model, tmp_path, schedule, expected):
    settings = {
        "algorithm": "dsrl",
        "dsrl_warmup_steps": 2,
        "dsrl_warmup_lr": 2e-4,
        "max_steps": 4,
        "lr_scheduler_type": schedule,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    run = train(tiny_model, tmp_path, **settings)
    assert [update.rate for update in run.updates] == pytest.approx(expected)
    assert [update.logs["learning_rate"] for update in run.updates] == pytest.approx(expected)
    for saved in (1, 2, 3):
        resumed = train(tiny_model, tmp_path, resume=tmp_path / f"checkpoint-{saved}", **settings)
        assert [update.rate for update in resumed.updates] == pytest.approx(expected[saved:])
        assert torch.equal(resumed.weights, run.weights)


def test_without_one_the_warm_up_has_that_of_the_run(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=1)
    assert [update.rate for update in run.updates] == [1e-3, 1e-3]


@pytest.mark.parametrize("reset", [True, False])
def test_the_optimizer_is_reset_at_the_switch_and_once(tiny_model, tmp_path, reset):
    settings = {
        "algorithm": "dsrl",
        "dsrl_warmup_steps": 2,
        "dsrl_reset_optimizer": reset,
        "max_steps": 4,
        "adam_epsilon": 1e-8,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    run = train(tiny_model, tmp_path, **settings)
    names = len(list(run.trainer.model.parameters()))
    assert [update.moments for update in run.updates] == [0, names, 0 if reset else names, names]
    # Adam's first step: -lr * g / (|g| + eps). A fresh one makes it at the switch.
    before, after = (flat_weights(run, step) for step in (2, 3))
    gradient = run.updates[2].gradient
    first = -1e-3 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(after - before, first, atol=2e-7) == reset
    for saved in (1, 2, 3):
        resumed = train(tiny_model, tmp_path, resume=tmp_path / f"checkpoint-{saved}", **settings)
        assert torch.equal(resumed.weights, run.weights)


def flat_weights(run, step):
    names = sorted(name for name, _ in run.trainer.model.named_parameters())
    return torch.cat([run.updates[step].weights[name].double().flatten() for name in names])


# --- Facts ---------------------------------------------------------------------------------------


def test_the_facts_of_an_update_by_hand(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", start_token="<think>")
    for step, update in enumerate(run.updates):
        batch, facts = run.batch(step), update.facts
        wrong = [batch[row] for row in (4, 6, 7, 12, 15)]  # of UNEVEN's mixed groups
        lengths = [len(sample.completion) for sample in batch]
        assert facts["phase"] == "prerl"
        assert facts["draws"] == 1
        assert facts["reward"] == pytest.approx(7 / 16)
        assert (facts["problems"], facts["solved"], facts["unsolved"], facts["at_least_once"]) == (4, 1, 1, 3)
        assert (facts["samples"], facts["tokens"]) == (16, sum(lengths))
        assert facts["length_mean"] == pytest.approx(sum(lengths) / 16)
        assert facts["length_max"] == max(lengths)
        cut = [sample for sample in batch if sample.completion[-1] != EOS]
        assert 0 < len(cut) < 16
        assert facts["truncated"] == pytest.approx(len(cut) / 16)
        assert facts["contributing_samples"] == 5
        assert facts["contributing_tokens"] == sum(len(sample.completion) for sample in wrong)
        assert facts["clip_fraction"] == 0
        assert facts["logprob_gap"] is None
        policy = Policy(tiny_model, update.weights)
        entropy = torch.cat([entropies(policy, [THINK], sample.completion) for sample in wrong]).mean()
        assert facts["entropy"] == pytest.approx(entropy.item(), rel=1e-5)
        assert update.logs["entropy"] == facts["entropy"]
        assert update.logs["dsrl/solved"] == 1
        assert facts["seconds"].keys() == {"sampling", "reward", "update"}
        assert all(seconds >= 0 for seconds in facts["seconds"].values())


def entropies(policy, before, completion):
    found = policy.distributions(before, completion).detach()
    return -(found.exp() * found).sum(1)


def test_facts_of_grpo_look_at_every_sample_that_moves_the_policy(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="grpo", max_steps=1)
    batch, facts = run.batch(0), run.updates[0].facts
    mixed = [sample for sample in batch if 4 <= sample.row < 8 or sample.row >= 12]
    assert facts["contributing_samples"] == 8
    assert facts["contributing_tokens"] == sum(len(sample.completion) for sample in mixed)
    policy = Policy(tiny_model)
    entropy = torch.cat([entropies(policy, sample.prompt, sample.completion) for sample in mixed]).mean()
    assert facts["entropy"] == pytest.approx(entropy.item(), rel=1e-5)


def test_facts_of_a_joint_update_without_a_wrong_sample(tiny_model, tmp_path):
    # Nothing stands for the NSR-PreRL part: no token of it is counted.
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: "1111 0000 1111 0000"),
        algorithm="dsrl",
        dsrl_warmup_space="joint",
        dsrl_warmup_steps=1,
        max_steps=1,
        overlong_buffer=0,
    )
    assert run.updates[0].facts["contributing_tokens"] == 0
    assert run.updates[0].facts["entropy"] == 0
    assert run.updates[0].gradient.norm() == 0


def test_the_clip_fraction_is_that_of_all_tokens_of_the_update(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="prerl",
        num_iterations=2,
        learning_rate=3e-2,
        epsilon_high=0.3,
    )
    old, new = Policy(tiny_model), Policy(tiny_model, run.updates[1].weights)
    clipped = total = 0
    for start in range(0, 16, 4):
        group = run.batch(0)[start : start + 4]
        mean = sum(sample.reward for sample in group) / 4
        for sample in group:
            ratio = (new.log_probs([1], sample.completion) - old.log_probs([1], sample.completion)).exp()
            clipped += int((ratio > 1.3).sum() if sample.reward > mean else (ratio < 0.8).sum())
            total += len(sample.completion)
    assert 0 < clipped < total
    assert run.updates[0].facts["clip_fraction"] == 0
    assert run.updates[1].facts["clip_fraction"] == pytest.approx(clipped / total)


def test_facts_of_several_updates_of_a_batch_are_of_each(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="nsr-prerl",
        steps_per_generation=4,
        gradient_accumulation_steps=2,
    )
    for update in run.updates:
        assert update.facts["contributing_samples"] == len(update.seen) == 4
        assert update.facts["contributing_tokens"] == sum(len(completion) for _, completion in update.seen)
        assert update.facts["samples"] == 16


def test_facts_do_not_depend_on_how_often_is_logged(tiny_model, tmp_path):
    class Facts(TrainerCallback):
        def __init__(self):
            self.found = []

        def on_step_end(self, args, state, control, **_):
            self.found.append({**self.trainer.update_facts})

    def facts(every):
        callback = Facts()
        script = Script(stubborn)
        trainer = make_trainer(
            tiny_model, tmp_path, script, callbacks=[callback], algorithm="dsrl", dsrl_warmup_steps=2,
            max_steps=4, logging_steps=every,
        )  # fmt: skip
        callback.trainer = trainer
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        timed = ("seconds", "tokens_per_second")
        return [{key: fact[key] for key in fact if key not in timed} for fact in callback.found], logs

    often, logs_often = facts(1)
    seldom, logs_seldom = facts(2)
    assert [fact["draws"] for fact in often] == [1, 3, 1, 1]
    assert often == seldom
    assert len(logs_seldom) == 2
    for key in ("entropy", "dsrl/draws", "dsrl/contributing_tokens", "clip_ratio/region_mean"):
        pairs = zip(logs_often[::2], logs_often[1::2], strict=True)
        means = [(one[key] + other[key]) / 2 for one, other in pairs]
        assert [entry[key] for entry in logs_seldom] == pytest.approx(means)
