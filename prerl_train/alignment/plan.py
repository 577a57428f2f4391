"""Planning an alignment study: everything that can be wrong with its input is found here.

Covers the options, which problems are sampled, the prompt that each response is mispaired with, the
start token, the settings that identify a study and the comparison with what its folder already
holds. Writes nothing, loads no weights, and imports no torch before the options are known to be good.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prerl_eval.cards import Card
from prerl_eval.checkpoint import Checkpoint, open_checkpoint
from prerl_eval.engines.base import Prompt
from prerl_eval.errors import UserError
from prerl_eval.json_files import read_json
from prerl_eval.plan import RunOptions, RunPlan, check_against_store, check_numbers, plan_run
from prerl_eval.problems import Problem, load_problems
from prerl_eval.prompts import PromptBuilder, check_lengths
from prerl_eval.run_record import differing_keys
from prerl_train.data import training_card

RESULT, ROWS, ROLLOUTS = "alignment.json", "responses.jsonl", "rollouts"
TOKENS, PICTURE = "tokens.parquet", "alignment.png"

DTYPES = ("float32", "float64")
"""What gradients are computed in. Not bfloat16: it would round a small step away. Parts that an
architecture computes in float32 whatever its weights are (Qwen3's norms) stay float32 in float64."""


@dataclass(frozen=True)
class AlignOptions:
    """What `prerl-train align` was asked for; names are the flags'.

    ckpt: folder or hub id. data: a card, a hub id or a data file (prerl_train.data.training_card);
    nothing is trained, so any split may be looked at: split None takes the one the card evaluates.
    samples: responses that are measured. token_samples: how many of them token by token, at most all.
    out: None takes runs/align-<checkpoint>-<hash of the settings>. temperature: of sampling; log-probs
    are the model's own, at temperature 1. max_tokens: None takes the card's. start_token: what stands
    before y in P(y), None for the tokenizer's. lr: size of the step along grad log P(y), None for one
    per response that can move log P(y|x) by at most 0.01 nats. device: for the gradients, "auto", "cpu"
    or "cuda". dtype: of the gradients, one of DTYPES. system, thinking, template: as in `prerl-eval run`.
    """

    ckpt: str
    data: str
    samples: int = 40
    token_samples: int = 10
    out: Path | None = None
    data_root: Path | None = None
    split: str | None = None
    seed: int = 0
    temperature: float = 1.0
    max_tokens: int | None = None
    start_token: str | int | None = None
    lr: float | None = None
    device: str = "auto"
    dtype: str = "float32"
    system: str | None = None
    thinking: bool | None = None
    template: str = "auto"


@dataclass(frozen=True)
class Study:
    """One study, checked and ready: nothing has been written yet.

    rollouts: the run that samples the responses, below `out`. other: problem_id -> the problem whose
    prompt it is mispaired with, and that prompt. tokenizer: of transformers. start_id: before y in P(y).
    """

    options: AlignOptions
    out: Path
    settings: dict[str, Any]
    checkpoint: Checkpoint
    rollouts: RunPlan
    other: dict[str, tuple[str, Prompt]]
    tokenizer: Any
    start_id: int
    device: str


def plan_study(options: AlignOptions) -> Study:
    """Check the options and plan the study. Raises UserError for whatever is wrong, before any work."""
    sampling = RunOptions(
        ckpt=[options.ckpt], bench=[options.data], seed=options.seed, temperature=options.temperature,
        max_tokens=options.max_tokens, system=options.system, thinking=options.thinking,
        template=options.template, engine="transformers", dtype="float32",
    )  # fmt: skip
    check_numbers(sampling)
    _check_numbers(options)
    checkpoint = open_checkpoint(options.ckpt)
    card = training_card(options.data, options.data_root)
    problems = load_problems(card, options.data_root, None, options.split)
    random.Random(f"{options.seed} alignment").shuffle(problems)
    builder = PromptBuilder(checkpoint, options.system, options.thinking, options.template)
    n = -(-options.samples // max(len(problems), 1))
    chosen = problems[: -(-options.samples // n)] if n else []
    if not chosen:
        raise UserError(
            f"{card.name} has no problems in split {options.split or card.split}; give another --split"
        )
    other = mispaired(chosen, problems, card, builder, options.max_tokens or card.max_tokens)
    start_id = _start_id(checkpoint, builder, options.start_token)
    plan = plan_run(replace(sampling, n=n), "transformers", checkpoint, [card], [chosen], 1)
    settings = _settings(options, card, plan, start_id)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    out = options.out or Path("runs") / f"align-{checkpoint.name}-{digest}"
    study = Study(
        options, out, settings, checkpoint, replace(plan, out=out / ROLLOUTS), other,
        builder.tokenizer, start_id, _device(options.device),
    )  # fmt: skip
    check_out(study)
    return study


def mispaired(
    chosen: Sequence[Problem],
    problems: Sequence[Problem],
    card: Card,
    builder: PromptBuilder,
    max_tokens: int,
) -> dict[str, tuple[str, Prompt]]:
    """For each chosen problem the next one (in the order of `problems`, which starts with the chosen)
    that is asked in other words: its id and its prompt.

    Raises UserError where all problems are asked alike, and where a prompt leaves no room for max_tokens.
    """
    prompts: dict[int, Prompt] = {}

    def prompt(number: int) -> Prompt:
        return prompts.setdefault(number, builder.render(problems[number], card))

    found = {}
    for number, problem in enumerate(chosen):
        later = ((number + step) % len(problems) for step in range(1, len(problems)))
        pick = next((at for at in later if prompt(at).text != prompt(number).text), None)
        if pick is None:
            raise UserError(
                f"{card.name} holds one problem only: the control pairs a response with another problem's "
                "prompt; give a set of at least two"
            )
        found[problem.problem_id] = (problems[pick].problem_id, prompt(pick))
    used = sorted(prompts)
    check_lengths(
        card.name, [problems[i] for i in used], [prompts[i] for i in used], max_tokens,
        builder.checkpoint.context_length,
    )  # fmt: skip
    return found


def check_out(study: Study) -> None:
    """Refuse a folder that holds something else, or a study with other settings."""
    out = study.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(held - {RESULT, ROWS, ROLLOUTS, TOKENS, PICTURE, "lock"})
    if foreign or (ROWS in held and RESULT not in held):
        missing = "" if foreign else f" and no {RESULT}"
        raise UserError(
            f"{out} holds {(foreign or [ROWS])[0]}{missing}: it is no study; give an empty or new --out"
        )
    if RESULT in held:
        stored = read_json(out / RESULT).get("settings")
        if not isinstance(stored, dict):
            raise UserError(f"{out / RESULT} has no settings: it is no study of prerl; give another --out")
        different = differing_keys(stored, study.settings)
        if different:
            raise UserError(
                f"{out} was made with other settings ({'; '.join(different)}); "
                "repeat those, or give another --out"
            )
    check_against_store(study.rollouts)


def _check_numbers(options: AlignOptions) -> None:
    if options.samples < 1:
        raise UserError(f"--samples {options.samples} is too small; give 1 or more")
    if options.token_samples < 0:
        raise UserError(f"--token-samples {options.token_samples} is too small; give 0 or more")
    if options.lr is not None and not (math.isfinite(options.lr) and options.lr > 0):
        raise UserError(f"--lr {options.lr} is no step; give a positive number, or leave it out")
    if options.dtype not in DTYPES:
        raise UserError(
            f"--dtype {options.dtype} cannot resolve a small step; give one of {', '.join(DTYPES)}"
        )
    if options.device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {options.device} is unknown; give one of auto, cpu, cuda")


def _device(asked: str) -> str:
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device; use --device cpu")
    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


def _start_id(checkpoint: Checkpoint, builder: PromptBuilder, override: str | int | None) -> int:
    from transformers import AutoConfig

    from prerl_eval.start_token import start_token_id

    config = AutoConfig.from_pretrained(str(checkpoint.base_path or checkpoint.path))
    return start_token_id(builder.tokenizer, config, override)


def _settings(options: AlignOptions, card: Card, plan: RunPlan, start_id: int) -> dict[str, Any]:
    settings = {
        **plan.settings,
        "data": card.name,
        "card": card.hash,
        "split": options.split or card.split,
        "max_tokens": plan.benchmarks[0].max_tokens,
        "samples": options.samples,
        "token_samples": min(options.token_samples, options.samples),
        "start_token": start_id,
        "lr": options.lr,
        "dtype": options.dtype,
    }
    return dict(json.loads(json.dumps(settings)))
