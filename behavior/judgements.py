"""Who said what of which response: annotations of a run, a lexicon, or a sheet that people filled in.

Covers reading each of them as a `Voice`, which answers yes, no or nothing for an item and a label. A
missing judgement is nothing, never no. Does not cover statistics (behavior.agreement), the table
(behavior.agree) or the csv itself (behavior.label_sheet).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from behavior.finding import Finder
from behavior.label_sheet import read_sheet
from behavior.lexicon import load_lexicon
from behavior.sources import Response, open_source
from prerl_eval.annotations import annotation_names, read_annotations
from prerl_eval.errors import UserError
from prerl_eval.store import RowKey

JUDGE_LABELS = ("subgoal_setting", "enumeration", "verification", "backtracking")
"""What package behavior.judge asks for; a label that a judge never found is still one it looked for."""

STATUS = "status"
"""The label of a judge's row that says whether a sample was judged: note "ok", or what went wrong."""

WORDS = "words-"
"""What stands before the name of a lexicon."""


class Item(NamedTuple):
    """What is judged: a response, or its characters start to end (code points, end exclusive)."""

    key: RowKey
    start: int | None = None
    end: int | None = None

    @property
    def problem(self) -> tuple[str, str]:
        """Benchmark and problem: the cluster that the item belongs to."""
        return self.key[:2]


class Seen(NamedTuple):
    """A label, and where it was seen; None for the response as a whole."""

    label: str
    start: int | None
    end: int | None


@dataclass(frozen=True)
class Voice:
    """One judge of responses.

    name: as the user wrote it. kind: "judge", "words" or "sheet". run: the run it speaks of, None for a
    sheet. labels: those it looked for. seen: per response that it judged, what it saw there; responses
    that are not in it were not judged. statuses: responses tried, by how that ended. cells: a sheet's
    answers, label -> yes or no, per item.
    """

    name: str
    kind: str
    run: Path | None
    labels: tuple[str, ...]
    seen: Mapping[RowKey, tuple[Seen, ...]] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    tried: frozenset[RowKey] = frozenset()
    cells: Mapping[Item, Mapping[str, bool]] = field(default_factory=dict)

    def says(self, item: Item, label: str) -> bool | None:
        """Whether the label is in the item; None where this voice has not judged that."""
        if self.kind == "sheet":
            return self.cells.get(item, {}).get(label)
        seen = self.seen.get(item.key)
        if seen is None:
            return None
        return any(one.label == label and _overlap(one, item) for one in seen)

    def has_tried(self, item: Item) -> bool:
        """Whether a judgement of the item was asked for, however that ended."""
        return item in self.cells if self.kind == "sheet" else item.key in self.tried


def open_voice(name: str) -> Voice:
    """The voice that "RUN:ANNOTATION", "RUN:words-LEXICON" or "FILE.csv" names.

    A lexicon, a preset or a path, is looked for at once: by its own rule, so that of one whose unit is
    the thought, labelled thoughts count and not words. Raises UserError for anything else, and for an
    annotation without a judgement.
    """
    if Path(name).is_file():
        sheet = read_sheet(Path(name))
        cells = {Item(*place): answers for place, answers in sheet.answers.items()}
        statuses = Counter("ok" if answers else "blank" for answers in cells.values())
        return Voice(name, "sheet", None, sheet.labels, statuses=statuses, cells=cells)
    run, annotation = _parsed(name)
    if annotation.startswith(WORDS):
        return _words(name, run, annotation.removeprefix(WORDS))
    return _judge(name, run, annotation)


def _parsed(name: str) -> tuple[Path, str]:
    place, colon, annotation = name.partition(":")
    if colon and annotation and (Path(place) / "run.json").is_file():
        return Path(place), annotation
    if (Path(name) / "run.json").is_file():
        names = ", ".join(annotation_names(Path(name))) or "none yet"
        raise UserError(
            f"{name} is a run; say whose judgement of it: {name}:ANNOTATION (it has: {names}) or "
            f"{name}:words-seal"
        )
    raise UserError(f"{name} is neither RUN:ANNOTATION nor a csv file that is there")


def _judge(name: str, run: Path, annotation: str) -> Voice:
    columns = ["benchmark", "problem_id", "sample_index", "step", "label", "start", "end", "note"]
    marks: dict[RowKey, list[Seen]] = {}
    statuses: dict[RowKey, str] = {}
    for row in read_annotations(run, annotation, columns).to_pylist():
        key: RowKey = (row["benchmark"], row["problem_id"], row["sample_index"], row["step"])
        if row["label"] == STATUS:
            statuses[key] = row["note"]
        else:
            marks.setdefault(key, []).append(Seen(row["label"], row["start"], row["end"]))
    if not statuses:
        raise UserError(
            f"{name} holds no judgement of a response; give one that `prerl-behavior judge` wrote"
        )
    found = {one.label for seen in marks.values() for one in seen}
    return Voice(
        name,
        "judge",
        run,
        (*JUDGE_LABELS, *sorted(found - set(JUDGE_LABELS))),
        {key: tuple(marks.get(key, ())) for key, status in statuses.items() if status == "ok"},
        Counter(statuses.values()),
        frozenset(statuses),
    )


def _words(name: str, run: Path, lexicon_name: str) -> Voice:
    lexicon = load_lexicon(lexicon_name)
    finder = Finder(lexicon)
    seen = {}
    for response in responses_of(run):
        found = finder.find(response.text, response.prompt)
        marks = [Seen(mark.label, mark.start, mark.end) for mark in found.marks if not mark.masked]
        thoughts = [Seen(one.label, one.start, one.end) for one in found.thoughts if one.label]
        seen[response.key] = tuple(thoughts if lexicon.unit == "thoughts" else marks)
    return Voice(name, "words", run, tuple(lexicon.labels), seen, {"ok": len(seen)}, frozenset(seen))


def responses_of(run: Path) -> Iterator[Response]:
    """The responses of a run, one at a time. Raises UserError as `open_source` does."""
    return open_source(str(run)).responses()


def _overlap(one: Seen, item: Item) -> bool:
    if one.start is None or one.end is None or item.start is None or item.end is None:
        return True
    return one.start < item.end and item.start < one.end
