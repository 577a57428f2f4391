"""Every option of a training run: one field, one flag of the same name, one line of help.

Covers names, types, ranges, defaults and help. Does not cover how flags, recipes and defaults come
together (resolve.py) or which combinations make no sense (checks.py). Imports no torch: the command
line's help is made from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

RUN = "Run"
PROMPTS = "Prompts and sampling"
UPDATE = "Update"
METHOD = "Method"
ENGINE = "Rollout engine"
SCALE = "Memory and speed"
WATCH = "Watching and saving"


def option(
    default: Any,
    help: str,
    panel: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    shown: str = "",
) -> Any:
    """A dataclass field with what the command line and the checks need.

    low, high: smallest and largest value allowed; above: the value must be larger. shown: how the
    help prints the default, where the value itself would say too little.
    """
    return field(
        default=default,
        metadata={"help": help, "panel": panel, "low": low, "above": above, "high": high, "shown": shown},
    )


@dataclass(frozen=True)
class TrainSettings:
    """The settings of one training run, complete: prerl_train.resolve makes one of flags and recipe.

    An update is one step of the optimizer; a rollout batch is what is sampled at once, for
    `minibatches * epochs_per_batch` updates (by default one).
    """

    algorithm: str = field(metadata={})

    model: str = option("", "Model to train: folder or hub id.", RUN)
    data: str = option("", "Problems: card with a train split, hub id, or jsonl (problem, answer).", RUN)
    recipe: str | None = option(None, "Settings from a shipped recipe or a TOML file; flags win.", RUN)
    out: Path | None = option(
        None, "Run folder; the same command resumes.", RUN, shown="runs/<algorithm>-<model>-<hash>"
    )
    seed: int = option(0, "Seed of weights to come, data order and every rollout.", RUN, low=0)
    steps: int = option(300, "Updates of the whole run.", RUN, low=1)
    data_root: Path | None = option(
        None, "Folder of cloned hub data sets, DIR/<org>/<name>.", RUN, shown="the hub"
    )
    limit: int | None = option(None, "Only the first N problems.", RUN, low=1)

    prompts_per_step: int = option(128, "Problems of a rollout batch.", PROMPTS, low=1)
    samples_per_prompt: int = option(8, "Samples of each of them.", PROMPTS, low=1)
    max_tokens: int = option(8192, "Completion tokens at most.", PROMPTS, low=1)
    max_prompt_tokens: int | None = option(
        None,
        "Leave out problems with longer prompts.",
        PROMPTS,
        low=1,
        shown="what the model's context leaves",
    )
    temperature: float = option(1.0, "Sampling temperature.", PROMPTS, above=0)
    top_p: float = option(1.0, "Nucleus mass; 1 is off.", PROMPTS, above=0, high=1)
    top_k: int = option(0, "Top-k; 0 is off.", PROMPTS, low=0)
    system: str | None = option(None, "System message of the chat.", PROMPTS)
    thinking: bool | None = option(
        None, "Switch the chat template's thinking mode.", PROMPTS, shown="the template's own"
    )
    template: Literal["auto", "chat", "plain"] = option(
        "auto", "How problems are asked; auto: chat where the tokenizer has a chat template.", PROMPTS
    )

    lr: float = option(1e-6, "Learning rate of AdamW.", UPDATE, above=0)
    lr_schedule: Literal["constant", "linear", "cosine"] = option(
        "constant", "Course of the learning rate; linear and cosine end at 0 with the last update.", UPDATE
    )
    lr_warmup_steps: int = option(0, "Updates over which the learning rate rises from 0.", UPDATE, low=0)
    weight_decay: float = option(0.01, "Weight decay of AdamW.", UPDATE, low=0)
    adam_beta1: float = option(0.9, "First-moment decay of AdamW.", UPDATE, low=0, high=1)
    adam_beta2: float = option(0.999, "Second-moment decay of AdamW.", UPDATE, low=0, high=1)
    grad_clip: float = option(1.0, "Largest gradient norm; 0 does not clip.", UPDATE, low=0)
    minibatches: int = option(1, "Updates that one pass over a rollout batch is split into.", UPDATE, low=1)
    epochs_per_batch: int = option(1, "Passes over a rollout batch.", UPDATE, low=1)
    loss_aggregation: Literal["token-mean", "sequence-mean", "constant"] = option(
        "token-mean",
        "Loss per token of the update, per sequence, or over samples times --max-tokens (Dr.GRPO).",
        UPDATE,
    )
    clip_low: float = option(0.2, "Ratios are clipped below 1 minus this.", UPDATE, above=0, high=1)
    clip_high: float = option(0.2, "Ratios are clipped above 1 plus this.", UPDATE, above=0)
    dual_clip: float = option(10.0, "Ratios of wrong samples count at most this; 0 is off.", UPDATE, low=0)
    kl_coef: float = option(
        0.0, "Weight of a KL term; in dsrl against the policy at the switch.", UPDATE, low=0
    )

    warmup_steps: int = option(20, "S: NSR-PreRL updates before GRPO.", METHOD, low=0)
    warmup_space: Literal["prerl", "rl", "swapped", "joint", "anneal"] = option(
        "prerl",
        "Warm-up on log P(y), on log P(y|x) or under another problem's prompt (controls), GRPO with a share "
        "of NSR-PreRL, or from NSR-PreRL to GRPO by degrees.",
        METHOD,
    )
    warmup_lr: float | None = option(None, "Learning rate of the warm-up.", METHOD, above=0, shown="--lr")
    warmup_coef: float = option(0.01, "Factor on the warm-up's loss.", METHOD, above=0)
    warmup_anchor: float = option(
        0.0, "Weight of right samples in the warm-up; 0 is NSR-PreRL, 1 PreRL.", METHOD, low=0
    )
    joint_coef: float = option(0.1, "Share of NSR-PreRL in a joint warm-up's loss.", METHOD, above=0)
    reset_optimizer: bool = option(False, "Start GRPO with a fresh optimizer state.", METHOD)
    start_token: str | None = option(
        None, "Token (or id) that stands before y in P(y).", METHOD, shown="the tokenizer's"
    )
    sample_weight: Literal["advantage", "constant"] = option(
        "advantage", "Weigh chosen samples by r - mean, or each by 1 (RLVR-Decomposed).", METHOD
    )
    reward: Literal["verifiable", "random"] = option(
        "verifiable", "The grader's verdict, or a coin for each completion (a control).", METHOD
    )
    random_reward_p: float = option(0.5, "Chance that a coin says right.", METHOD, low=0, high=1)
    max_draws: int = option(10, "Batches drawn for one update until enough of it contributes.", METHOD, low=1)
    overlong_buffer: int | None = option(
        None, "Tokens before --max-tokens over which length is punished; 0 is off.", METHOD, low=0,
        shown="a fifth of --max-tokens",
    )  # fmt: skip
    overlong_penalty: float = option(0.5, "Punishment at --max-tokens.", METHOD, low=0)
    critic_lr: float = option(1e-5, "Learning rate of the critic.", METHOD, above=0)
    critic_warmup: int = option(0, "Updates of the critic alone before the policy's first.", METHOD, low=0)
    gae_lambda: float = option(1.0, "Lambda of generalised advantage estimation.", METHOD, low=0, high=1)
    gamma: float = option(1.0, "Discount per token.", METHOD, low=0, high=1)
    value_clip: float = option(0.5, "Values move at most this per update.", METHOD, above=0)

    engine: Literal["auto", "transformers", "vllm"] = option(
        "auto", "What samples rollouts; auto: vllm where a GPU and vllm are present.", ENGINE
    )
    vllm_mode: Literal["colocate", "server"] = option(
        "colocate", "vLLM in the training processes, or a server of its own (vllm serve).", ENGINE
    )
    vllm_memory: float = option(0.3, "Share of each GPU for a colocated vLLM.", ENGINE, above=0, high=1)
    vllm_tp: int = option(1, "Tensor-parallel size of a colocated vLLM.", ENGINE, low=1)
    vllm_server: str | None = option(None, "Address of the server, http://host:port.", ENGINE)
    vllm_correction: bool = option(
        True, "Weigh tokens by trainer over vLLM probability; needs a forward pass more.", ENGINE
    )

    micro_batch: int | None = option(
        None, "Rows per forward pass on each device; lower it when memory runs out.", SCALE, low=1,
        shown="from rows and tokens",
    )  # fmt: skip
    gradient_checkpointing: bool = option(False, "Recompute activations: less memory, slower.", SCALE)
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "Precision of forward and backward; auto: bfloat16 on GPU. Trained weights are float32.",
        SCALE,
    )
    lora_rank: int = option(0, "Rank of LoRA adapters; 0 trains all weights.", SCALE, low=0)
    lora_alpha: int | None = option(None, "Scale of LoRA adapters.", SCALE, low=1, shown="twice the rank")
    lora_targets: tuple[str, ...] = option(
        (), "Module that gets an adapter; repeatable.", SCALE, shown="all linear layers"
    )
    threads: int | None = option(
        None, "CPU threads of torch.", SCALE, low=1, shown="1 for tiny models on CPU"
    )
    workers: int | None = option(None, "Grading processes.", SCALE, low=1, shown="one per core")

    save_every: int = option(50, "Updates between checkpoints.", WATCH, low=1)
    keep: int | None = option(None, "Checkpoints to keep, the newest.", WATCH, low=1, shown="all")
    eval_bench: tuple[str, ...] = option((), "Benchmark to evaluate on during training; repeatable.", WATCH)
    eval_every: int | None = option(
        None, "Updates between evaluations.", WATCH, low=1, shown="only before the first and after the last"
    )
    eval_n: int | None = option(None, "Samples per problem.", WATCH, low=1, shown="the card's")
    eval_limit: int | None = option(None, "Only the first N problems of each benchmark.", WATCH, low=1)
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = option(
        "none", "Also log there; metrics.jsonl is always written.", WATCH
    )

    @property
    def rows(self) -> int:
        """Samples of a rollout batch, over all processes."""
        return self.prompts_per_step * self.samples_per_prompt

    @property
    def window(self) -> int:
        """Updates that are made from one rollout batch."""
        return self.minibatches * self.epochs_per_batch


TYPES: Mapping[str, Any] = get_type_hints(TrainSettings)
"""Field -> its type, resolved."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    spec.name: spec.metadata | {"default": spec.default} for spec in fields(TrainSettings) if spec.metadata
}
"""Option -> help, panel, range and default, in the order of the help."""

FREE = frozenset(
    {
        *("recipe", "out", "data_root", "micro_batch", "gradient_checkpointing", "threads", "workers"),
        *("vllm_memory", "vllm_tp", "vllm_server", "vllm_mode"),
        *("save_every", "keep", "eval_bench", "eval_every", "eval_n", "eval_limit", "report_to"),
    }
)
"""Options that may change when a run is resumed: they decide where and how fast, not what is learnt."""


def flag(name: str) -> str:
    """The flag of an option: "max_tokens" -> "--max-tokens"."""
    return f"--{name.replace('_', '-')}"


def value_type(name: str) -> Any:
    """The type of an option's value, None left out: str, int, float, bool, Path, a Literal or a tuple."""
    hint = TYPES[name]
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    return hint
