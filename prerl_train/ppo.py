"""`PPOTrainer`: DSRLTrainer with a critic beside the policy (PPO, arXiv 1707.06347).

When a batch is sampled the critic says what each token's state was worth; GAE makes advantages and
returns of that; then both networks learn from the same micro-batches, each with its own optimizer,
in the same updates. No gradient runs between them. Covers the critic's part of an update and its
checkpoint. Does not cover the formulas (critic.py, advantages.py) or the policy's part (trainer.py).
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch

from prerl_eval.errors import RunStopped, UserError
from prerl_train import advantages
from prerl_train.config import DSRLConfig
from prerl_train.critic import Critic, clipped_value_loss, final_rewards
from prerl_train.packing import cut_batch, plan_update
from prerl_train.space import Batch, loss_mask
from prerl_train.trainer import DSRLTrainer
from prerl_train.update import Share

CRITIC_FILE = "critic.pt"
"""In a checkpoint: weights of the critic and the state of its optimizer."""

INPUTS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")


class PPOTrainer(DSRLTrainer):
    """Trains by DSRLConfig(algorithm="ppo"); used as GRPOTrainer is, num_generations=1 included.

    The reward (sum of the reward functions) stands at a completion's last token. Advantages are
    whitened, see `advantages.whitened`. critic: the module, whose learning rate is ppo_critic_lr
    throughout; betas, eps, weight decay and gradient clip are the policy's. The first
    ppo_critic_warmup updates count as updates, for the learning rate's schedule too, and leave the
    policy and its optimizer as they are. update_facts has value_loss, critic_grad_norm (before
    clipping), and of the last rollout batch value_mean, return_mean and explained_variance (None
    where all returns agree). Raises UserError where a process would hold a part of the weights, and
    RunStopped where the critic's gradient is not a number.
    """

    _tag_names: ClassVar = ["trl", "ppo"]
    _name = "PPO"
    _paper: ClassVar = {"title": "Proximal Policy Optimization Algorithms", "id": "1707.06347"}

    def __init__(self, model: Any, reward_funcs: Any = None, args: DSRLConfig | None = None, **named: Any):
        """See DSRLTrainer; args must say algorithm="ppo"."""
        _check(args)
        super().__init__(model, reward_funcs, args, **named)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError(
                "ppo keeps a whole critic on every process; launch it without FSDP and DeepSpeed, on one or "
                "several processes (DDP)"
            )
        self.critic = Critic(self.model)
        if self.args.gradient_checkpointing:
            self.critic.backbone.gradient_checkpointing_enable(self.args.gradient_checkpointing_kwargs)
        self._critic, self.critic_optimizer = self.accelerator.prepare(self.critic, self._critic_optimizer())
        self._value_sums = torch.zeros(2, device=self.accelerator.device)

    # Why: advantages per token come from the critic, which also needs what they were made of.
    def _estimate(self, batch: Batch, rewards: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Advantages (B, T) of the local rows; what the critic learns from joins the batch.

        values, returns: (B, T) at sampling. value_mask: (B, T), 0 on rows without a reward.
        """
        punished = rewards + advantages.overlong_penalty(
            lengths, self.max_completion_length, self.args.overlong_buffer, self.args.overlong_penalty
        )
        own = self._local(punished.flatten())
        scored = ~own.isnan()[:, None]
        mask = (loss_mask(batch) * scored).float()
        values = self._values(batch)
        found, returns = advantages.generalized_advantages(
            final_rewards(torch.nan_to_num(own).float(), mask),
            values,
            mask,
            self.args.ppo_gamma,
            self.args.ppo_gae_lambda,
        )
        batch |= {"values": values, "returns": returns, "value_mask": scored.expand_as(mask).float()}
        self._describe(found, values, returns, mask)
        return advantages.whitened(found, mask, self._sum, self.args.advantage_eps)

    # Why: the critic's loss is a mean over tokens whatever the policy's is over.
    def _micro_batches(self, rows: Share) -> list[Batch]:
        cut = super()._micro_batches(rows)
        per_update = len(cut) // self._windows
        counts = torch.stack([_value_mask(part).sum() for part in cut])
        totals = self._sum(counts.view(self._windows, per_update).sum(1))
        for place, part in enumerate(cut):
            part["value_tokens"] = totals[place // per_update] * self._windows
        return cut

    # Why: here a micro-batch is at hand, and it is known whether the policy's update follows.
    def _compute_loss(self, model: Any, inputs: Batch) -> torch.Tensor:
        if not self.model.training:
            evaluated: torch.Tensor = super()._compute_loss(model, inputs)
            return evaluated
        self._train_critic(inputs)
        if self.state.global_step >= self.args.ppo_critic_warmup:
            loss: torch.Tensor = super()._compute_loss(model, inputs)
            return loss
        # A gradient of 0 would not do: the optimizer would decay weights and count its steps. Without
        # any it passes over them. The forward pass is for the metrics.
        with torch.no_grad():
            super()._compute_loss(model, inputs)
        return torch.zeros((), device=self.accelerator.device, requires_grad=True)

    # Why: the critic's loss is one of the update's facts.
    def _close_facts(self) -> None:
        loss, tokens = self._sum(self._value_sums).tolist()
        self.facts.extra["value_loss"] = loss / max(tokens, 1)
        self._value_sums.zero_()
        super()._close_facts()

    # Why: a run resumes with its critic; save_only_model leaves out both optimizers' states.
    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            self.save_critic(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.load_critic(Path(checkpoint))

    def save_critic(self, folder: Path) -> None:
        """Write CRITIC_FILE into a checkpoint."""
        state = {"critic": self.critic.state_dict(), "optimizer": self.critic_optimizer.state_dict()}
        torch.save(state, folder / CRITIC_FILE)

    def load_critic(self, folder: Path) -> None:
        """Take critic and optimizer from a checkpoint. Raises UserError where it has none."""
        path = folder / CRITIC_FILE
        if not path.is_file():
            raise UserError(
                f"{path} is missing, without which ppo does not resume; put it back, or start a new run with "
                "this checkpoint as model"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.critic.load_state_dict(state["critic"])
        self.critic_optimizer.load_state_dict(state["optimizer"])

    def _critic_optimizer(self) -> torch.optim.Optimizer:
        args = self.args
        decayed = set(self.get_decay_parameter_names(self.critic))
        trained = [(name, value) for name, value in self.critic.named_parameters() if value.requires_grad]
        return torch.optim.AdamW(
            [
                {"params": [v for n, v in trained if n in decayed], "weight_decay": args.weight_decay},
                {"params": [v for n, v in trained if n not in decayed], "weight_decay": 0.0},
            ],
            lr=args.ppo_critic_lr,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
        )

    def _values(self, batch: Batch) -> torch.Tensor:
        """(B, T): the value before each completion token, by the critic as it is."""
        rows = {key: batch[key] for key in INPUTS}
        values = torch.zeros(rows["completion_ids"].shape, device=self.accelerator.device)
        most = self.args.per_device_train_batch_size
        prompts, completions = rows["prompt_mask"].sum(1).tolist(), rows["completion_mask"].sum(1).tolist()
        with torch.no_grad():
            for piece in plan_update(prompts, completions, -(-len(values) // most), most):
                if piece:
                    part = cut_batch(rows, piece)
                    # Not through DDP, whose forward passes must be as many on all processes.
                    values[piece, : part["completion_ids"].size(1)] = _asked(self.critic, part)
        return values

    def _describe(
        self, found: torch.Tensor, values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor
    ) -> None:
        """Facts of a rollout batch; found: advantages = returns - values, (B, T) as all others."""
        _, unexplained = advantages.token_moments(found, mask, self._sum)
        value_mean, _ = advantages.token_moments(values, mask, self._sum)
        return_mean, spread = advantages.token_moments(returns, mask, self._sum)
        self.facts.extra |= {
            "value_mean": value_mean.item(),
            "return_mean": return_mean.item(),
            "explained_variance": (1 - unexplained / spread).item() if spread > 0 else None,
        }

    def _train_critic(self, part: Batch) -> None:
        """The critic's gradient of one micro-batch, and its step with the last one of the update."""
        mask = _value_mask(part)
        # As TRL normalizes the policy's token mean: DDP averages over processes.
        update = self.current_gradient_accumulation_steps / self.args.steps_per_generation
        tokens = part["value_tokens"].clamp(min=1) * update / self.accelerator.num_processes
        last = self.accelerator.sync_gradients
        with nullcontext() if last else self.accelerator.no_sync(self._critic):
            values = _asked(self._critic, part)
            losses = clipped_value_loss(values, part["values"], part["returns"], self.args.ppo_value_clip)
            loss = (losses * mask).sum()
            self.accelerator.backward(loss / tokens)
        self._value_sums += torch.stack([loss.detach(), mask.sum()])
        if last:
            self._step_critic()

    def _step_critic(self) -> None:
        limit = self.args.max_grad_norm or math.inf
        norm = float(self.accelerator.clip_grad_norm_(self._critic.parameters(), limit))
        if not math.isfinite(norm):
            raise RunStopped(
                f"the gradient norm of the critic is not a number at update {self.state.global_step + 1}; "
                "the last checkpoint is good: lower --critic-lr"
            )
        self.facts.extra["critic_grad_norm"] = norm
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad()


def _check(args: DSRLConfig | None) -> None:
    if not isinstance(args, DSRLConfig):
        return
    if args.algorithm != "ppo":
        raise ValueError(f"algorithm={args.algorithm!r}: PPOTrainer is for 'ppo'; use DSRLTrainer")
    if args.sample_weight != "advantage":
        raise ValueError(
            f"sample_weight={args.sample_weight!r} weighs samples, ppo weighs tokens; leave it out"
        )
    if args.fp16:
        raise ValueError("fp16=True scales the gradients of one optimizer, ppo has two; set bf16=True")
    if 0 < args.max_steps <= args.ppo_critic_warmup:
        raise ValueError(
            f"ppo_critic_warmup={args.ppo_critic_warmup}: a run of max_steps={args.max_steps} would never "
            "train the policy; give less"
        )


def _value_mask(part: Batch) -> torch.Tensor:
    """(B, T): 1 on the tokens that the critic learns from."""
    mask: torch.Tensor = loss_mask(part) * part["value_mask"]
    return mask


def _asked(critic: Any, part: Batch) -> torch.Tensor:
    """(B, T) values of the completion tokens of a batch."""
    values: torch.Tensor = critic(
        torch.cat([part["prompt_ids"], part["completion_ids"]], 1),
        torch.cat([part["prompt_mask"], part["completion_mask"]], 1),
        part["completion_ids"].size(1),
    )
    return values
