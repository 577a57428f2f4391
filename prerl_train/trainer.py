"""`DSRLTrainer`: TRL's GRPOTrainer whose batch is transformed between scoring and the loss.

Sampling, rewards, vLLM, distributed training, logging and the clipped surrogate are TRL's. What the
overrides add: advantages by the algorithm of the phase, rows that do not contribute left out,
prompts erased in P(y), micro-batches cut by length, and a loss whose mean does not depend on the
cut. Each override calls super() and says in a line why it is there. Does not cover the method's
formulas (space.py, advantages.py, algorithms/), PPO's critic (ppo.py) or files (checkpoints.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from transformers import set_seed
from trl import GRPOTrainer

from prerl_eval.errors import RunStopped
from prerl_eval.start_token import start_token_id
from prerl_train import advantages, space
from prerl_train.algorithms import Phase, phase_rule
from prerl_train.config import DSRLConfig
from prerl_train.draws import draw_seed, other_prompts
from prerl_train.facts import UpdateFacts, gathering_uneven, mean_advantages, show_advantages
from prerl_train.packing import cut_batch, idle_batch, scored_by_length
from prerl_train.reference import SwitchReference
from prerl_train.schedule import scale_rates, warmup_scale
from prerl_train.space import Batch
from prerl_train.update import ERASED_PART, Share, deal, joint, micro_batches, share

GAP_ROWS = 8
"""Rows at most on which trainer and engine are compared where TRL does not compare all of them."""


class DSRLTrainer(GRPOTrainer):
    """Trains by any of the twelve algorithms of `DSRLConfig.algorithm`; used as GRPOTrainer is.

    phase: the Phase of the update being made. draw: 0-based draw of its rollout batch. update_facts:
    what metrics say of the update, complete when it is logged. Raises RunStopped where no draw of
    `max_draws` has a contributing sample, UserError where the model has no start token.
    """

    _tag_names: ClassVar = ["trl", "dsrl"]
    _name = "DSRL"
    _paper: ClassVar = {
        "title": "From P(y|x) to P(y): Investigating Reinforcement Learning in Pre-train Space",
        "id": "2604.14142",
    }

    args: DSRLConfig

    def __init__(self, model: Any, reward_funcs: Any = None, args: DSRLConfig | None = None, **named: Any):
        """See GRPOTrainer; args must be a DSRLConfig."""
        if not isinstance(args, DSRLConfig):
            raise ValueError(
                "args: give a DSRLConfig (prerl_train.DSRLConfig takes all that GRPOConfig takes)"
            )
        super().__init__(model, reward_funcs, args, **named)
        if self._is_vlm:
            raise ValueError("DSRLTrainer trains text models; this one has a processor for images")
        self.aggregation: str = args.loss_type
        self.start_id = (
            start_token_id(self._tokenizer, self.model.config, args.start_token) if args.erases else None
        )
        self._rule = phase_rule(args.algorithm)
        self.phase: Phase = self._rule(0, args)
        self.draw = 0
        self.facts = UpdateFacts(self.accelerator)
        self.reference = SwitchReference(self)
        self._defer_log_probs = False
        self._compared = False
        self._scored: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._rewards = torch.empty(0)
        self._ready: Share | None = None
        self._buffered_inputs: list[Batch] | None = None
        self._idle: Batch = {}

    @property
    def update_facts(self) -> dict[str, Any]:
        """What there is to say about the last update; see prerl_train.facts."""
        return self.facts.report

    # Why: DSRL's warm-up has a learning rate of its own.
    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """TRL's schedule, scaled during the warm-up where dsrl_warmup_lr says so."""
        if self.args.algorithm == "dsrl" and self.args.dsrl_warmup_steps > num_training_steps:
            raise ValueError(
                f"dsrl_warmup_steps={self.args.dsrl_warmup_steps} is longer than the run of "
                f"{num_training_steps} updates"
            )
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self.args.algorithm == "dsrl" and self.args.dsrl_warmup_lr is not None:
            scale_rates(scheduler, partial(warmup_scale, config=self.args))
        return scheduler

    # Why: advantages are the algorithm's, and they need the rewards of all processes.
    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Any:
        start = time.perf_counter()
        per_function = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if not self.model.training:
            return per_function
        total = (per_function * self.reward_weights.to(per_function.device)).nansum(1)
        self._rewards = torch.where(per_function.isnan().all(1), torch.nan, total)
        self.facts.seconds["reward"] += time.perf_counter() - start
        return per_function

    # Why: this is where a batch is complete and not yet split: choose its rows, erase its prompts.
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        if not self.model.training:
            scored: Batch = super()._generate_and_score_completions(inputs)
            return scored
        self._begin_phase()
        self.facts.begin(self.phase.name)
        batch = self._draw(inputs)
        self._ready = self._share(batch)
        return self._ready.batch

    # Why: TRL splits a batch into equal numbers of rows, all padded to its longest; ours go by tokens.
    def _prepare_inputs(self, generation_batch: Any) -> Batch:
        if not self.model.training:
            evaluated: Batch = super()._prepare_inputs(generation_batch)
            return evaluated
        per_batch = self.args.steps_per_generation
        fresh = self._buffered_inputs is None or self._step % (per_batch * self.num_iterations) == 0
        inputs: Batch = super()._prepare_inputs(generation_batch)
        if fresh:
            assert self._ready is not None
            self._buffered_inputs = self._micro_batches(self._ready)
            self._ready = None
            inputs = self._buffered_inputs[self._step % per_batch]
        return inputs

    # Why: while sampling, TRL scores every row under its prompt; what an update needs is scored later,
    # on the rows that are left and in the space of the update.
    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *rest: Any,
        **named: Any,
    ) -> Any:
        if self._defer_log_probs:
            return input_ids.new_zeros((len(input_ids), logits_to_keep), dtype=torch.float32), None, None
        plain = super()._get_per_token_logps_and_entropies
        most = named.get("batch_size")
        if most and self.model.training:
            pieces = input_ids, attention_mask, logits_to_keep, most
            return scored_by_length(lambda *piece: plain(model, *piece)[0], *pieces), None, None
        scored = plain(model, input_ids, attention_mask, logits_to_keep, *rest, **named)
        self._scored = scored[0].detach(), None if scored[1] is None else scored[1].detach()
        return scored

    # Why: TRL averages per micro-batch; entropy and clipping are exact here, whatever the cut.
    def _compute_loss(self, model: Any, inputs: Batch) -> torch.Tensor:
        # TRL's token mean divides by a number that comes with the batch: all aggregations go through it.
        self.loss_type: str = "dapo" if self.model.training else self.aggregation
        with gathering_uneven(self.accelerator):
            loss: torch.Tensor = super()._compute_loss(model, inputs)
        if self.model.training and self._scored is not None:
            log_probs, entropies = self._scored
            self.facts.add_tokens(inputs, log_probs, entropies, self.epsilon_low, self.epsilon_high)
        self._scored = None
        return loss

    # Why: the facts of an update are complete with its last micro-batch, however seldom it is logged.
    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        """TRL's step on one micro-batch; after the update's last one, exact figures replace TRL's means."""
        loss: torch.Tensor = super().training_step(*given, **named)
        if self.accelerator.sync_gradients:
            self._close_facts()
        return loss

    def _close_facts(self) -> None:
        self.facts.close(self._metrics["train"])

    def _begin_phase(self) -> None:
        done = self.state.global_step
        self.phase = self._rule(done, self.args)
        self.beta = self.args.beta if self.phase.name == "rl" else 0.0
        self.vllm_importance_sampling_correction = (
            self.args.vllm_importance_sampling_correction and self.phase.conditions
        )
        if self.args.algorithm != "dsrl" or done < self.args.dsrl_warmup_steps:
            return
        if done == self.args.dsrl_warmup_steps > 0 and self.args.dsrl_reset_optimizer:
            optimizer: Any = self.optimizer
            getattr(optimizer, "optimizer", optimizer).state.clear()
        if self.beta:
            self.reference.follow(done)

    def _draw(self, inputs: list[dict[str, Any]]) -> Batch:
        """Rollout batches until one can make an update, or until useful groups fill one (DAPO)."""
        batch: Batch | None = None
        for draw in range(self.args.max_draws):
            self.draw = draw
            drawn = self._sample(inputs if draw == 0 else self._other_prompts(len(inputs)))
            if self.phase.dynamic_sampling:
                drawn = self._useful_groups(drawn, batch)
                batch = drawn if batch is None else space.join(batch, drawn)
                if self._count(batch) >= len(inputs) * self.accelerator.num_processes:
                    return batch
            else:
                batch = drawn
                if not self.phase.redraw or self._contributing(batch) >= self._windows:
                    return batch
        if batch is not None and self._contributing(batch) > 0:
            return batch
        raise RunStopped(
            f"update {self.state.global_step + 1}: no rollout batch of {self.args.max_draws} had a sample "
            f"that contributes to {self.args.algorithm} (groups all right or all wrong); check the reward on "
            "a few completions, or take easier or harder problems"
        )

    def _sample(self, inputs: list[dict[str, Any]]) -> Batch:
        """One draw: TRL samples and scores, the phase's estimator gives the advantages of the local rows."""
        start, rewarded = time.perf_counter(), self.facts.seconds["reward"]
        self._seed_rollout()
        corrects = self.use_vllm and self.vllm_importance_sampling_correction
        self._defer_log_probs = not corrects and self.beta == 0.0
        try:
            batch: Batch = super()._generate_and_score_completions(inputs)
        finally:
            deferred, self._defer_log_probs = self._defer_log_probs, False
        if deferred:
            batch.pop("old_per_token_logps", None)
        lengths = self.accelerator.gather(batch["completion_mask"].sum(1))
        ended = self.accelerator.gather(space.ended(batch, self.eos_token_ids))
        rewards = self._rewards.view(-1, self.num_generations)
        batch["advantages"] = self._estimate(batch, rewards, lengths.view_as(rewards))
        show_advantages(self._logs["advantages"], self.accelerator.gather(mean_advantages(batch)))
        batch["reward"] = self._local(self._rewards)
        seconds = time.perf_counter() - start - (self.facts.seconds["reward"] - rewarded)
        self.facts.add_draw(rewards, lengths, ended, seconds)
        self._compare_engine(batch, corrects)
        self._idle = idle_batch(batch)
        return batch

    def _estimate(self, batch: Batch, rewards: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Advantages of the local rows, (B,). rewards, lengths: (P, G) of all processes."""
        punished = rewards + advantages.overlong_penalty(
            lengths, self.max_completion_length, self.args.overlong_buffer, self.args.overlong_penalty
        )
        return self._weights(self.phase.estimator(punished, lengths, self.args.advantage_eps), self.phase)

    def _weights(self, found: torch.Tensor, phase: Phase) -> torch.Tensor:
        """Advantages (P, G) as the phase's updates weigh them, of the local rows, (B,)."""
        if self.args.sample_weight == "constant" and phase.mean_over == "contributing":
            found = advantages.unit_weights(found)
        return self._local(advantages.anchored(found, phase.anchor).flatten())

    def _useful_groups(self, drawn: Batch, before: Batch | None) -> Batch:
        """The local rows of the draw's groups that disagree, no more than the update still wants."""
        rewards = self._rewards.view(-1, self.num_generations)
        missing = len(rewards) - (self._count(before) // self.num_generations if before else 0)
        useful = ~advantages.degenerate_groups(rewards)
        useful &= useful.cumsum(0) <= missing
        rows = self._local(useful.repeat_interleave(self.num_generations))
        return space.take_rows(drawn, rows.nonzero().squeeze(1))

    def _share(self, batch: Batch) -> Share:
        """The rows that take part in the phase's update, in its space, weighed."""
        of_phase = self._weigh(batch, self.phase)
        if self.phase.space != "joint":
            return of_phase
        centred = advantages.group_centred(self._rewards.view(-1, self.num_generations))
        batch = {**batch, "advantages": self._weights(centred, ERASED_PART)}
        return joint(of_phase, self._weigh(batch, ERASED_PART), self.phase.erased_coef)

    def _weigh(self, batch: Batch, phase: Phase) -> Share:
        placed = self._in_space(batch, phase)
        return share(
            placed,
            phase,
            self._sum,
            idle_batch(placed) if len(placed["completion_ids"]) else self._idle,
            aggregation=self.aggregation,
            longest=self.max_completion_length,
            keep_all=self.beta != 0.0 or self.aux_loss_enabled,
        )

    def _micro_batches(self, rows: Share) -> list[Batch]:
        rows.batch.pop("reward", None)
        seed = self._seed("deal")
        dealt = deal(rows, self._windows, seed, self.accelerator, self._sum)
        count = self.args.steps_per_generation // self._windows
        cut = micro_batches(rows, dealt, count, self.args.per_device_train_batch_size, self._sum)
        self._score_old(cut)
        return cut

    def _score_old(self, cut: Sequence[Batch]) -> None:
        """Log-probs before the first update, where later updates on the batch need them."""
        one_update = self.args.steps_per_generation * self.num_iterations
        if self.args.gradient_accumulation_steps % one_update == 0:
            # The one update on the batch has ratio 1; TRL's, scored in other batches, is only near it.
            for part in cut:
                part.pop("old_per_token_logps", None)
            return
        if "old_per_token_logps" in cut[0]:
            return
        with torch.no_grad():
            for part in cut:
                part["old_per_token_logps"] = self._log_probs(part)
        self._scored = None

    def _log_probs(self, part: Batch) -> torch.Tensor:
        scored, _, _ = self._get_per_token_logps_and_entropies(
            self.model,
            torch.cat([part["prompt_ids"], part["completion_ids"]], 1),
            torch.cat([part["prompt_mask"], part["completion_mask"]], 1),
            part["completion_ids"].size(1),
        )
        found: torch.Tensor = scored
        return found

    def _compare_engine(self, batch: Batch, corrects: bool) -> None:
        """The mean |log p| gap between trainer and engine: TRL's over all rows, or ours on a few.

        With the correction off it is measured once, after the first sync of weights, and never in a
        warm-up without prompts, which would need a forward pass of another kind.
        """
        if corrects:
            gaps = self._metrics["train"]["sampling/sampling_logp_difference/mean"]
            self.facts.logprob_gap = gaps[-1] if gaps else None
            return
        synced = self._step > 0 and self.phase.conditions and not self._compared
        asked = self.args.vllm_importance_sampling_correction or synced
        if "sampling_per_token_logps" not in batch or not asked:
            return
        self._compared = True
        rows = min(GAP_ROWS, self.args.per_device_train_batch_size, len(batch["completion_ids"]))
        few = cut_batch(batch, range(rows))
        with torch.no_grad():
            gap = (self._log_probs(few) - few["sampling_per_token_logps"]).abs()
        self._scored = None
        known = few["completion_mask"].bool() & ~gap.isnan()
        sums = self._sum(torch.stack([gap[known].sum(), known.sum()]))
        self.facts.logprob_gap = (sums[0] / sums[1].clamp(min=1)).item()

    def _seed_rollout(self) -> None:
        """Seed what samples from torch's generator: a colocated vLLM resets it to a seed of its own.

        Processes that share a sampling engine (tensor parallel) need the same, others their own.
        """
        shares = self.args.vllm_tensor_parallel_size if self.use_vllm else 1
        group = self.accelerator.process_index // shares
        set_seed(self._seed(f"rollout/{group}") % 2**32)

    def _seed(self, what: str) -> int:
        return draw_seed(self.args.seed, self.state.global_step, self.draw, what)

    def _other_prompts(self, local_rows: int) -> list[dict[str, Any]]:
        """This process's rows of a further draw."""
        problems = local_rows * self.accelerator.num_processes // self.num_generations
        rows = other_prompts(self.train_dataset, problems, self.num_generations, self._seed("prompts"))
        return rows[self.accelerator.process_index * local_rows :][:local_rows]

    def _in_space(self, batch: Batch, phase: Phase) -> Batch:
        """The batch with the prompts that the phase's log-probs are taken under."""
        if phase.space == "swapped":
            return space.swap_prompts(batch, self.num_generations)
        if phase.space != "prerl":
            return batch
        assert self.start_id is not None
        return space.erase_prompts(batch, self.start_id)

    @property
    def _windows(self) -> int:
        """Updates that one pass over a rollout batch makes."""
        per_update: int = self.args.gradient_accumulation_steps
        return int(self.args.steps_per_generation) // per_update

    def _local(self, of_all: torch.Tensor) -> torch.Tensor:
        """This process's share of a tensor over the rows of all processes."""
        rows = len(of_all) // self.accelerator.num_processes
        return of_all[self.accelerator.process_index * rows :][:rows]

    def _count(self, batch: Batch) -> int:
        return int(self._sum(torch.tensor(len(batch["completion_ids"]), device=self.accelerator.device)))

    def _contributing(self, batch: Batch) -> int:
        return int(self._sum(space.contributing(batch, self.phase.samples).sum()))

    def _sum(self, here: torch.Tensor) -> torch.Tensor:
        """The sum over processes."""
        total: torch.Tensor = self.accelerator.reduce(here, reduction="sum")
        return total
