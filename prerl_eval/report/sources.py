"""The runs of a report: which ones, by which names, and what each is.

Covers reading the command line and the checks that come before any work. A run is RUN, or NAME=RUN;
NAME=RUN,RUN are seeds of one method, each shown by itself and compared together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerl_eval.comparison.sides import Group, parse_groups
from prerl_eval.errors import UserError
from prerl_eval.run_record import read_record
from prerl_eval.store import parts


@dataclass(frozen=True)
class ReportOptions:
    """What `prerl-eval report` was asked for; names are the flags'.

    base, null: RUN or NAME=RUN,RUN. step: which step of runs that hold several. pictures: files to show
    beside the report's own, such as what `prerl-train plot` drew.
    """

    runs: Sequence[str]
    out: Path
    base: str | None = None
    null: str | None = None
    benchmarks: Sequence[str] = ()
    step: int | None = None
    allow_differences: bool = False
    pictures: Sequence[Path] = ()


@dataclass(frozen=True)
class Source:
    """A run of the report. training: its rollouts, all steps; they are told, not browsed."""

    name: str
    path: Path
    record: dict[str, Any]
    step: int | None
    base: bool
    training: bool


@dataclass(frozen=True)
class Cast:
    """All runs of a report: the base first. base, others: as `prerl-eval compare` takes them."""

    sources: tuple[Source, ...]
    base: Group | None
    others: tuple[Group, ...]

    def texts(self, groups: Sequence[Group]) -> list[str]:
        """Groups as the command line of `compare` names them."""
        return [f"{group.name}={','.join(map(str, group.runs))}" for group in groups]


def find_sources(options: ReportOptions) -> Cast:
    """The runs that the options name, the base first and once.

    Raises UserError for a folder that is no run or holds no samples, for one given twice, and where
    nothing is given.
    """
    if not options.runs and options.base is None:
        raise UserError("no run given; name run folders, or --index DIR to list those under a folder")
    base_paths = _paths(options.base)
    others = [text for text in options.runs if options.base is None or _paths(text) != base_paths]
    groups = parse_groups([*([options.base] if options.base is not None else []), *others])
    base = groups.pop(0) if options.base is not None else None
    sources = [
        _source(group, run, options.step, group is base)
        for group in ([base] if base else []) + groups
        for run in group.runs
    ]
    trained = next((source for source in sources if source.base and source.training), None)
    if trained is not None:
        raise UserError(
            f"--base {trained.path} is a training run, whose rollouts are no evaluation; give an evaluation "
            "of the model that training started from"
        )
    return Cast(tuple(sources), base, tuple(groups))


def _paths(text: str | None) -> list[Path]:
    return [run.resolve() for run in parse_groups([text])[0].runs] if text else []


def _source(group: Group, run: Path, step: int | None, base: bool) -> Source:
    record = read_record(run)
    if not parts(run):
        raise UserError(f"{run} holds no samples yet; run `prerl-eval run` on it first")
    name = group.name if len(group.runs) == 1 else f"{group.name}/{run.resolve().name}"
    return Source(name, run, record, step, base, record.get("kind") == "training" and step is None)
