"""`DSRLConfig`: TRL's GRPOConfig with the settings of the twelve algorithms.

    from prerl_train import DSRLConfig as GRPOConfig, DSRLTrainer as GRPOTrainer

is all that an existing TRL script changes. Raises ValueError, as TRL does, with the setting, its
value and what to do. Does not cover the command line (settings.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from trl import GRPOConfig

from prerl_train.algorithms import NAMES

GROUP_FREE = ("reinforce-pp", "ppo")
"""Algorithms whose advantages need no second sample of a problem."""

ERASED = ("prerl", "nsr-prerl", "psr-prerl")
"""Algorithms whose every update is made in P(y)."""

CHOOSING = ("prerl", "nsr-prerl", "psr-prerl", "nsr-rl", "psr-rl", "dsrl")
"""Algorithms that weigh chosen samples by r - mean, or by its sign."""

AGGREGATIONS = {"dapo": "token mean", "grpo": "mean of sequence means", "dr_grpo": "constant"}
"""loss_type -> what the loss is averaged over; the names are TRL's."""


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class DSRLConfig(GRPOConfig):
    """Settings of a `DSRLTrainer`; everything that is not listed here is GRPOConfig's.

    beta (KL) acts in updates of log P(y|x) only; with dsrl its reference is the policy at the switch.
    loss_type: a key of AGGREGATIONS, exact whatever the micro-batches. scale_rewards has no effect:
    the algorithm says how rewards become advantages. sample_weight acts on the algorithms of CHOOSING;
    with dsrl on its warm-up.
    """

    algorithm: str = _help(f"One of {', '.join(NAMES)}.", "dsrl")
    dsrl_warmup_steps: int = _help("dsrl: updates of the warm-up (S); 0 is plain GRPO.", 20)
    dsrl_warmup_space: str = _help(
        "dsrl: the warm-up's updates: 'prerl' (log P(y)), 'rl' (log P(y|x), the NSR-RL control), "
        "'swapped' (log P(y|x'), x' another problem's prompt), 'joint' (GRPO plus dsrl_joint_coef times "
        "NSR-PreRL) or 'anneal' (from NSR-PreRL to GRPO in equal steps).",
        "prerl",
    )
    dsrl_warmup_samples: str = _help("dsrl: the warm-up's samples: negative, positive or all.", "negative")
    dsrl_warmup_lr: float | None = _help("dsrl: learning rate of the warm-up; None: learning_rate.", None)
    dsrl_warmup_coef: float = _help("dsrl: factor on the warm-up's loss; not with 'joint' or 'anneal'.", 0.01)
    dsrl_warmup_anchor: float = _help(
        "dsrl: weight of right samples in a warm-up of wrong ones; not with 'joint' or 'anneal'.", 0.0
    )
    dsrl_joint_coef: float = _help("dsrl: share of NSR-PreRL in a joint update.", 0.1)
    dsrl_reset_optimizer: bool = _help("dsrl: forget Adam's moments at the switch.", False)
    # TRL's parser of command lines takes the last type of a union.
    start_token: int | str | None = _help(
        "Token or id that stands before y in P(y); None: see prerl_eval.start_token.start_token_id.", None
    )
    sample_weight: str = _help(
        "'advantage' (r - mean and its kin) or 'constant' (its sign, as RLVR-Decomposed weighs).", "advantage"
    )
    advantage_eps: float = _help("Added to the std that an advantage is divided by.", 1e-6)
    max_draws: int = _help("Draws of one update's batch before a run without contributing samples stops.", 10)
    overlong_buffer: int = _help("DAPO's length punishment: tokens before the limit where it starts.", 0)
    overlong_penalty: float = _help("DAPO's length punishment at the limit.", 0.5)
    ppo_critic_lr: float = _help("ppo: learning rate of the critic.", 1e-5)
    ppo_critic_warmup: int = _help("ppo: updates that train the critic alone.", 0)
    ppo_gae_lambda: float = _help("ppo: lambda of GAE.", 1.0)
    ppo_gamma: float = _help("ppo: discount per token.", 1.0)
    ppo_value_clip: float = _help("ppo: the critic's clip range around its value at sampling.", 0.5)
    loss_type: str = _help("What the loss is averaged over: a key of AGGREGATIONS.", "dapo")
    epsilon_high: float | None = _help("Upper clip range; None: epsilon's, and 0.28 for dapo.", None)
    num_generations: int = _help("Samples per problem (G).", 8)
    vllm_importance_sampling_mode: str = _help(
        "As in GRPOConfig, but per token: sequence ratios mask nearly everything past 100 tokens.",
        "token_truncate",
    )

    def __post_init__(self) -> None:
        """Check the settings and fill in what the algorithm implies."""
        self._check_choices()
        self._check_algorithm()
        if self.algorithm == "dr-grpo" and self.loss_type == "dapo":
            self.loss_type = "dr_grpo"
        if self.algorithm == "dapo" and self.epsilon_high is None:
            self.epsilon_high = 0.28
        single = self.num_generations == 1 and self.algorithm in GROUP_FREE
        if single:
            # GRPOConfig refuses groups of one, which these algorithms do not need, and any that do
            # not divide the batch.
            steps = self.steps_per_generation or self.gradient_accumulation_steps
            self.num_generations = self.generation_batch_size or self.per_device_train_batch_size * steps
            self.num_generations = max(2, self.num_generations)
            self.num_generations_eval: int | None = self.num_generations_eval or 1
        super().__post_init__()
        if single:
            self.num_generations = 1
        self._check_schedule()

    def _check_choices(self) -> None:
        for name, allowed in (
            ("algorithm", tuple(NAMES)),
            ("dsrl_warmup_space", ("prerl", "rl", "swapped", "joint", "anneal")),
            ("dsrl_warmup_samples", ("negative", "positive", "all")),
            ("sample_weight", ("advantage", "constant")),
            ("loss_type", tuple(AGGREGATIONS)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: give one of {', '.join(allowed)}")
        for name in ("dsrl_warmup_steps", "dsrl_warmup_anchor", "overlong_buffer", "ppo_critic_warmup"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: give 0 or more")
        if self.max_draws < 1:
            raise ValueError(f"max_draws={self.max_draws}: give 1 or more")
        if self.num_generations == 1 and self.algorithm not in GROUP_FREE:
            raise ValueError(
                f"num_generations=1: {self.algorithm} compares the samples of a problem; give 2 or more"
            )

    def _check_algorithm(self) -> None:
        if self.sample_weight == "constant" and self.algorithm not in (*CHOOSING, "ppo"):
            raise ValueError(
                f"sample_weight='constant': {self.algorithm} has weights of its own; leave it out, or "
                f"take one of {', '.join(CHOOSING)}"
            )
        if self.dsrl_warmup_anchor and self.dsrl_warmup_samples != "negative":
            raise ValueError(
                f"dsrl_warmup_anchor={self.dsrl_warmup_anchor} adds right samples to wrong ones; leave it "
                f"out with dsrl_warmup_samples={self.dsrl_warmup_samples!r}"
            )
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise ValueError(
                f"multi_objective_aggregation={self.multi_objective_aggregation!r}: algorithms take the sum "
                "of the reward functions; leave it out"
            )
        if self.entropy_coef or self.use_adaptive_entropy or self.top_entropy_quantile != 1:
            raise ValueError(
                "entropy_coef, use_adaptive_entropy and top_entropy_quantile: TRL takes them per "
                "micro-batch, so the update would depend on how rows are cut; leave them out"
            )
        if self.dsrl_warmup_lr is not None and self.learning_rate == 0:
            raise ValueError(
                f"dsrl_warmup_lr={self.dsrl_warmup_lr} scales the schedule of learning_rate=0; "
                "give one above 0"
            )
        if self.beta and self.algorithm in ERASED:
            raise ValueError(
                f"beta={self.beta}: {self.algorithm} never conditions on a prompt, as a reference would; "
                "set beta=0"
            )
        if self.beta and self.loss_type == "grpo":
            raise ValueError(
                f"beta={self.beta}: a mean of sequence means (loss_type='grpo') has no KL term here; set "
                "beta=0, or another loss_type"
            )
        if self.off_policy_mask_threshold is not None and (self.erases or self._warms_up_in("swapped")):
            raise ValueError(
                "off_policy_mask_threshold compares log-probs under different prompts; leave it out"
            )

    def _check_schedule(self) -> None:
        spg, accumulation = self.steps_per_generation, self.gradient_accumulation_steps
        if spg % accumulation:
            raise ValueError(
                f"steps_per_generation={spg} is no multiple of gradient_accumulation_steps={accumulation}, "
                "so an update would mix two rollout batches; leave it out, or give a multiple"
            )
        updates = self.updates_per_batch
        if self.algorithm == "dsrl" and self.dsrl_warmup_steps % updates:
            raise ValueError(
                f"dsrl_warmup_steps={self.dsrl_warmup_steps} would end inside a rollout batch that makes "
                f"{updates} updates; give a multiple of {updates}"
            )
        if self.algorithm == "dsrl" and 0 < self.max_steps < self.dsrl_warmup_steps:
            raise ValueError(
                f"dsrl_warmup_steps={self.dsrl_warmup_steps} is longer than the run of "
                f"max_steps={self.max_steps}"
            )
        rows = self.per_device_train_batch_size * spg
        if self._warms_up_in("swapped") and (rows % self.num_generations or rows < 2 * self.num_generations):
            raise ValueError(
                f"dsrl_warmup_space='swapped': the {rows} rows of a rollout batch on one process are not "
                f"two or more whole groups of num_generations={self.num_generations}; give more prompts"
            )
        every = self.save_steps if self.save_steps >= 1 else math.ceil(self.save_steps * self.max_steps)
        if self.save_strategy == "steps" and every > 0 and every % updates:
            raise ValueError(
                f"save_steps={self.save_steps} would save inside a rollout batch that makes {updates} "
                f"updates, from where no run resumes exactly; give a multiple of {updates}"
            )

    @property
    def erases(self) -> bool:
        """Whether any update of the run is made in P(y)."""
        return self.algorithm in ERASED or self._warms_up_in("prerl", "joint", "anneal")

    def _warms_up_in(self, *spaces: str) -> bool:
        warms_up = self.algorithm == "dsrl" and self.dsrl_warmup_steps > 0
        return warms_up and self.dsrl_warmup_space in spaces

    @property
    def updates_per_batch(self) -> int:
        """Optimizer updates that one rollout batch makes."""
        spg: int = self.steps_per_generation or self.gradient_accumulation_steps
        accumulation: int = self.gradient_accumulation_steps
        return spg * int(self.num_iterations) // accumulation
