"""Planning a scoring: everything that can be wrong with its input is found here.

Covers the options, how prompts are tokenised, the start token, the settings that identify an annotation
and the comparison with the one that is there. Writes nothing and loads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerl_eval.annotations import annotation_folder, read_about
from prerl_eval.checkpoint import Checkpoint, expand_checkpoints
from prerl_eval.engines import DTYPES
from prerl_eval.errors import UserError
from prerl_eval.prompts import PromptBuilder
from prerl_eval.run_record import differing_keys, read_record
from prerl_eval.scoring.responses import Responses, read_responses, stores_prompts
from prerl_eval.start_token import start_token_id
from prerl_eval.store import RowKey

PREFIX = "logp-"

BATCH_TOKENS = {"cpu": 1024, "cuda": 16_384}
"""Tokens of a batch where --batch-tokens does not say: on a CPU small batches stay in its caches."""


@dataclass(frozen=True)
class ScoreOptions:
    """What `prerl-eval score` was asked for; names are the flags'.

    name: stands in logp-<name>; None takes the checkpoint's. bench, step: only these responses.
    per_token: store each token's log-prob too. batch_tokens: tokens of a batch, padding included; None
    for BATCH_TOKENS. start_token: before y in P(y), None for the tokenizer's. retokenize: take the
    texts, not the stored ids. system, thinking, template: how prompts are rendered, for imported runs.
    """

    run: Path
    ckpt: Sequence[str]
    name: str | None = None
    bench: Sequence[str] = ()
    step: int | None = None
    per_token: bool = False
    dtype: str = "auto"
    batch_tokens: int | None = None
    start_token: str | None = None
    retokenize: bool = False
    system: str | None = None
    thinking: bool | None = None
    template: str | None = None


@dataclass(frozen=True)
class ScorePlan:
    """One checkpoint's scoring, checked: nothing has been written. settings: what identifies it."""

    options: ScoreOptions
    checkpoint: Checkpoint
    builder: PromptBuilder
    name: str
    start_id: int
    settings: dict[str, Any]

    @property
    def run(self) -> Path:
        """The run whose responses are scored."""
        return self.options.run

    def responses(self, done: set[RowKey]) -> Responses:
        """What is left to score. Raises UserError where it cannot be scored by this checkpoint."""
        chosen = self.options
        found = read_responses(
            chosen.run,
            self.builder,
            benchmarks=chosen.bench,
            step=chosen.step,
            done=done,
            retokenise=chosen.retokenize,
        )
        self._check_lengths(found)
        return found

    def _check_lengths(self, responses: Responses) -> None:
        context = self.checkpoint.context_length
        longest = max(map(sum, zip(*responses.lengths, strict=True)), default=0)
        if context is not None and longest > context:
            raise UserError(
                f"{self.run} has responses of up to {longest} tokens with their prompts, the context of "
                f"{self.checkpoint.ref} is {context}; score a checkpoint that reads them, or another --bench"
            )

    def stored_about(self) -> dict[str, Any] | None:
        """The about.json that is there, None where there is none. Raises UserError where it is another's."""
        folder = annotation_folder(self.run, self.name)
        if not (folder / "about.json").is_file():
            if any(path.name != "lock" for path in folder.glob("[!.]*")):
                raise UserError(f"{folder} holds files but no annotation; give another --name")
            return None
        about = read_about(self.run, self.name)
        different = differing_keys(about.get("settings", {}), self.settings)
        if self.options.dtype not in ("auto", about.get("dtype")):
            different.append(f"dtype: {about.get('dtype')} -> {self.options.dtype}")
        if different:
            raise UserError(
                f"{self.name} of {self.run} was made with other settings ({'; '.join(different)}); repeat "
                "those, or give another --name"
            )
        return about


def plan_score(options: ScoreOptions) -> list[ScorePlan]:
    """One plan per checkpoint. Raises UserError for whatever is wrong, before any work."""
    if options.batch_tokens is not None and options.batch_tokens < 1:
        raise UserError(f"--batch-tokens {options.batch_tokens} is too small; give 1 or more")
    if options.dtype not in DTYPES:
        raise UserError(f"--dtype {options.dtype} is unknown; give one of {', '.join(DTYPES)}")
    record = read_record(options.run)
    checkpoints = expand_checkpoints(options.ckpt)
    if options.name is not None and len(checkpoints) > 1:
        raise UserError(
            f"--name {options.name} is one name for {len(checkpoints)} checkpoints; leave it out, or score "
            "them one by one"
        )
    plans = [_plan(options, record, checkpoint) for checkpoint in checkpoints]
    if len(plans) > 1:
        # What is wrong with the second must be said before the hours of the first.
        for plan in plans:
            plan.responses(set())
    return plans


def annotation_name(label: str) -> str:
    """The annotation of a checkpoint called `label`."""
    return PREFIX + (re.sub(r"[^A-Za-z0-9._-]+", "-", label)[: 100 - len(PREFIX)] or "checkpoint")


def _plan(options: ScoreOptions, record: Mapping[str, Any], checkpoint: Checkpoint) -> ScorePlan:
    from transformers import AutoConfig

    builder = _builder(options, record, checkpoint)
    config = AutoConfig.from_pretrained(str(checkpoint.base_path or checkpoint.path))
    start_id = start_token_id(builder.tokenizer, config, options.start_token)
    settings = {
        "checkpoint": checkpoint.fingerprint,
        "start_token": start_id,
        "per_token": options.per_token,
        "retokenize": options.retokenize,
        "prompts": "stored"
        if stores_prompts(record)
        else {
            "template": "chat" if builder.chat else "plain",
            "system": builder.system,
            "thinking": builder.thinking,
        },
    }
    name = annotation_name(options.name or checkpoint.name)
    plan = ScorePlan(options, checkpoint, builder, name, start_id, settings)
    plan.stored_about()
    return plan


def _builder(options: ScoreOptions, record: Mapping[str, Any], checkpoint: Checkpoint) -> PromptBuilder:
    """What tokenises the prompts: as the run says where it does, else by the flags."""
    settings = record["settings"]
    flags = {"--system": options.system, "--thinking": options.thinking, "--template": options.template}
    given = next((flag for flag, value in flags.items() if value is not None), None)
    if settings.get("engine") != "import":
        if given:
            raise UserError(
                f"{given} is for imported runs; {options.run} knows its own prompts, leave it out"
            )
        if stores_prompts(record):
            chat = settings.get("template") == "chat" and not options.retokenize
            return PromptBuilder(checkpoint, template="chat" if chat else "plain")
        named = (settings.get("system"), settings.get("thinking"), settings.get("template") or "auto")
        return PromptBuilder(checkpoint, *named)
    return PromptBuilder(checkpoint, options.system, options.thinking, options.template or "auto")
