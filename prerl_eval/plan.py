"""Planning a run: everything that can be wrong with its input is found here, before anything starts.

Covers the options, the settings that identify a run, prompts, request seeds and the comparison with
what a run directory already holds. Writes nothing and starts no engine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prerl_eval import prompts, store
from prerl_eval.cards import Card
from prerl_eval.checkpoint import Checkpoint, StopIds
from prerl_eval.engines.base import Prompt, Request, Sampling
from prerl_eval.errors import UserError
from prerl_eval.grading.code import code_execution, isolation_notes, unisolated
from prerl_eval.problems import Problem
from prerl_eval.run_record import differing_keys, holds_other_files, read_record


@dataclass(frozen=True)
class RunOptions:
    """What `prerl-eval run` was asked for; names are the flags'.

    ckpt: checkpoints, folders of checkpoints, or hub ids (a model name for the openai engine).
    bench: card names, groups or card paths. n, max_tokens: None takes the card's. limit: first
    problems of each benchmark, None for all. top_k: 0 is off. thinking: None leaves the chat
    template's own default. unsafe_code_execution: run model-written code also where it cannot be
    isolated. template: "auto", "chat" or "plain". out: None takes
    runs/<checkpoint>-<hash of the settings>.
    """

    ckpt: Sequence[str]
    bench: Sequence[str]
    n: int | None = None
    limit: int | None = None
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    thinking: bool | None = None
    system: str | None = None
    template: str = "auto"
    engine: str = "auto"
    tp: int = 1
    dp: int = 1
    batch_size: int | None = None
    base_url: str | None = None
    dtype: str = "auto"
    data_root: Path | None = None
    out: Path | None = None
    accept_box_in_thinking: bool = False
    unsafe_code_execution: bool = False
    workers: int | None = None


@dataclass(frozen=True)
class BenchmarkPlan:
    """One benchmark of a run: problems, their prompts (same order), samples of each, stop strings."""

    card: Card
    problems: Sequence[Problem]
    prompts: Sequence[Prompt]
    n: int
    limit: int | None
    max_tokens: int
    stop: tuple[str, ...] = ()

    def requests(self, seed: int) -> list[Request]:
        """Every request, problem by problem: the fixed order that batches are cut from."""
        return [
            Request(
                key=(problem.benchmark, problem.problem_id, index),
                prompt=prompt,
                seed=request_seed(seed, problem.benchmark, problem.problem_id, index),
                max_tokens=self.max_tokens,
            )
            for problem, prompt in zip(self.problems, self.prompts, strict=True)
            for index in range(self.n)
        ]


@dataclass(frozen=True)
class RunPlan:
    """One checkpoint's run, checked and ready: nothing has been written yet."""

    checkpoint: Checkpoint
    out: Path
    run_id: str
    settings: dict[str, Any]
    sampling: Sampling
    benchmarks: list[BenchmarkPlan]
    notes: list[str] = field(default_factory=list)
    code_execution: str = ""


def request_seed(run_seed: int, benchmark: str, problem_id: str, sample_index: int) -> int:
    """63-bit seed of one request: a hash of what is asked for, so a resumed run asks the same."""
    text = json.dumps([run_seed, benchmark, problem_id, sample_index])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def check_numbers(options: RunOptions) -> None:
    """Raise UserError for a number outside its range."""
    for flag, value, low in (
        ("--n", options.n, 1),
        ("--limit", options.limit, 1),
        ("--max-tokens", options.max_tokens, 1),
        ("--temperature", options.temperature, 0),
        ("--top-k", options.top_k, 0),
        ("--tp", options.tp, 1),
        ("--dp", options.dp, 1),
        ("--batch-size", options.batch_size, 1),
    ):
        if value is not None and value < low:
            raise UserError(f"{flag} {value} is too small; give {low} or more")
    if not math.isfinite(options.temperature):
        raise UserError(f"--temperature {options.temperature} is no number; give 0 (greedy) or more")
    if not 0 < options.top_p <= 1:
        raise UserError(f"--top-p {options.top_p} is not in (0, 1]; give 1 to switch it off")
    if options.system and options.system != options.system.encode("utf-8", "replace").decode("utf-8"):
        raise UserError(f"--system {options.system!r} is not UTF-8 text; convert it to UTF-8")
    if options.template not in prompts.TEMPLATES:
        raise UserError(
            f"--template {options.template} is unknown; give one of {', '.join(prompts.TEMPLATES)}"
        )


def plan_run(
    options: RunOptions,
    engine: str,
    checkpoint: Checkpoint,
    cards: Sequence[Card],
    problems: Sequence[list[Problem]],
    series: int,
    also: Mapping[str, Any] | None = None,
) -> RunPlan:
    """Plan one checkpoint's run: prompts rendered and measured, settings resolved.

    problems: one list per card. series: how many checkpoints there are; more than one get a folder
    each below --out. also: further settings that identify the run, of a command that asks otherwise.
    Raises UserError where a prompt does not fit or a setting cannot be followed, and where answers are
    code that cannot be isolated.
    """
    execution = code_execution((card.grader for card in cards), options.unsafe_code_execution)
    builder = prompts.PromptBuilder(checkpoint, options.system, options.thinking, options.template)
    stop_ids = checkpoint.stop_ids()
    sampling = Sampling(options.temperature, options.top_p, options.top_k, (), tuple(stop_ids.used))
    settings = {
        "checkpoint": checkpoint.fingerprint,
        "engine": engine,
        "dtype": options.dtype,
        "seed": options.seed,
        **{key: value for key, value in asdict(sampling).items() if key != "stop_token_ids"},
        "stop_token_ids": list(sampling.stop_token_ids),
        "max_tokens": options.max_tokens,
        "thinking": options.thinking,
        "system": options.system,
        "template": "chat" if builder.chat else "plain",
        "batch_size": options.batch_size,
        "accept_box_in_thinking": options.accept_box_in_thinking,
        **unisolated(execution),
        **(also or {}),
    }
    settings = json.loads(json.dumps(settings))
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    run_id = f"{checkpoint.name}-{digest}"
    if options.out is None:
        out = Path("runs") / run_id
    elif series == 1:
        out = options.out
    elif _holds_run(options.out):
        raise UserError(f"{options.out} is the run of one checkpoint, not of {series}; give another --out")
    else:
        out = options.out / checkpoint.name
    benchmarks = []
    for card, rows in zip(cards, problems, strict=True):
        rendered = [builder.render(problem, card) for problem in rows]
        max_tokens = options.max_tokens or card.max_tokens
        prompts.check_lengths(card.name, rows, rendered, max_tokens, checkpoint.context_length)
        benchmarks.append(
            BenchmarkPlan(
                card, rows, rendered, options.n or card.n, options.limit, max_tokens, builder.stops(card)
            )
        )
    return RunPlan(
        checkpoint,
        out,
        run_id,
        settings,
        sampling,
        benchmarks,
        _notes(sampling, checkpoint, stop_ids, builder) + isolation_notes(execution),
        execution,
    )


def _notes(
    sampling: Sampling, checkpoint: Checkpoint, stop_ids: StopIds, builder: prompts.PromptBuilder
) -> list[str]:
    notes = list(builder.notes)
    used = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    unused = {key: value for key, value in checkpoint.generation_defaults().items() if used.get(key) != value}
    if unused:
        named = ", ".join(f"{key}={value}" for key, value in sorted(unused.items()))
        notes.append(f"the checkpoint's generation_config.json suggests {named}: not used, the flags decide")
    notes.extend(stop_ids.disagreements)
    return notes


def check_against_store(plan: RunPlan) -> None:
    """Refuse a run directory that was made with other settings, cards or problem texts."""
    if not _holds_run(plan.out):
        if holds_other_files(plan.out):
            raise UserError(f"{plan.out} holds files but no prerl run; give an empty or new --out")
        return
    record = read_record(plan.out)
    different = differing_keys(record["settings"], plan.settings)
    for benchmark in plan.benchmarks:
        stored = record["benchmarks"].get(benchmark.card.name)
        if not stored:
            continue
        if stored["card_hash"] != benchmark.card.hash:
            different.append(
                f"card {benchmark.card.name}: {stored['card_hash'][:8]} -> {benchmark.card.hash[:8]}"
            )
        # The settings say it where a flag decides; here the card does, and the card was edited.
        if plan.settings["max_tokens"] is None and stored["max_tokens"] != benchmark.max_tokens:
            different.append(
                f"max_tokens of card {benchmark.card.name}: {stored['max_tokens']} -> {benchmark.max_tokens}"
            )
    if different:
        raise UserError(
            f"{plan.out} was made with other settings ({'; '.join(different)}); "
            "repeat those, or give another --out (without --out each setting gets its own folder)"
        )
    _check_prompts(plan)


def _holds_run(out: Path) -> bool:
    try:
        return (out / "run.json").exists()
    except OSError as error:
        raise UserError(f"cannot write a run in {out} ({error.strerror}); give another --out") from error


def _check_prompts(plan: RunPlan) -> None:
    expected = {
        (problem.benchmark, problem.problem_id): (prompt.text, problem.gold)
        for benchmark in plan.benchmarks
        for problem, prompt in zip(benchmark.problems, benchmark.prompts, strict=True)
    }
    table = store.read_samples(plan.out, ["benchmark", "problem_id", "prompt", "gold"])
    for row in table.group_by(["benchmark", "problem_id", "prompt", "gold"]).aggregate([]).to_pylist():
        now = expected.get((row["benchmark"], row["problem_id"]))
        if now is not None and now != (row["prompt"], row["gold"]):
            what = "prompt" if now[0] != row["prompt"] else "gold"
            raise UserError(
                f"{plan.out}: the {what} of {row['benchmark']} problem {row['problem_id']} has changed since "
                "its samples were stored (another revision of the data set?); give another --out"
            )
