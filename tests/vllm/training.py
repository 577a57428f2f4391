"""DSRL with rollouts by real vLLM on a CPU.

    python -m tests.vllm.training MODEL OUT NAME...

does the runs of RUNS with these names and writes what happened in each to OUT/NAME.json. In a
process of its own: vLLM in the trainer's process changes threads, the random state and the
environment for good. TRL's code is untouched but for what its vLLM cannot do on a CPU: `colocated`
and `pushed_by_files` say what that is.
"""

import functools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from tests.conftest import REPO
from tests.servers import vllm_server

RUNS: dict[str, dict[str, Any]] = {
    "corrected": {},
    "other-seed": {"seed": 1, "max_steps": 1, "dsrl_warmup_steps": 1},
    "uncorrected": {"vllm_importance_sampling_correction": False},
    "stale": {},
    "server": {"vllm_mode": "server"},
}
"""Names of runs, and what is special in each one's DSRLConfig; "stale" never gets its weights synced.

A further one, "command", is what `prerl-train dsrl --engine vllm` does with the shipped base model.
"""

SETTINGS: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "shuffle_dataset": False,
    "use_vllm": True,
    "vllm_mode": "colocate",
    "per_device_train_batch_size": 16,
    "num_generations": 4,
    "max_completion_length": 24,
    "max_steps": 4,
    "logging_steps": 1,
    "dsrl_warmup_steps": 2,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "vllm_importance_sampling_correction": True,
}

LONG = 30
"""Tokens of a greedy completion."""

PROMPTS = [f"<s> make {number} from 1 2 3" for number in range(16)]

EOS, HMM = 2, 131
"""End of text of both models, and a word of the base model that "command" makes another end."""

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # the server's addresses for weights
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def colocated() -> Iterator[None]:
    """While a trainer is built: vLLM in float32, not compiled, and with weights that can be written to.

    vLLM's CPU build packs the weights of linear layers once loaded and drops the originals, so that
    TRL's sync finds no parameter to load into.
    """
    import torch
    import vllm

    def plain(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    llm = functools.partial(vllm.LLM, dtype="float32", enforce_eager=True)
    with (
        mock.patch("trl.generation.vllm_generation.LLM", llm),
        mock.patch("vllm.model_executor.layers.utils.dispatch_cpu_unquantized_gemm", plain),
    ):
        yield


@contextmanager
def pushed_by_files(model: Path, folder: Path) -> Iterator[str]:
    """A server, and TRL's client with files in place of NCCL, which needs a GPU: the server's address."""
    from safetensors.torch import save_file
    from trl.generation.vllm_client import VLLMClient

    def push(client: Any, metadata: list[Any], weights: Iterator[tuple[str, Any]]) -> None:
        tensors = {name: tensor.detach().clone() for name, tensor in weights}
        assert [(name, list(tensor.shape)) for name, tensor in tensors.items()] == [
            (name, shape) for name, _, shape in metadata
        ]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        request = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        client._post(f"{client.base_url}/collective_rpc", json=request)

    shutil.copytree(model, folder)
    flags = {"--weight-transfer-config": '{"backend": "nccl"}', "--logprobs-mode": "processed_logprobs"}
    with (
        mock.patch.object(VLLMClient, "init_communicator", return_value=None),
        mock.patch.object(VLLMClient, "update_named_params", push),
        vllm_server(model, *(word for flag in flags.items() for word in flag)) as (url, _),
    ):
        yield url.removesuffix("/v1")


class Witness:
    """What happens between a trainer and its engine: greedy completions after each sync, forward passes."""

    def __init__(self, trainer: Any, prompts: list[str]):
        self.trainer = trainer
        self.rollouts: list[list[list[int]]] = []
        self.greedy: list[dict[str, Any]] = []
        self.passes: list[tuple[int, str, int]] = []
        self._prompts = trainer.processing_class(prompts, add_special_tokens=False)["input_ids"]
        self._generate = trainer.vllm_generation.generate
        trainer.vllm_generation.generate = self.generate
        trainer.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def report(self) -> dict[str, Any]:
        return {"greedy": self.greedy, "passes": self.passes, "rollouts": self.rollouts}

    def generate(self, **named: Any) -> Any:
        """TRL's, which it calls when it has synced the weights of the update before."""
        step = self.trainer.state.global_step
        self.greedy.append({"step": step, "engine": self._by_engine(), "trainer": self._by_trainer()})
        found = self._generate(**named)
        self.rollouts.append([list(ids) for ids in found[1]])
        return found

    def _by_engine(self) -> list[list[int]]:
        greedy = {"temperature": 0.0, "min_tokens": LONG, "max_tokens": LONG}
        engine = self.trainer.vllm_generation
        with mock.patch.multiple(engine, generation_kwargs=greedy):
            return [list(ids) for ids in self._generate(self._prompts[:4], None, 1)[1]]

    def _by_trainer(self) -> list[list[int]]:
        import torch

        model = self.trainer.model.eval()
        greedy = {"do_sample": False, "min_new_tokens": LONG, "max_new_tokens": LONG}
        found = []
        for prompt in self._prompts[:4]:
            ids = torch.tensor([prompt])
            whole = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **greedy)
            found.append(whole[0, len(prompt) :].tolist())
        model.train()
        return found

    def _note(self, model: Any, args: Any, named: dict[str, Any]) -> None:
        """One pass: (updates done, "prompt" or "start" before the completions, rows)."""
        if not model.training:
            return
        rows = [
            ids[mask.bool()].tolist()
            for ids, mask in zip(named["input_ids"], named["attention_mask"], strict=True)
        ]
        prompted = [any(row[: len(prompt)] == prompt for prompt in self._prompts) for row in rows]
        kind = {len(rows): "prompt", 0: "start"}.get(sum(prompted), "both")
        self.passes.append((self.trainer.state.global_step, kind, len(rows)))


def run(name: str, model: Path, out: Path) -> dict[str, Any]:
    """Train (2 updates of warm-up and 2 of RL if RUNS says nothing else) and tell what happened."""
    from datasets import Dataset

    from prerl_train import DSRLConfig, DSRLTrainer
    from prerl_train.watch import Guards

    settings = {**SETTINGS, **RUNS[name], "output_dir": str(out / name)}
    facts: list[dict[str, Any]] = []

    def reward(completions: list[str], **columns: Any) -> list[float]:
        return [float(len(set(text.split())) % 2) for text in completions]

    class Trainer(DSRLTrainer):
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs, start_time)
            if "loss" in logs:
                ratio = logs.get("sampling/importance_sampling_ratio/mean")
                facts.append({**self.update_facts, "ratio": ratio})

    with ExitStack() as stack:
        if settings["vllm_mode"] == "server":
            settings["vllm_server_base_url"] = stack.enter_context(pushed_by_files(model, out / "pushed"))
        else:
            stack.enter_context(colocated())
        trainer = Trainer(
            str(model), reward, DSRLConfig(**settings), train_dataset=Dataset.from_dict({"prompt": PROMPTS})
        )
        witness = Witness(trainer, PROMPTS)
        if name == "stale":
            trainer.vllm_generation.sync_weights = lambda: None
        trainer.add_callback(Guards(out / name, trainer, lambda: trainer.update_facts))
        with redirect_stderr(StringIO()) as said:
            trainer.train()
    warnings = [line for line in said.getvalue().splitlines() if line.startswith("warning: ")]
    return {"updates": facts, "warnings": warnings, **witness.report()}


def command(out: Path) -> dict[str, Any]:
    """`prerl-train dsrl --engine vllm`, on a model whose config.json ends completions at HMM, too."""
    from prerl_train import train
    from prerl_train.settings import TrainSettings

    model = shutil.copytree(REPO / "results" / "base-nano", out / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "eos_token_id": [EOS, HMM]}))
    witnesses = []

    def build(plan: Any, *parts: Any) -> Any:
        trainer = real(plan, *parts)
        witnesses.append(Witness(trainer, [prompt.text for prompt in plan.data.prompts]))
        return trainer

    real = train.build_trainer
    with colocated(), mock.patch.object(train, "build_trainer", build):
        train.train(
            TrainSettings(
                algorithm="dsrl",
                model=str(model),
                data="countdown",
                out=out / "run",
                limit=40,
                steps=4,
                warmup_steps=2,
                prompts_per_step=6,
                samples_per_prompt=4,
                max_tokens=96,
                lr=1e-3,
                engine="vllm",
                save_every=2,
                eval_bench=("countdown",),
                eval_every=2,
                eval_n=2,
                eval_limit=6,
                workers=1,
            )
        )
    return witnesses[0].report()


def main(model: str, out: str, *names: str) -> None:
    """Do the runs one after the other in this process."""
    for name in names:
        found = command(Path(out)) if name == "command" else run(name, Path(model), Path(out))
        Path(out, f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    main(*sys.argv[1:])
