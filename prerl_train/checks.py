"""Settings that cannot be: numbers outside their range, and combinations that make no sense.

Every check names the flag, its value and the remedy, and needs nothing but the settings: no file,
no model, no GPU. Does not cover the data, the model or the run folder (train.py).
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Literal, get_args, get_origin

from prerl_eval.errors import UserError
from prerl_train.catalogue import ALGORITHMS
from prerl_train.settings import OPTIONS, TrainSettings, flag, value_type

REPORTERS = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
"""Where metrics may also go -> the module it needs."""

PROMPTED = ("rl", "swapped")
"""Values of --warmup-space whose updates all have a prompt, and no start token in its place."""

MIXED = ("joint", "anneal")
"""Values of --warmup-space whose updates are GRPO's in part."""


def check_settings(settings: TrainSettings, flags: frozenset[str] = frozenset()) -> None:
    """Raise UserError for the first thing that is wrong.

    flags: fields that the user gave on the command line. One of them that nothing uses is refused;
    in a recipe it may serve another choice of engine or method.
    """
    _check_ranges(settings)
    _check_schedule(settings)
    _check_groups(settings)
    _check_terms(settings)
    _check_engine(settings)
    _check_unused(settings, flags)


def check_processes(settings: TrainSettings, processes: int) -> None:
    """Raise UserError unless problems and rows split evenly over `processes` and forward passes.

    Where prompts are swapped, each process also needs two problems of a batch.
    """
    if settings.prompts_per_step % processes:
        raise UserError(
            f"--prompts-per-step {settings.prompts_per_step} does not split over {processes} processes; "
            f"give a multiple of {processes}"
        )
    swaps = settings.algorithm == "dsrl" and settings.warmup_steps and settings.warmup_space == "swapped"
    if swaps and settings.prompts_per_step < 2 * processes:
        raise UserError(
            f"--prompts-per-step {settings.prompts_per_step}: --warmup-space swapped takes the prompt of "
            f"another problem on the same of {processes} process(es); give {2 * processes} or more"
        )
    rows = settings.rows // (processes * settings.minibatches)
    if settings.rows % (processes * settings.minibatches):
        raise UserError(
            f"--minibatches {settings.minibatches} does not split the {settings.rows} rows of a rollout "
            f"batch over {processes} process(es); give a divisor of {settings.rows // processes}"
        )
    if settings.micro_batch and rows % settings.micro_batch:
        raise UserError(
            f"--micro-batch {settings.micro_batch} does not divide the {rows} rows of one update on one "
            f"process; give a divisor of {rows}"
        )


def _check_ranges(settings: TrainSettings) -> None:
    for name, spec in OPTIONS.items():
        value, kind = getattr(settings, name), value_type(name)
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise UserError(f"{flag(name)} {value} is unknown; give one of: {', '.join(get_args(kind))}")
        elif value is not None and kind in (int, float):
            low, above, high = spec["low"], spec["above"], spec["high"]
            if not math.isfinite(value):
                raise UserError(f"{flag(name)} {value} is no number; give one")
            if low is not None and value < low:
                raise UserError(f"{flag(name)} {value} is too small; give {low:g} or more")
            if above is not None and value <= above:
                raise UserError(f"{flag(name)} {value} is too small; give more than {above:g}")
            if high is not None and value > high:
                raise UserError(f"{flag(name)} {value} is too large; give {high:g} or less")


def _check_schedule(settings: TrainSettings) -> None:
    steps, window = settings.steps, settings.window
    if settings.algorithm == "dsrl" and settings.warmup_steps > steps:
        raise UserError(
            f"--warmup-steps {settings.warmup_steps} is longer than the run of --steps {steps}; "
            f"give {steps} or less, or more --steps"
        )
    if settings.lr_warmup_steps > steps:
        raise UserError(
            f"--lr-warmup-steps {settings.lr_warmup_steps} is more than --steps {steps}; give fewer"
        )
    if settings.algorithm == "ppo" and settings.critic_warmup >= steps:
        raise UserError(
            f"--critic-warmup {settings.critic_warmup} leaves the policy no update of --steps {steps}; "
            "give less"
        )
    if settings.rows % settings.minibatches:
        raise UserError(
            f"--minibatches {settings.minibatches} does not divide the {settings.rows} rows of a rollout "
            f"batch ({settings.prompts_per_step} x {settings.samples_per_prompt}); give a divisor of it"
        )
    made = f"{window} updates are made from each rollout batch (--minibatches x --epochs-per-batch)"
    if steps % window:
        raise UserError(f"--steps {steps}: {made}; give a multiple of {window}")
    if settings.algorithm == "dsrl" and settings.warmup_steps % window:
        raise UserError(
            f"--warmup-steps {settings.warmup_steps}: {made}, and a batch is all warm-up or not at all; "
            f"give a multiple of {window}"
        )
    if settings.save_every % window:
        raise UserError(
            f"--save-every {settings.save_every}: {made}, and a run cannot resume exactly inside one; "
            f"give a multiple of {window}"
        )


def _check_groups(settings: TrainSettings) -> None:
    algorithm = ALGORITHMS[settings.algorithm]
    if settings.samples_per_prompt == 1 and not algorithm.takes_single_samples:
        able = ", ".join(name for name, other in ALGORITHMS.items() if other.takes_single_samples)
        raise UserError(
            f"--samples-per-prompt 1: {settings.algorithm} compares the samples of a problem; "
            f"give 2 or more, or take {able}"
        )
    if settings.rows == 1:
        raise UserError("--prompts-per-step 1 --samples-per-prompt 1: an update of one sample; give more")


def _check_terms(settings: TrainSettings) -> None:
    if settings.algorithm == "dr-grpo" and settings.loss_aggregation != "constant":
        raise UserError(
            f"--loss-aggregation {settings.loss_aggregation}: dr-grpo is the one with constant; "
            "leave it out, or take grpo"
        )
    if settings.kl_coef and settings.loss_aggregation == "sequence-mean":
        raise UserError(
            f"--kl-coef {settings.kl_coef:g} is a mean over tokens, --loss-aggregation sequence-mean is not; "
            "give token-mean, or --kl-coef 0"
        )
    if settings.kl_coef and settings.lora_rank and settings.algorithm == "dsrl":
        raise UserError(
            f"--kl-coef {settings.kl_coef:g} with --lora-rank {settings.lora_rank}: under LoRA the reference "
            "is the model without adapters, never the policy at the switch; leave one of them out"
        )
    if settings.dual_clip and settings.dual_clip <= 1 + settings.clip_high:
        raise UserError(
            f"--dual-clip {settings.dual_clip:g} cuts into the clip range up to {1 + settings.clip_high:g}; "
            "give more, or 0 to switch it off"
        )
    if settings.overlong_buffer and settings.overlong_buffer >= settings.max_tokens:
        raise UserError(
            f"--overlong-buffer {settings.overlong_buffer} is not below --max-tokens {settings.max_tokens}; "
            "give a part of it"
        )


def _check_engine(settings: TrainSettings) -> None:
    if settings.engine == "vllm" and not find_spec("vllm"):
        raise UserError(
            "--engine vllm: vllm is not installed; run pip install '.[vllm]' or take another --engine"
        )
    if settings.vllm_mode == "server" and not settings.vllm_server:
        raise UserError("--vllm-mode server needs --vllm-server http://host:port, where vllm serve runs")
    if settings.vllm_server and settings.vllm_mode != "server":
        raise UserError(
            f"--vllm-server {settings.vllm_server} needs --vllm-mode server; give both or neither"
        )
    module = REPORTERS.get(settings.report_to)
    if module and not find_spec(module):
        raise UserError(f"--report-to {settings.report_to}: not installed; run pip install {module}")


def _check_unused(settings: TrainSettings, flags: frozenset[str]) -> None:
    space = settings.warmup_space
    unused: list[tuple[bool, tuple[str, ...], str]] = [
        (settings.engine == "transformers", ("vllm_",), "--engine vllm"),
        (settings.vllm_mode == "server", ("vllm_memory", "vllm_tp"), "--vllm-mode colocate"),
        (settings.lora_rank == 0, ("lora_alpha", "lora_targets"), "--lora-rank"),
        (not settings.eval_bench, ("eval_every", "eval_n", "eval_limit"), "--eval-bench"),
        (space != "joint", ("joint_coef",), "--warmup-space joint"),
        (space in MIXED, ("warmup_coef", "warmup_anchor"), "--warmup-space prerl, rl or swapped"),
        (settings.algorithm == "dsrl" and space in PROMPTED, ("start_token",), "--warmup-space prerl"),
        (settings.reward != "random", ("random_reward_p",), "--reward random"),
    ]
    for idle, names, needed in unused:
        for name in sorted(flags) if idle else ():
            if name.startswith(names):
                raise UserError(f"{flag(name)} does nothing without {needed}; give that too, or leave it out")
