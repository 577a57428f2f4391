"""Planning a training run: everything that can be wrong with its input is found here.

Covers processes and device, the engine, the model's files, the data, the benchmarks and the run
folder. Writes nothing and loads no weights. Does not cover the options by themselves (checks.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from prerl_eval.checkpoint import Checkpoint, open_checkpoint
from prerl_eval.engines.base import Sampling
from prerl_eval.errors import UserError
from prerl_eval.prompts import PromptBuilder
from prerl_train import journal
from prerl_train.arguments import Machine
from prerl_train.catalogue import ALGORITHMS, ERASED
from prerl_train.checkpoints import latest_checkpoint
from prerl_train.checks import PROMPTED, check_processes, check_settings
from prerl_train.data import TrainingSet, epoch_order, training_set
from prerl_train.evaluation import Benchmarks, load_benchmarks, longest_request
from prerl_train.folder import Folder, check_folder, plan_folder
from prerl_train.settings import TrainSettings
from prerl_train.with_vllm import wait_for_server


@dataclass(frozen=True)
class TrainPlan:
    """A run, checked and ready.

    engine: resolved, "transformers" or "vllm". order: rows of the data in the order of the whole run.
    benchmarks: what is evaluated on during training. resume: the checkpoint to go on from.
    """

    settings: TrainSettings
    machine: Machine
    engine: str
    checkpoint: Checkpoint
    sampling: Sampling
    data: TrainingSet
    order: Sequence[int]
    benchmarks: Benchmarks | None
    context: int
    folder: Folder
    notes: Sequence[str]
    resume: Path | None

    @property
    def done(self) -> int:
        """Updates that the checkpoint to go on from has seen."""
        return int(self.resume.name.rpartition("-")[2]) if self.resume else 0

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt."""
        return _longest(self.data)

    @property
    def is_finished(self) -> bool:
        """Whether all updates are done, and the policy they end with is evaluated."""
        if self.done < self.settings.steps:
            return False
        evaluated = journal.read(self.folder.path / "evals.jsonl")
        return self.benchmarks is None or any(entry["step"] == self.done for entry in evaluated)


def plan_training(settings: TrainSettings) -> TrainPlan:
    """Check everything that can be checked before weights are loaded.

    Raises UserError for whatever is wrong with the settings, the model's files, the data, a benchmark
    or the run folder.
    """
    check_settings(settings)
    benchmarks = load_benchmarks(settings)
    machine = find_machine()
    check_processes(settings, machine.processes)
    engine = find_engine(settings, machine)
    if settings.lora_rank and machine.is_sharded:
        raise UserError(
            f"--lora-rank {settings.lora_rank}: adapters of weights that are split (FSDP) cannot be merged "
            "for vLLM; launch with the ddp config, or give --lora-rank 0"
        )
    checkpoint = open_checkpoint(settings.model)
    builder = PromptBuilder(checkpoint, settings.system, settings.thinking, settings.template)
    _check_model(settings, machine, checkpoint, builder)
    data = training_set(
        settings.data,
        builder,
        max_tokens=settings.max_tokens,
        max_prompt_tokens=settings.max_prompt_tokens,
        data_root=settings.data_root,
        limit=settings.limit,
    )
    batches = settings.steps // settings.window
    order = epoch_order(len(data.problems), settings.prompts_per_step, batches, settings.seed)
    if engine == "vllm" and settings.vllm_server and machine.is_main:
        wait_for_server(settings.vllm_server)
    stop_ids = checkpoint.stop_ids()
    folder = plan_folder(settings, checkpoint, data, engine, builder.chat)
    context = _longest(data) + settings.max_tokens
    if benchmarks:
        evaluation = benchmarks.plan(settings, checkpoint, engine, folder.path / "evals" / "step-0")
        context = max(context, longest_request(evaluation))
    resume = latest_checkpoint(folder.path, machine.processes) if check_folder(folder) else None
    return TrainPlan(
        settings=settings,
        machine=machine,
        engine=engine,
        checkpoint=checkpoint,
        sampling=Sampling(settings.temperature, settings.top_p, settings.top_k, (), stop_ids.used),
        data=data,
        order=order,
        benchmarks=benchmarks,
        context=context,
        folder=folder,
        notes=[*builder.notes, *stop_ids.disagreements],
        resume=resume,
    )


def _longest(data: TrainingSet) -> int:
    return max(len(prompt.token_ids or ()) for prompt in data.prompts)


def find_machine() -> Machine:
    """Processes as launchers set them, and the device of each."""
    import torch

    return Machine(
        processes=int(os.environ.get("WORLD_SIZE", 1)),
        device="cuda" if torch.cuda.is_available() else "cpu",
        is_main=os.environ.get("RANK", "0") == "0",
        is_sharded=os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"),
    )


def find_engine(settings: TrainSettings, machine: Machine) -> str:
    """What samples rollouts: "vllm" or "transformers".

    Raises UserError where it cannot: weights split over processes, processes not over vLLM's groups.
    """
    engine = settings.engine
    if engine == "auto":
        engine = "vllm" if machine.has_gpu and find_spec("vllm") else "transformers"
    if engine == "transformers" and machine.is_sharded and machine.processes > 1:
        raise UserError(
            "--engine transformers cannot sample from weights that are split over processes (FSDP); "
            "give --engine vllm, or launch with the ddp config"
        )
    if engine == "vllm" and settings.vllm_mode == "colocate" and machine.processes % settings.vllm_tp:
        raise UserError(
            f"--vllm-tp {settings.vllm_tp} does not divide the {machine.processes} process(es); "
            "give a divisor, or start one process per GPU with accelerate launch"
        )
    return engine


def erases(settings: TrainSettings) -> bool:
    """Whether any update is made in P(y), which needs a start token."""
    if settings.algorithm == "dsrl":
        return settings.warmup_steps > 0 and settings.warmup_space not in PROMPTED
    return ALGORITHMS[settings.algorithm].options >= ERASED


def _check_model(
    settings: TrainSettings, machine: Machine, checkpoint: Checkpoint, builder: PromptBuilder
) -> None:
    """Raise UserError where the algorithm cannot be had with this model, or on this machine."""
    if settings.algorithm == "ppo" and machine.is_sharded:
        raise UserError("ppo keeps a whole critic on each process, FSDP does not; launch with the ddp config")
    if settings.kl_coef and checkpoint.base:
        raise UserError(
            f"--kl-coef {settings.kl_coef:g}: {settings.model} is an adapter, and the reference would be "
            "its base model; merge it first, or give --kl-coef 0"
        )
    if erases(settings):
        from transformers import AutoConfig

        from prerl_eval.start_token import start_token_id

        config = AutoConfig.from_pretrained(str((checkpoint.base or checkpoint).path))
        start_token_id(builder.tokenizer, config, settings.start_token)
