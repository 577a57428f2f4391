"""`prerl-train dsrl` and its eleven siblings: settings in, a run folder with checkpoints out.

Reads top to bottom: check everything, lock the folder, load, train. Does not cover what an update is
(trainer.py, algorithms/), the options (settings.py), what is checked (train_plan.py) or how a run is
watched (watch.py).
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from prerl_eval import store
from prerl_eval.engines.transformers import TINY_MODEL, read_model
from prerl_eval.errors import RunStopped, UserError
from prerl_eval.grading import GradingPool
from prerl_eval.run_lock import RunLock
from prerl_eval.run_record import write_record
from prerl_train.arguments import computes_in_bfloat16, forward_rows, lora_config, trainer_config
from prerl_train.checkpoints import AtomicCheckpoints, clear_partial
from prerl_train.data import as_dataset
from prerl_train.evaluation import LiveEvaluation
from prerl_train.folder import check_folder, run_record
from prerl_train.settings import TrainSettings
from prerl_train.train_plan import TrainPlan, plan_training
from prerl_train.with_vllm import explaining_start, rollouts_of_vllm

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Read by the libraries when they are imported."""


def train(settings: TrainSettings) -> Path:
    """Train, or go on with a run that was stopped; returns the run folder.

    Every process of a distributed run calls it; the main one writes. Raises UserError for bad input
    (nothing written, no weights loaded) and RunStopped where a run could not go on; the last
    checkpoint stays, and the same call goes on from there.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    plan = plan_training(settings)
    path = plan.folder.path
    _say(plan, f"{path}: {settings.steps:,} updates, {settings.steps - plan.done:,} to go")
    if plan.is_finished:
        return path
    for note in (plan.data.report(), *plan.notes):
        _say(plan, f"note: {note}")
    with ExitStack() as stack:
        if plan.machine.is_main:
            stack.enter_context(RunLock(path))
            check_folder(plan.folder)
            clear_partial(path)
        pool = stack.enter_context(GradingPool(settings.workers))
        with explaining_full_memory(plan):
            model = load_model(plan)
            with explaining_start(settings.vllm_memory):
                trainer = build_trainer(plan, model, pool, stack)
            if plan.machine.is_main:
                write_record(path, run_record(plan, describe(plan, model)))
                store.drop_rows_after(path, plan.done)
            trainer.train(resume_from_checkpoint=str(plan.resume) if plan.resume else None)
    return path


def load_model(plan: TrainPlan) -> Any:
    """The model in float32, or under LoRA in what it computes in: what is trained is float32.

    Raises UserError where weights are missing or damaged.
    """
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    frozen_in_bfloat16 = plan.settings.lora_rank and computes_in_bfloat16(plan.settings, plan.machine)
    # On CPU: the trainer moves it, or its share of it, to the device.
    model = read_model(plan.checkpoint, "bfloat16" if frozen_in_bfloat16 else "float32", "cpu")
    _check_lora_targets(plan.settings, [name for name, _ in model.named_modules()])
    model.generation_config.eos_token_id = list(plan.sampling.stop_token_ids)
    threads = plan.settings.threads
    if not threads and not plan.machine.has_gpu and model.num_parameters() < TINY_MODEL:
        threads = 1
    if threads:
        torch.set_num_threads(threads)
    return model


def _check_lora_targets(settings: TrainSettings, modules: Sequence[str]) -> None:
    endings = {name.rpartition(".")[2] for name in modules}
    for target in settings.lora_targets:
        if not any(name == target or name.endswith(f".{target}") for name in modules):
            close = difflib.get_close_matches(target, endings, n=1)
            raise UserError(
                f"--lora-targets {target}: {settings.model} has no such module"
                f"{f' (did you mean {close[0]!r}?)' if close else ''}; give others, such as q_proj, or none "
                "for all linear layers"
            )


def describe(plan: TrainPlan, model: Any) -> dict[str, Any]:
    """What run.json says of one sitting's machine."""
    import torch

    gpu = plan.machine.has_gpu
    return {
        "name": plan.engine,
        "device": torch.cuda.get_device_name() if gpu else plan.machine.device,
        "processes": plan.machine.processes,
        "parameters": model.num_parameters(),
        "weights": str(model.dtype).removeprefix("torch."),
        "dtype": "bfloat16" if computes_in_bfloat16(plan.settings, plan.machine) else "float32",
        "attention": model.config._attn_implementation,
        "threads": torch.get_num_threads(),
        "rows_per_forward": forward_rows(plan.settings, plan.machine, plan.longest_prompt),
        "resumed_at": plan.done,
    }


def build_trainer(plan: TrainPlan, model: Any, pool: GradingPool, stack: ExitStack) -> Any:
    """The trainer of a run with its data, reward, rollouts and callbacks.

    stack: stores what waits to be stored, whatever ends the run.
    """
    from transformers import AutoTokenizer

    from prerl_train.random_reward import RandomReward
    from prerl_train.rewards import RolloutRecorder, VerifiableReward

    settings, sampling = plan.settings, plan.sampling
    tokenizer = AutoTokenizer.from_pretrained(plan.checkpoint.tokenizer_path)
    recorder = RolloutRecorder(plan.folder.path, plan.folder.run_id)
    stack.callback(recorder.flush)
    reward: VerifiableReward | RandomReward = VerifiableReward(
        plan.data.problems,
        plan.data.prompts,
        pool,
        stop_ids=sampling.stop_token_ids,
        tokenizer=tokenizer,
        recorder=recorder,
    )
    if settings.reward == "random":
        reward = RandomReward(reward, plan.data.problems, seed=settings.seed, p=settings.random_reward_p)
    trainer = _trainer_class(settings.algorithm)(
        model,
        reward,
        trainer_config(
            settings, plan.folder.path, plan.machine, plan.engine, plan.longest_prompt, plan.context
        ),
        train_dataset=as_dataset(plan.data.prompts, plan.order),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
        rollout_func=_rollouts(plan, tokenizer),
    )
    if plan.engine == "vllm":
        # By itself it stops at the ids of generation_config.json and tokenizer, not at config.json's.
        trainer.vllm_generation.generation_kwargs["stop_token_ids"] = list(sampling.stop_token_ids)
    if isinstance(reward, RandomReward):
        reward.figures = trainer.facts.extra
    trainer.before_checkpoint.append(recorder.flush)
    _watch(plan, trainer, pool, stack)
    return trainer


def _watch(plan: TrainPlan, trainer: Any, pool: GradingPool, stack: ExitStack) -> None:
    """Add what writes metrics, stops on broken weights, evaluates, and shows how far the run is."""
    from prerl_train.watch import EvaluateEvery, Guards, MetricsWriter, ProgressDisplay

    run = plan.folder.path

    def facts() -> dict[str, Any]:
        return dict(trainer.update_facts)

    display = ProgressDisplay(trainer, facts, run.name)
    stack.callback(display.close)
    trainer.add_callback(MetricsWriter(run, facts))
    trainer.add_callback(Guards(run, trainer, facts))
    if plan.benchmarks:
        evaluate = LiveEvaluation(plan, plan.benchmarks, trainer, pool)
        every = plan.settings.eval_every or plan.settings.steps
        trainer.add_callback(EvaluateEvery(run, every, evaluate, display))
    trainer.add_callback(display)


def _trainer_class(algorithm: str) -> Any:
    from prerl_train.ppo import PPOTrainer
    from prerl_train.trainer import DSRLTrainer

    base = PPOTrainer if algorithm == "ppo" else DSRLTrainer
    return type(f"Checkpointed{base.__name__}", (AtomicCheckpoints, base), {})


def _rollouts(plan: TrainPlan, tokenizer: Any) -> Any:
    from prerl_train.rollouts import EngineRollouts

    if plan.engine == "vllm":
        return rollouts_of_vllm
    return EngineRollouts(tokenizer, plan.sampling, plan.settings.max_tokens, plan.settings.seed)


@contextmanager
def explaining_full_memory(plan: TrainPlan) -> Iterator[None]:
    """Turn a full GPU into a line that says what to lower."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunStopped(f"{plan.folder.path}: the GPU is full; {_relief(plan)}") from error


def _relief(plan: TrainPlan) -> str:
    """What to lower, the harmless first, and whether the run can go on with it."""
    settings = plan.settings
    rows = forward_rows(settings, plan.machine, plan.longest_prompt)
    ways = [f"--micro-batch {rows // 2} (now {rows})"] if rows > 1 else []
    if not settings.gradient_checkpointing:
        ways.append("--gradient-checkpointing")
    if plan.engine == "vllm" and settings.vllm_mode == "colocate":
        ways.append(f"--vllm-memory below {settings.vllm_memory:g}")
    now = f"run the same command with {' or '.join(ways)}" if ways else ""
    later = f"--max-tokens below {settings.max_tokens}, --lora-rank or more GPUs (with another --out)"
    return f"{now}, else take {later}" if now else f"take {later}"


def _say(plan: TrainPlan, line: str) -> None:
    if plan.machine.is_main:
        print(line, file=sys.stderr)
