"""The sides of a comparison: runs as the command line names them, and their counts.

Covers groups (NAME=RUN,RUN) and reading them. Does not cover whether two sides are comparable
(alike.py) or what is compared (plan.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prerl_eval.comparison.diversity import has_solutions, read_solutions
from prerl_eval.comparison.floor import marginal_chances, read_answers
from prerl_eval.comparison.rare import Solutions
from prerl_eval.errors import UserError
from prerl_eval.run_record import read_record
from prerl_eval.store import read_samples
from prerl_eval.tally import Tally, tally_run


@dataclass(frozen=True)
class Group:
    """One side of a comparison as the user named it: one run, or one per training seed of a method."""

    name: str
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Run:
    """A run that was read: its folder, its run.json, and counts per benchmark that has scored rows.

    step: which step, where a run holds several.
    """

    path: Path
    step: int | None
    record: Mapping[str, Any]
    tallies: Mapping[str, Tally]

    @property
    def imported(self) -> bool:
        """Whether another tool sampled it, so that prompts and sampling settings are not known."""
        return bool(self.record["settings"].get("engine") == "import")

    @property
    def fingerprint(self) -> str | None:
        """What identifies the weights, where the run says."""
        fingerprint: str | None = self.record["settings"].get("checkpoint")
        return fingerprint

    @cached_property
    def asked(self) -> dict[tuple[str, str], tuple[str, str]]:
        """(benchmark, problem id) -> (prompt, gold), as stored with the samples."""
        columns = ["benchmark", "problem_id", "prompt", "gold"]
        table = read_samples(self.path, columns).group_by(columns).aggregate([])
        return {
            (row["benchmark"], row["problem_id"]): (row["prompt"], row["gold"]) for row in table.to_pylist()
        }

    @cached_property
    def solutions(self) -> dict[str, Solutions]:
        """Benchmark -> correct solutions by canonical expression, where its grader tells them apart."""
        return {
            name: read_solutions(self.path, name, tally.problem_ids, self.step)
            for name, tally in self.tallies.items()
            if has_solutions(tally)
        }

    @cached_property
    def guesses(self) -> dict[str, dict[str, float]]:
        """Benchmark -> problem -> chance that an answer to another problem is right here.

        Only where answers are values (not Countdown's solutions) and problems are two or more.
        """
        found = {}
        for name, tally in self.tallies.items():
            if len(tally.problem_ids) > 1 and not has_solutions(tally):
                chances = marginal_chances(*read_answers(self.path, name, tally.problem_ids, self.step))
                found[name] = dict(zip(tally.problem_ids, chances.tolist(), strict=True))
        return found


@dataclass(frozen=True)
class Side:
    """A group that was read."""

    name: str
    runs: tuple[Run, ...]


def parse_groups(texts: Sequence[str]) -> list[Group]:
    """The groups of the command line: RUN, or NAME=RUN,RUN,... where a name stands for training seeds.

    A plain RUN is called by its folder's name, by its whole path where names repeat. Raises UserError
    for an empty name or list, for a list without a name, and for a name or run given twice.
    """
    parsed = [_parse_group(text) for text in texts]
    plain = [group.name for group in parsed]
    groups = [
        Group(str(group.runs[0]), group.runs) if "=" not in text and plain.count(group.name) > 1 else group
        for text, group in zip(texts, parsed, strict=True)
    ]
    every_run = [str(run.resolve()) for group in groups for run in group.runs]
    _refuse_repeats(
        every_run, "{} is given twice; a run cannot be compared with itself or count as two seeds"
    )
    _refuse_repeats([group.name for group in groups], "the name {} is given twice; name groups apart")
    return groups


def _parse_group(text: str) -> Group:
    path = Path(text)
    name, equals, listed = text.partition("=")
    if not equals or path.exists():
        if "," in text and not path.exists():
            raise UserError(f"{text} lists several runs without a name; write NAME={text}")
        return Group(path.resolve().name or text, (path,))
    runs = tuple(Path(run) for run in listed.split(",") if run)
    if not name or not runs:
        raise UserError(f"{text} is no group of runs; write NAME=RUN or NAME=RUN,RUN,...")
    return Group(name, runs)


def _refuse_repeats(names: Sequence[str], message: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(message.format(twice))


def read_group(group: Group, step: int | None = None) -> Side:
    """Counts of every run of a group.

    Raises UserError for a folder that is no run or holds nothing scored, and for a training run,
    whose rollouts are not an evaluation.
    """
    return Side(group.name, tuple(_read(path, step) for path in group.runs))


def _read(path: Path, step: int | None) -> Run:
    record = read_record(path)
    if record.get("kind") == "training":
        raise UserError(
            f"{path} is a training run, whose rollouts are no evaluation; give {path}/evals/step-N, or "
            f"evaluate its checkpoints with `prerl-eval run --ckpt {path}`"
        )
    tallies = {name: tally for name, tally in tally_run(path, step).items() if tally.n}
    if not tallies:
        raise UserError(f"{path} holds no scored samples (every gold is bad); see `prerl-eval check`")
    return Run(path, step, record, tallies)
