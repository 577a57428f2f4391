"""What annotations say of the samples of a run: marks in the text, counts, numbers and notes.

Read by the shape of their rows, not by who made them: a row with a start is a mark, one with a value a
number, one with a note alone speaks of the whole sample. A sample that was not annotated has no count,
which is not a count of 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prerl_eval.annotations import KEY, annotation_names, read_about, read_annotations
from prerl_eval.report.samples import Samples

COLUMNS = (*KEY, "label", "value", "start", "end", "note")
STATUS = "status"
"""Label of a row that says whether a sample could be judged; its note is OK where it could."""
OK = "ok"

Ints = NDArray[np.int64]


@dataclass
class Names:
    """What marks and numbers are called, over all runs: (annotation, label) -> its place."""

    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    values: dict[tuple[str, str], int] = field(default_factory=dict)
    about: dict[tuple[str, str], str] = field(default_factory=dict)

    def facts(self) -> dict[str, list[dict[str, str]]]:
        """`labels` and `values` of a report's meta."""
        return {
            "labels": [
                {"name": label, "annotation": annotation, "kind": kind_of(annotation)}
                for annotation, label in self.labels
            ],
            "values": [
                {"name": label, "annotation": annotation, "about": self.about.get((annotation, label), "")}
                for annotation, label in self.values
            ],
        }


def kind_of(annotation: str) -> str:
    """ "words", "judge" or "other", by the annotation's name."""
    maker = annotation.partition("-")[0]
    return maker if maker in ("words", "judge") else "other"


class Marks:
    """Annotations of one run; rows are those of its `Samples`.

    values: value -> float[N], NaN where there is none. notes: row -> annotation -> text. complete:
    annotation -> whether its maker came to the end; None where it does not say.
    """

    def __init__(self, run: Path, samples: Samples, names: Names):
        """Reads all annotations of `run` that are of these samples; adds what is new to `names`.

        Raises UserError as `read_annotations` does.
        """
        self.values: dict[int, NDArray[np.float64]] = {}
        self.notes: dict[int, dict[str, str]] = {}
        self.complete: dict[str, bool | None] = {}
        self._names = names
        self._annotated: dict[str, NDArray[np.bool_]] = {}
        keys = samples.facts.select(KEY).append_column("row", pa.array(np.arange(len(samples))))
        spans = [np.zeros((0, 4), dtype=np.int64)]
        for name in annotation_names(run):
            about = read_about(run, name)
            rows = read_annotations(run, name, COLUMNS).join(keys, keys=list(KEY), join_type="inner")
            self.complete[name] = about.get("complete")
            self._annotated[name] = _annotated(rows, len(samples), about)
            spans += self._read_spans(name, rows)
            self._read_values(name, rows, about, len(samples))
            self._read_notes(name, rows)
        every = np.concatenate(spans)
        every = every[np.lexsort((every[:, 3], -every[:, 2], every[:, 1], every[:, 0]))]
        self._spans, self._starts = every, np.searchsorted(every[:, 0], np.arange(len(samples) + 1))

    def spans(self, row: int) -> list[tuple[int, int, int]]:
        """Marks of a row as (start, end, label) in code points, by start, then longest first."""
        own = self._spans[self._starts[row] : self._starts[row + 1]]
        return [(start, end, label) for _, start, end, label in own.tolist()]

    def counts(self, label: int) -> Ints | None:
        """Marks of a label in each sample: int[N], -1 where the sample was not annotated.

        None where the run has no such annotation.
        """
        name = next(name for (name, _), number in self._names.labels.items() if number == label)
        if name not in self._annotated:
            return None
        rows = self._spans[self._spans[:, 3] == label, 0]
        annotated = self._annotated[name]
        return np.where(annotated, np.bincount(rows, minlength=len(annotated)), -1)

    def _read_spans(self, name: str, rows: pa.Table) -> Iterator[Ints]:
        for label, own in _by_label(rows.filter(pc.is_valid(rows["start"]))):
            number = self._names.labels.setdefault((name, label), len(self._names.labels))
            columns = [own[column].to_numpy() for column in ("row", "start", "end")]
            yield np.stack([*columns, np.full(len(own), number)], axis=1).astype(np.int64)

    def _read_values(self, name: str, rows: pa.Table, about: dict[str, Any], total: int) -> None:
        said = about.get("labels")
        for label, own in _by_label(
            rows.filter(pc.and_(pc.is_valid(rows["value"]), pc.is_null(rows["start"])))
        ):
            number = self._names.values.setdefault((name, label), len(self._names.values))
            if isinstance(said, dict) and isinstance(said.get(label), str):
                self._names.about[name, label] = said[label]
            self.values[number] = np.full(total, np.nan)
            self.values[number][own["row"].to_numpy()] = own["value"].to_numpy()

    def _read_notes(self, name: str, rows: pa.Table) -> None:
        bare = pc.and_(pc.is_null(rows["value"]), pc.is_null(rows["start"]))
        own = rows.filter(pc.and_(bare, pc.not_equal(rows["note"], "")))
        for row, note in zip(own["row"].to_pylist(), own["note"].to_pylist(), strict=True):
            self.notes.setdefault(row, {})[name] = note


def _annotated(rows: pa.Table, total: int, about: dict[str, Any]) -> NDArray[np.bool_]:
    """Which samples were looked at: bool[N]."""
    judged = rows.filter(pc.equal(rows["label"], STATUS))
    seen = np.zeros(total, dtype=bool)
    if len(judged):
        seen[judged.filter(pc.equal(judged["note"], OK))["row"].to_numpy()] = True
    elif about.get("complete") is True:
        seen[:] = True
    else:
        seen[rows["row"].to_numpy()] = True
    return seen


def _by_label(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for label in sorted(pc.unique(rows["label"]).to_pylist()):
        yield label, rows.filter(pc.equal(rows["label"], label))
