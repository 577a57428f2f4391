"""Where responses come from: prerl runs, and files or folders of files that other tools wrote.

Covers names, "NAME=PATH@STEP", and reading responses one at a time in bounded memory. Does not cover
which fields of a foreign row hold what (fields.py), or counting.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from behavior.fields import Fields, find_fields, problem_of, prompt_of, read_ends, read_texts, read_tokens
from prerl_eval import store
from prerl_eval.errors import UserError
from prerl_eval.generations import find, read_rows
from prerl_eval.run_record import read_record
from prerl_eval.tally import tally_run, tally_windows

COLUMNS = (
    "benchmark",
    "problem_id",
    "sample_index",
    "step",
    "prompt",
    "completion",
    "tokens",
    "finish_reason",
    "status",
)
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Response:
    """One response. key: (benchmark, problem, sample, step), unique within its source.

    In files the benchmark is "" and the sample counts responses from the file's beginning. tokens: None
    where not known. finish_reason: "" where not known, "length" where cut. status: the grader's, in
    prerl runs only.
    """

    key: store.RowKey
    text: str
    prompt: str
    tokens: int | None
    finish_reason: str
    status: str | None

    @property
    def problem(self) -> str:
        """What is equal in all responses to one problem."""
        return f"{self.key[0]}/{self.key[1]}"


@dataclass(frozen=True)
class Source:
    """Something to count: made by `open_source`, which has checked it.

    kind: "evaluation" or "training" for prerl runs, else "file". series: the name without a step.
    step: the one that was asked for. picks: the rows have steps, and only those of `step` are read; else
    all rows are read and `step` is what they are called. files: what is read, in order. fields: of rows
    of files, None for runs. missing: samples that a run planned and does not hold yet.
    """

    name: str
    series: str
    path: Path
    kind: str
    step: int | None
    picks: bool
    files: tuple[Path, ...]
    fields: Fields | None = None
    missing: int = 0

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.stat().st_size for file in self.files)

    def responses(self, advance: Advance | None = None) -> Iterator[Response]:
        """All responses, one at a time. advance: told bytes of the files as they are read.

        Raises UserError for a damaged file, for a row without text, and where no row has the step.
        """
        steps: Counter[int] = Counter()
        for response in (
            self._in_run(advance) if self.fields is None else self._in_files(self.fields, advance)
        ):
            steps[response.key[3]] += 1
            if not self.picks or response.key[3] == self.step:
                yield response
        if self.picks and self.step not in steps:
            held = ", ".join(map(str, sorted(steps)[:8]))
            raise UserError(f"{self.path} holds no rows of step {self.step}; it holds steps {held}")

    def _in_run(self, advance: Advance | None) -> Iterator[Response]:
        for file in self.files:
            for row in read_rows(file, COLUMNS, _differences(advance)):
                step = row["step"] if self.picks or self.step is None else self.step
                yield Response(
                    (row["benchmark"], row["problem_id"], row["sample_index"], step),
                    row["completion"],
                    row["prompt"],
                    row["tokens"] or None,
                    row["finish_reason"],
                    row["status"],
                )

    def _in_files(self, fields: Fields, advance: Advance | None) -> Iterator[Response]:
        sample = 0
        for file in self.files:
            for number, row in enumerate(read_rows(file, fields.columns(), _differences(advance))):
                texts = read_texts(row, fields, f"{file} row {number}")
                prompt = prompt_of(find(row, fields.prompt)) if fields.prompt else ""
                problem = problem_of(row, fields, prompt) or f"row {sample}"
                ends, tokens = read_ends(row, fields, len(texts)), read_tokens(row, fields, len(texts))
                step = self._step_of(row, fields)
                for text, end, count in zip(texts, ends, tokens, strict=True):
                    yield Response(("", problem, sample, step), text, prompt, count, end, None)
                    sample += 1

    def _step_of(self, row: Mapping[str, Any], fields: Fields) -> int:
        if self.step is not None and not self.picks:
            return self.step
        value = row.get(fields.step) if fields.step else None
        return value if isinstance(value, int) else 0


def open_sources(
    names: Sequence[str],
    text_field: str | None = None,
    prompt_field: str | None = None,
    problem_field: str | None = None,
) -> list[Source]:
    """The sources of a command, each under a name of its own.

    A name given to several steps becomes "NAME@STEP". Raises UserError as `open_source` does, and for a
    name that is given twice.
    """
    sources = [open_source(name, text_field, prompt_field, problem_field) for name in names]
    if text_field not in (None, "completion") and all(source.fields is None for source in sources):
        raise UserError(f"--text-field {text_field} is for files; a prerl run's text is its completion")
    for wider in (_with_step, _with_path):
        counts = Counter(source.name for source in sources)
        sources = [
            replace(source, name=wider(source)) if counts[source.name] > 1 else source for source in sources
        ]
    for name, count in Counter(source.name for source in sources).items():
        if count > 1:
            raise UserError(f"{name} is given {count} times; drop one, or name other paths apart: NAME=PATH")
    return sources


def _with_step(source: Source) -> str:
    return source.name if source.step is None else f"{source.series}@{source.step}"


def _with_path(source: Source) -> str:
    return f"{source.path}" if source.step is None else f"{source.path}@{source.step}"


def open_source(
    name: str,
    text_field: str | None = None,
    prompt_field: str | None = None,
    problem_field: str | None = None,
) -> Source:
    """What "PATH", "NAME=PATH", "PATH@STEP" or "NAME=PATH@STEP" stands for.

    PATH: a run folder, a file, or a folder of files. STEP picks rows of a training run or of files that
    have steps; any other source is only called by it. Raises UserError for a path that is nothing of the
    kind, an empty run, a step that a run does not hold, and as `find_fields` does.
    """
    given, path, step = _parsed(name)
    series = given or _short_name(path)
    source = Source(
        name=given or (series if step is None else f"{series}@{step}"),
        series=series,
        path=path,
        kind="file",
        step=step,
        picks=False,
        files=(),
    )
    if (path / "run.json").is_file():
        return _run(source)
    return _files(source, text_field, prompt_field, problem_field)


def _parsed(name: str) -> tuple[str, Path, int | None]:
    """Name ("" where none is given), path and step; a path that exists is never taken apart."""
    if Path(name).exists():
        return "", Path(name), None
    given, equals, rest = name.partition("=")
    if not equals or not given or "/" in given:
        given, rest = "", name
    if Path(rest).exists():
        return given, Path(rest), None
    found = re.fullmatch(r"(.+)@(\d+)", rest)
    path = Path(found[1] if found else rest)
    if not path.exists():
        raise UserError(f"{path} is not there; give a run folder or a file, as PATH, NAME=PATH or PATH@STEP")
    return given, path, int(found[2]) if found else None


def _short_name(path: Path) -> str:
    name = path.resolve().name
    return next(
        (name.removesuffix(end) for end in sorted(SUFFIXES, key=len)[::-1] if name.endswith(end)), name
    )


def _run(source: Source) -> Source:
    record = read_record(source.path)
    training = record.get("kind") == "training"
    picks = training and source.step is not None
    # Both refuse what no count may rest on: no samples, a step that is not there, samples stored twice.
    if training and not picks:
        tally_windows(source.path, 1)
        missing = 0
    else:
        tallies = tally_run(source.path, source.step if picks else None)
        missing = 0 if training else sum(tally.missing for tally in tallies.values())
    return replace(
        source,
        kind="training" if training else "evaluation",
        picks=picks,
        files=tuple(store.parts(source.path)),
        missing=missing,
    )


def _files(source: Source, text: str | None, prompt: str | None, problem: str | None) -> Source:
    path = source.path
    files: tuple[Path, ...] = (path,)
    if path.is_dir():
        files = tuple(sorted((file for file in path.iterdir() if _is_data(file)), key=_natural))
        if not files:
            raise UserError(
                f"{path} holds neither a prerl run (run.json) nor jsonl or parquet files; give a run folder "
                "or a file of responses"
            )
    first = next(islice(read_rows(files[0]), 1))
    fields = find_fields(first, f"{files[0]} row 0", text, prompt, problem)
    return replace(source, files=files, fields=fields, picks=bool(fields.step and source.step is not None))


def _is_data(file: Path) -> bool:
    return (
        file.is_file() and not file.name.startswith(".") and file.name.endswith(SUFFIXES[:2] + SUFFIXES[-1:])
    )


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sorts "2.jsonl" before "10.jsonl"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]


def _differences(advance: Advance | None) -> Advance | None:
    """From places in a file to steps forward."""
    if advance is None:
        return None
    place = 0

    def moved(to: int) -> None:
        nonlocal place
        advance(to - place)
        place = to

    return moved
