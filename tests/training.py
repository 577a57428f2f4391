"""Real training of a tiny model on scripted completions, and updates written out by hand.

`train` runs a trainer and keeps what each update saw and did. The formulas side (`Policy`,
`surrogate`) computes in float64, one sample at a time, without padding and without any code of
prerl_train, what the update should have been.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback

from prerl_train import DSRLConfig, DSRLTrainer

# Read by TRL when a rollout function is given.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

LONGEST = 12
"""Completion tokens at most."""
START, EOS = 1, 2
"""Ids of <s> and </s> in the tiny tokenizer."""
PROMPTS = [f"<s> make {number} from 1 2" + " 3" * (number % 4) for number in range(24)]

MIXED = "1000 0110 1110 0101"
"""One figure per row: 1 for a right sample, 0 for a wrong one; a word per problem."""
UNEVEN = "1111 0100 0000 0110"
ONE_OF_TWO = "1111 0100 0000 0000"
ALIKE = "1111 0000 0000 1111"


@dataclass(frozen=True)
class Sample:
    """A completion as it was sampled: for the update after `step`, in draw `draw`, as row `row`."""

    step: int
    draw: int
    row: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def reward(self) -> float:
        return right(self.completion)


def right(completion: Sequence[int]) -> float:
    return float(completion[0] % 2)


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """1 where the first token's id is odd."""
    return [right(ids) for ids in completion_ids]


@dataclass
class Script:
    """TRL's `rollout_func`: completions, all unlike, that depend on update, draw and row only.

    verdicts: (updates done, draw) -> one figure per row, see MIXED. longest: tokens of the longest.
    """

    verdicts: Callable[[int, int], str] = lambda step, draw: UNEVEN
    seed: int = 0
    longest: int = LONGEST
    samples: list[Sample] = field(default_factory=list)

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        step, draw = trainer.state.global_step, trainer_draw(trainer)
        first = trainer.accelerator.process_index * len(prompts)
        ids = trainer.processing_class(prompts)["input_ids"]
        verdicts = self.verdicts(step, draw).replace(" ", "")
        completions = [
            self.completion(step, draw, first + i, verdicts[first + i]) for i in range(len(prompts))
        ]
        self.samples += [
            Sample(step, draw, first + i, tuple(ids[i]), tuple(completions[i])) for i in range(len(prompts))
        ]
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}

    def completion(self, step: int, draw: int, row: int, verdict: str) -> list[int]:
        rng = random.Random(f"{self.seed}/{step}/{draw}/{row}")
        length = rng.randint(3, self.longest)
        ids = [10 + 2 * rng.randrange(20) + int(verdict), 6 + row]
        ids += [rng.randrange(6, 60) for _ in range(length - 3)]
        return [*ids, EOS if length < self.longest else rng.randrange(6, 60)]


def stubborn(step, draw):
    """The second update's batch has something to learn from at the third draw only."""
    return ALIKE if step == 1 and draw < 2 else UNEVEN


def trainer_draw(trainer: Any) -> int:
    return getattr(trainer, "draw", 0)


@dataclass
class Update:
    """One optimizer step: `weights` before it, the `gradient` it used, completions its loss was on.

    prompts: what stood before completions in any pass, those of idle micro-batches included.
    """

    weights: dict[str, torch.Tensor]
    gradient: torch.Tensor
    rate: float
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]]
    passes: int
    facts: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, Any] = field(default_factory=dict)
    moments: int = 0
    prompts: set[tuple[int, ...]] = field(default_factory=set)


@dataclass
class Run:
    trainer: Any
    updates: list[Update]
    samples: list[Sample]

    def batch(self, step: int, draw: int = 0) -> list[Sample]:
        """What was sampled for the update after `step`, by row."""
        found = [sample for sample in self.samples if (sample.step, sample.draw) == (step, draw)]
        return sorted(found, key=lambda sample: sample.row)

    @property
    def weights(self) -> torch.Tensor:
        """All weights after the run, (N,)."""
        return flat(dict(self.trainer.model.named_parameters()))


class Witness(TrainerCallback):
    """Notes each update as it is made; `spy` makes a trainer tell what its loss is on."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self._seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self._passes = 0
        self._prompts: set[tuple[int, ...]] = set()

    def spy(self, trainer: Any) -> None:
        plain = trainer.compute_loss

        def compute_loss(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            if trainer.model.training:
                self._note(inputs)
            return plain(model, inputs, *rest, **named)

        trainer.compute_loss = compute_loss

    def _note(self, inputs: dict[str, Any]) -> None:
        self._passes += 1
        for row in range(len(inputs["completion_ids"])):
            ends = [
                tuple(inputs[f"{part}_ids"][row][inputs[f"{part}_mask"][row].bool()].tolist())
                for part in ("prompt", "completion")
            ]
            self._prompts.add(ends[0])
            if "tool_mask" not in inputs or inputs["tool_mask"][row].any():
                self._seen.append((ends[0], ends[1]))

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **_: Any
    ) -> None:
        named = dict(model.named_parameters())
        gradients = {
            name: torch.zeros_like(value) if value.grad is None else value.grad
            for name, value in named.items()
        }
        self.updates.append(
            Update(
                {name: value.detach().clone() for name, value in model.state_dict().items()},
                flat(gradients),
                optimizer.param_groups[0]["lr"],
                self._seen,
                self._passes,
                moments=len(getattr(optimizer, "optimizer", optimizer).state),
                prompts=self._prompts,
            )
        )
        self._seen, self._passes, self._prompts = [], 0, set()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs and self.updates:
            self.updates[-1].logs = dict(logs)


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """All values in one float64 vector, by name, without what a wrapper puts before the name."""
    by_name = {name.removeprefix("module."): value for name, value in tensors.items()}
    return torch.cat([by_name[name].detach().double().flatten() for name in sorted(by_name)])


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Of a run on 4 problems x 4 samples, one update per batch; AdamW without weight decay."""
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "shuffle_dataset": False,
        "logging_steps": 1,
        "max_steps": 2,
        "max_grad_norm": 0.0,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "num_generations": 4,
        "max_completion_length": LONGEST,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        **changes,
    }


def make_trainer(
    model: Path,
    folder: Path,
    script: Any,
    *,
    kind: Any = DSRLTrainer,
    config: Any = DSRLConfig,
    rewards: Any = reward,
    callbacks: Sequence[Any] = (),
    prompts: Sequence[str] = PROMPTS,
    eval_prompts: Sequence[str] | None = None,
    **changes: Any,
) -> Any:
    """A trainer of `kind` on scripted completions; with script None it samples by itself."""
    return kind(
        str(model),
        rewards,
        config(**settings(folder, **changes)),
        train_dataset=Dataset.from_dict({"prompt": list(prompts)}),
        eval_dataset=eval_prompts and Dataset.from_dict({"prompt": list(eval_prompts)}),
        rollout_func=script,
        callbacks=list(callbacks),
    )


def train(
    model: Path, folder: Path, script: Any = None, *, resume: Path | None = None, **changes: Any
) -> Run:
    """Train as `changes` to `settings` say, on a `Script` if nothing else is given."""
    script = script or Script()
    witness = Witness()
    callbacks = [*changes.pop("callbacks", ()), witness]
    trainer = make_trainer(model, folder, script, callbacks=callbacks, **changes)
    witness.spy(trainer)
    plain = trainer.log

    def log(logs: dict[str, float], *rest: Any) -> None:
        plain(logs, *rest)
        if "loss" in logs and hasattr(trainer, "update_facts"):
            witness.updates[-1].facts = dict(trainer.update_facts)

    trainer.log = log
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return Run(trainer, witness.updates, getattr(script, "samples", []))


class Policy:
    """A checkpoint with given weights in float64, asked for one sample at a time."""

    def __init__(self, model: Path, weights: dict[str, torch.Tensor] | None = None):
        self.model = AutoModelForCausalLM.from_pretrained(model).double()
        if weights is not None:
            self.model.load_state_dict({name: value.double() for name, value in weights.items()})

    def distributions(self, before: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
        """(T, V) log p(. | before, y_<t) for each token of the completion."""
        ids = torch.tensor([[*before, *completion]])
        return self.model(input_ids=ids).logits[0, len(before) - 1 : -1].log_softmax(-1)

    def log_probs(self, before: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
        """(T,) log p(y_t | before, y_<t)."""
        found = self.distributions(before, completion)
        return found.gather(1, torch.tensor(completion)[:, None]).squeeze(1)

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """d loss / d weights, (N,) by name."""
        named = dict(self.model.named_parameters())
        found = torch.autograd.grad(loss, list(named.values()))
        return flat(dict(zip(named, found, strict=True)))


def surrogate(
    log_probs: torch.Tensor,
    advantage: float,
    old: torch.Tensor | None = None,
    low: float = 0.2,
    high: float = 0.2,
    most: float | None = None,
) -> torch.Tensor:
    """PPO's clipped objective of each token, to be maximized; dual clip (arXiv 1912.09729) at `most`."""
    old = log_probs.detach() if old is None else old.detach()
    ratio = (log_probs - old).exp()
    clipped = ratio.clamp(1 - low, 1 + high)
    value = torch.minimum(ratio * advantage, clipped * advantage)
    if most is not None and advantage < 0:
        value = torch.maximum(value, torch.full_like(value, most * advantage))
    return value


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """|found - expected| / |expected|; the expected one is never zero."""
    assert expected.norm() > 0
    return float((found - expected).norm() / expected.norm())
