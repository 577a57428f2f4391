"""PPO on a tiny model with injected completions; as a program, one of several processes of such a run.

    torchrun --nproc_per_node 2 -m tests.ppo_runs MODEL OUT

trains the same three updates as `train_all_rows` and saves the weights of policy and critic in OUT.
"""

import os
import random
import sys
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from transformers import TrainerCallback

from prerl_train import DSRLConfig, PPOTrainer
from prerl_train.checkpoints import AtomicCheckpoints

ROWS = 6
EOS = 2
PROMPTS = [f"<s> make {' '.join(map(str, range(number % 4 + 1)))}" for number in range(24)]


class Trainer(AtomicCheckpoints, PPOTrainer):
    pass


def injected(prompts, trainer):
    """Completions that depend on update and row alone: 2-9 tokens, two of three with a stop token."""
    first = trainer.accelerator.process_index * len(prompts)
    completions = []
    for row in range(first, first + len(prompts)):
        dice = random.Random(f"{trainer.state.global_step} {row}")
        ids = [dice.randrange(6, 60) for _ in range(dice.randint(1, 8))]
        completions.append([*ids, EOS] if row % 3 else [*ids, 7])
    return {
        "prompt_ids": [
            trainer.processing_class(text, add_special_tokens=False).input_ids for text in prompts
        ],
        "completion_ids": completions,
        "logprobs": None,
    }


def reward_of(ids):
    """1 or 0 by the ids alone."""
    return float(sum(ids) % 2)


def reward(completion_ids, **_):
    return [reward_of(ids) for ids in completion_ids]


def reward_but_one(completion_ids, trainer_state, **_):
    """As `reward`, but long completions cannot be scored."""
    return [None if len(ids) > 7 else reward_of(ids) for ids in completion_ids]


def make_trainer(model, out, *, rollouts=injected, rewards=reward, callbacks=None, kind=Trainer, **settings):
    args = DSRLConfig(
        output_dir=str(out),
        **{
            "algorithm": "ppo",
            "max_steps": 3,
            "save_strategy": "no",
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "ppo_critic_lr": 1e-2,
            # Where gradients are nearly 0, Adam's direction is rounding noise; a large eps hides it.
            "adam_epsilon": 1e-3,
            "max_grad_norm": 0.5,
            "per_device_train_batch_size": ROWS,
            "gradient_accumulation_steps": 1,
            "num_generations": 1,
            "max_completion_length": 9,
            "bf16": False,
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "shuffle_dataset": False,
            **settings,
        },
    )
    data = Dataset.from_list([{"prompt": text} for text in PROMPTS])
    return kind(
        str(model), rewards, args=args, train_dataset=data, callbacks=callbacks, rollout_func=rollouts
    )


def randomize_head(trainer):
    """Values that differ from the first update on."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        trainer.critic.head.weight.normal_(0, 0.3, generator=generator)
    return trainer


def weights(trainer):
    """Policy and critic, by name."""
    found = {f"policy.{name}": value for name, value in trainer.model.state_dict().items()}
    found |= {f"critic.{name}": value for name, value in trainer.critic.state_dict().items()}
    return {name: value.detach().clone() for name, value in found.items()}


def train_all_rows(model, out, processes=1, rows=ROWS, **settings):
    """Three updates, the first of the critic alone, `rows` a forward pass; some rewards are unknown."""
    trainer = make_trainer(
        model,
        out,
        rewards=reward_but_one,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=ROWS // (rows * processes),
        **{"ppo_critic_warmup": 1, "ppo_gae_lambda": 0.9, **settings},
    )
    randomize_head(trainer).train()
    return trainer


class Watch(TrainerCallback):
    """Weights and gradients of both networks at each step of their optimizers, and the logged facts."""

    def __init__(self):
        self.policy, self.critic, self.facts = [], [], []

    def follow(self, trainer):
        self.trainer = trainer
        trainer.critic_optimizer.optimizer.register_step_pre_hook(
            lambda *_: self.critic.append(_snapshot(trainer.critic))
        )
        trainer.add_callback(self)
        return trainer

    def on_pre_optimizer_step(self, args, state, control, **_):
        self.policy.append(_snapshot(self.trainer.model))

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs:
            self.facts.append({**self.trainer.update_facts, "loss": logs["loss"], "logs": dict(logs)})


def _snapshot(module):
    kept = {name: value.detach().clone() for name, value in module.state_dict().items()}
    grads = {name: value.grad for name, value in module.named_parameters()}
    return kept, {name: None if grad is None else grad.clone() for name, grad in grads.items()}


if __name__ == "__main__":
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(os.environ["WORLD_SIZE"])
    trained = train_all_rows(model, out, processes=count, rows=1)
    torch.save(
        (weights(trained), trained.update_facts), out / f"process-{trained.accelerator.process_index}.pt"
    )
    # A gloo group that is freed may wait for its own thread, which waits for Python.
    os._exit(0)
