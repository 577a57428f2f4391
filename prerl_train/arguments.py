"""TRL's arguments from ours: every field of TrainSettings that the trainer reads, in one place.

Covers the translation and what is derived from rows, processes and device (rows per forward pass,
accumulation). Does not cover options that never reach the trainer: data, prompts, evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_train.settings import TrainSettings

if TYPE_CHECKING:
    from peft import LoraConfig

    from prerl_train.config import DSRLConfig

LOSS_TYPES = {"token-mean": "dapo", "sequence-mean": "grpo", "constant": "dr_grpo"}
"""--loss-aggregation -> what TRL calls it."""

FORWARD_TOKENS = {"cpu": 8192, "cuda": 8192, "checkpointing": 32768}
"""Tokens of one forward pass that an automatic --micro-batch plans for; activations of 8,192 tokens of
a 4B model without gradient checkpointing take about 25 GB."""


@dataclass(frozen=True)
class Machine:
    """What a run is on: processes of all nodes, and the device of each ("cuda" or "cpu").

    is_main: this is the process that writes. is_sharded: weights are split over processes.
    """

    processes: int = 1
    device: str = "cpu"
    is_main: bool = True
    is_sharded: bool = False

    @property
    def has_gpu(self) -> bool:
        """Whether each process has a GPU."""
        return self.device == "cuda"


def forward_rows(settings: TrainSettings, machine: Machine, longest_prompt: int) -> int:
    """Rows per forward pass of one process: --micro-batch, else what FORWARD_TOKENS allow.

    longest_prompt: tokens. The result divides the rows of one update on one process.
    """
    rows = settings.rows // (machine.processes * settings.minibatches)
    if settings.micro_batch:
        return settings.micro_batch
    checkpointing = machine.has_gpu and settings.gradient_checkpointing
    tokens = FORWARD_TOKENS["checkpointing" if checkpointing else machine.device]
    most = max(1, tokens // (longest_prompt + settings.max_tokens))
    return max(size for size in range(1, rows + 1) if rows % size == 0 and size <= most)


def computes_in_bfloat16(settings: TrainSettings, machine: Machine) -> bool:
    """Whether forward and backward run in bfloat16."""
    return settings.dtype == "bfloat16" or (settings.dtype == "auto" and machine.has_gpu)


def trainer_config(
    settings: TrainSettings, out: Path, machine: Machine, engine: str, longest_prompt: int, context: int
) -> DSRLConfig:
    """The whole DSRLConfig of a run.

    engine: resolved, "transformers" or "vllm". longest_prompt: tokens, of training. context: tokens that
    the engine must take, prompt and completion of training or evaluation together.
    """
    from prerl_train.config import DSRLConfig

    return DSRLConfig(
        output_dir=str(out),
        run_name=out.name,
        seed=settings.seed,
        use_cpu=not machine.has_gpu,
        bf16=computes_in_bfloat16(settings, machine),
        gradient_checkpointing=settings.gradient_checkpointing,
        dataloader_pin_memory=machine.has_gpu,
        # Every forward pass uses every weight; a search for unused ones costs a walk over the graph.
        ddp_find_unused_parameters=False,
        shuffle_dataset=False,
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        logging_steps=1,
        report_to=settings.report_to,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=settings.keep,
        **_batches(settings, machine, longest_prompt),
        **_optimizer(settings),
        **_loss(settings),
        **_method(settings),
        **_engine(settings, engine, context),
    )


def _batches(settings: TrainSettings, machine: Machine, longest_prompt: int) -> dict[str, Any]:
    rows = settings.rows // machine.processes
    at_once = forward_rows(settings, machine, longest_prompt)
    return {
        "max_steps": settings.steps,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": rows // (settings.minibatches * at_once),
        "steps_per_generation": rows // at_once,
        "num_iterations": settings.epochs_per_batch,
        "num_generations": settings.samples_per_prompt,
        "max_completion_length": settings.max_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
    }


def _optimizer(settings: TrainSettings) -> dict[str, Any]:
    warms_up = settings.lr_schedule == "constant" and settings.lr_warmup_steps
    return {
        "learning_rate": settings.lr,
        "lr_scheduler_type": "constant_with_warmup" if warms_up else settings.lr_schedule,
        "warmup_steps": settings.lr_warmup_steps,
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.adam_beta1,
        "adam_beta2": settings.adam_beta2,
        # At 0 transformers would not compute the norm, which metrics show.
        "max_grad_norm": settings.grad_clip or float("inf"),
    }


def _loss(settings: TrainSettings) -> dict[str, Any]:
    return {
        "loss_type": LOSS_TYPES[settings.loss_aggregation],
        "epsilon": settings.clip_low,
        "epsilon_high": settings.clip_high,
        "delta": settings.dual_clip or None,
        "beta": settings.kl_coef,
    }


def _method(settings: TrainSettings) -> dict[str, Any]:
    buffer = settings.max_tokens // 5 if settings.overlong_buffer is None else settings.overlong_buffer
    return {
        "algorithm": settings.algorithm,
        "dsrl_warmup_steps": settings.warmup_steps if settings.algorithm == "dsrl" else 0,
        "dsrl_warmup_space": settings.warmup_space,
        "dsrl_warmup_lr": settings.warmup_lr,
        "dsrl_warmup_coef": settings.warmup_coef,
        "dsrl_warmup_anchor": settings.warmup_anchor,
        "dsrl_joint_coef": settings.joint_coef,
        "dsrl_reset_optimizer": settings.reset_optimizer,
        "start_token": settings.start_token,
        "sample_weight": settings.sample_weight,
        "max_draws": settings.max_draws,
        # DAPO's: 4,096 of 20,480 tokens (arXiv 2503.14476, section 4.1).
        "overlong_buffer": buffer if settings.algorithm == "dapo" else 0,
        "overlong_penalty": settings.overlong_penalty,
        "ppo_critic_lr": settings.critic_lr,
        "ppo_critic_warmup": settings.critic_warmup,
        "ppo_gae_lambda": settings.gae_lambda,
        "ppo_gamma": settings.gamma,
        "ppo_value_clip": settings.value_clip,
    }


def _engine(settings: TrainSettings, engine: str, context: int) -> dict[str, Any]:
    if engine != "vllm":
        return {"use_vllm": False}
    return {
        "use_vllm": True,
        "vllm_mode": settings.vllm_mode,
        "vllm_server_base_url": settings.vllm_server,
        "vllm_gpu_memory_utilization": settings.vllm_memory,
        "vllm_tensor_parallel_size": settings.vllm_tp,
        "vllm_max_model_length": context,
        "vllm_importance_sampling_correction": settings.vllm_correction,
    }


def lora_config(settings: TrainSettings) -> LoraConfig | None:
    """PEFT's settings of the adapters; None where all weights are trained."""
    if not settings.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        target_modules=list(settings.lora_targets) or "all-linear",
        task_type="CAUSAL_LM",
    )
