"""Training data: a card, a hub id or a file of problems in; checked problems and their prompts out.

Covers what may be trained on, which problems are left out (and how many), and the order of a whole
run. Does not cover reading data sets (prerl_eval.problems) or how a prompt is rendered
(prerl_eval.prompts). Imports no torch and no datasets at the top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prerl_eval.cards import Card, load_card
from prerl_eval.checkpoint import HUB_ID, Checkpoint
from prerl_eval.data_rows import BUILDERS, column_names
from prerl_eval.engines.base import Prompt
from prerl_eval.errors import UserError
from prerl_eval.grading import UNSCORED, GradingPool
from prerl_eval.plan import request_seed
from prerl_eval.problems import Problem, training_problems
from prerl_eval.prompts import PromptBuilder, check_lengths

if TYPE_CHECKING:
    from datasets import Dataset

SPLIT = "train"
"""The split of data that comes without a card."""

PROMPT_OF = "math-train"
"""The card whose prompt asks the problems of data that comes without one."""


@dataclass(frozen=True)
class TrainingSet:
    """What a run trains on: problems and their prompts, in the same order.

    card: where they come from; made on the spot for a file or a hub id. dropped: reason ("empty
    gold", "unreadable gold", "long prompt") -> problems left out for it; reasons without any are absent.
    """

    card: Card
    problems: Sequence[Problem]
    prompts: Sequence[Prompt]
    dropped: Mapping[str, int]

    def report(self) -> str:
        """One line: how many problems there are and what was left out."""
        left_out = ", ".join(f"{reason} {count:,}" for reason, count in self.dropped.items())
        return f"{self.card.name}: {len(self.problems):,} problems" + (
            f" (left out: {left_out})" if left_out else ""
        )

    def record(self, samples_per_prompt: int, max_tokens: int) -> dict[str, Any]:
        """The `benchmarks` of a training run's run.json.

        `problems` is not there, so no row counts as missing: a step samples some problems only.
        """
        return {
            self.card.name: {
                **self.card.describe(),
                "split": self.card.train_split,
                "card_hash": self.card.hash,
                "n": samples_per_prompt,
                "max_tokens": max_tokens,
                "training_problems": len(self.problems),
                "dropped": dict(self.dropped),
                "prompt_of_sample_0": {
                    "text": self.prompts[0].text,
                    "token_ids": list(self.prompts[0].token_ids or ()),
                },
            }
        }


def training_set(
    source: str,
    builder: PromptBuilder,
    *,
    max_tokens: int,
    max_prompt_tokens: int | None = None,
    data_root: Path | None = None,
    limit: int | None = None,
) -> TrainingSet:
    """The problems of `source` that can be trained on, with their prompts for the builder's checkpoint.

    source: see `training_card`. max_tokens: completion tokens at most. max_prompt_tokens: longer
    prompts are left out; None leaves out what does not fit the model's context beside max_tokens.
    limit: only the first problems of the data. Problems whose gold cannot judge an answer are left out.
    Raises UserError for what `training_card` and `load_problems` refuse, and where nothing is left.
    """
    card = training_card(source, data_root)
    longest = _longest_prompt(builder.checkpoint, max_tokens, max_prompt_tokens)
    dropped: Counter[str] = Counter()
    problems, prompts = [], []
    with GradingPool() as pool:
        for problem in training_problems(card, data_root, limit):
            trouble = _bad_gold(problem, pool)
            prompt = builder.render(problem, card)
            if not trouble and longest is not None and len(prompt.token_ids or ()) > longest:
                trouble = "long prompt"
            if trouble:
                dropped[trouble] += 1
                continue
            problems.append(problem)
            prompts.append(prompt)
    check_lengths(card.name, problems, prompts, max_tokens, builder.checkpoint.context_length)
    found = TrainingSet(card, problems, prompts, dict(sorted(dropped.items())))
    if not problems:
        raise UserError(
            f"{found.report()}: none to train on; give problems with answers"
            + (f", or a larger --max-prompt-tokens than {longest}" if dropped["long prompt"] else "")
        )
    return found


def training_card(source: str, data_root: Path | None = None) -> Card:
    """The card of a card name or path, or one made for a data file or hub data set without a card.

    A file (.jsonl, .jsonl.gz, .parquet) or a hub id (its split "train"; under a data root its clone)
    needs a column `problem`, and `answer` or else `solution` with the answer in its last box. A column
    `id` names the problems, else their row number does. The math grader judges.
    Raises UserError where there is no such source or it lacks a column.
    """
    suffix = next((suffix for suffix in BUILDERS if source.endswith(suffix)), None)
    if suffix:
        file = Path(source)
        if not file.is_file():
            raise UserError(f"no data file at {source}; give a file, a card, or a hub id ORG/NAME")
        return _made_card(_card_name(file.name.removesuffix(suffix)), source, data_root, file=file)
    if source.endswith(".toml") or "/" not in source:
        return load_card(source)
    if Path(source).is_dir():
        raise UserError(f"{source} is a folder; give a data file ({', '.join(BUILDERS)}) or a card (.toml)")
    if not HUB_ID.fullmatch(source):
        raise UserError(
            f"{source} is no data to train on; give a card, a data file ({', '.join(BUILDERS)}), "
            "or a hub id ORG/NAME"
        )
    return _made_card(source.partition("/")[2], source, data_root, hub_id=source)


def _made_card(
    name: str, source: str, data_root: Path | None, *, hub_id: str = "", file: Path = Path()
) -> Card:
    prompt = load_card(PROMPT_OF).prompt

    def card(columns: dict[str, str], gold: str) -> Card:
        return Card(
            name=name, split=SPLIT, train_split=SPLIT, fields=columns, prompt=prompt, grader="math",
            gold=gold, hub_id=hub_id, path=file.name, file=file,
        )  # fmt: skip

    columns = column_names(card({}, "verbatim"), data_root)
    answer = next((column for column in ("answer", "solution") if column in columns), None)
    missing = "problem" if "problem" not in columns else "answer" if answer is None else ""
    if answer is None or missing:
        raise UserError(
            f"{source}: no column {missing!r}; it has: {', '.join(columns)}; rename one, "
            "or write a card that says which it is (docs/benchmarks.md)"
        )
    named = {"id": "id"} if "id" in columns else {}
    return card(
        {**named, "problem": "problem", "answer": answer}, "verbatim" if answer == "answer" else "boxed"
    )


def _card_name(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "data"


def _longest_prompt(checkpoint: Checkpoint, max_tokens: int, max_prompt_tokens: int | None) -> int | None:
    """Tokens that a prompt may have; None where neither the user nor the model says."""
    context = checkpoint.context_length
    if context is None:
        return max_prompt_tokens
    room = context - max_tokens
    if room < 1:
        raise UserError(
            f"--max-tokens {max_tokens} leaves no room for a prompt in the context of {checkpoint.ref} "
            f"({context} tokens); give less"
        )
    return room if max_prompt_tokens is None else min(room, max_prompt_tokens)


def _bad_gold(problem: Problem, pool: GradingPool) -> str:
    """Why a problem's gold can judge no answer, "" for a good one: the grader itself is asked."""
    if pool.submit(problem, "", finish_reason="stop").result().status != UNSCORED:
        return ""
    return "unreadable gold" if problem.gold else "empty gold"


def epoch_order(problems: int, per_batch: int, batches: int, seed: int) -> list[int]:
    """Rows of a whole run, `batches * per_batch` of them: what is sampled, in order.

    Epoch e is a permutation that (seed, e) alone decides. Every batch of `per_batch` consecutive rows
    holds distinct problems: the rest of an epoch that fills no batch is left out, as TRL's
    RepeatSampler leaves it out. Raises UserError where there are fewer problems than a batch needs.
    """
    per_epoch = _batches_of_epoch(problems, per_batch)
    order: list[int] = []
    epoch = 0
    while len(order) < batches * per_batch:
        # Raw output of the generator: numpy promises that it stays the same in later versions.
        keys = np.random.Philox(key=request_seed(seed, "epoch", str(epoch), 0)).random_raw(problems)
        order += np.argsort(keys, kind="stable")[: per_epoch * per_batch].tolist()
        epoch += 1
    return order[: batches * per_batch]


def batches_in(epochs: float, problems: int, per_batch: int) -> int:
    """Batches of so many epochs (at least one), as `epoch_order` cuts them."""
    return max(1, round(epochs * _batches_of_epoch(problems, per_batch)))


def _batches_of_epoch(problems: int, per_batch: int) -> int:
    if problems < per_batch:
        raise UserError(
            f"{problems} problems are fewer than --prompts-per-step {per_batch}; "
            f"give --prompts-per-step {problems} or less"
        )
    return problems // per_batch


def as_dataset(prompts: Sequence[Prompt], order: Sequence[int]) -> Dataset:
    """One row per sampled problem: `prompt`, the exact text, and `row`, its index in `prompts`.

    With shuffling off a trainer walks it front to back, so a resumed run skips what it has seen.
    """
    from datasets import Dataset

    texts = Dataset.from_dict({"prompt": [prompt.text for prompt in prompts], "row": range(len(prompts))})
    # An index over the distinct rows: a run of many epochs holds each text once.
    return texts.select(order)
