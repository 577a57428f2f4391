"""Counted words as an annotation of a prerl run: what was found, where, for reading and comparing.

    RUN/annotations/words-<lexicon>     a row per mark that counted: label, start, end, note = the phrase

Covers writing, and going on after a kill. A sample without a row has no mark, once about.json says
`"complete": true`. Does not cover counting.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from behavior.finding import Found
from behavior.lexicon import Lexicon
from behavior.sources import Response, Source
from prerl_eval.annotations import (
    Annotation,
    annotated_keys,
    annotation_folder,
    annotation_lock,
    read_about,
    write_about,
    write_annotations,
)
from prerl_eval.errors import UserError

MOST_ROWS = 50_000
"""Rows of one part."""


class WordsAnnotator:
    """Writes the annotation of one run while it is counted; a context manager.

    Raises UserError for a source that is no whole run, and where the run holds marks of another version of
    the lexicon.
    """

    def __init__(self, source: Source, lexicon: Lexicon):
        if source.fields is not None:
            raise UserError(f"{source.path} is no prerl run; --annotate is for runs, leave it out")
        if source.step is not None:
            raise UserError(f"--annotate is for whole runs; give {source.path} without @{source.step}")
        self._run, self._name = source.path, f"words-{lexicon.name}"
        self._about: dict[str, Any] = {
            "made_by": "prerl-behavior count",
            "settings": {
                "lexicon": lexicon.name,
                "version": lexicon.version,
                "fingerprint": lexicon.fingerprint(),
                "mask": True,
            },
        }
        self._lock = annotation_lock(self._run, self._name)
        self._done: set[tuple[str, str, int, int]] = set()
        self._rows: list[Annotation] = []
        if (annotation_folder(self._run, self._name) / "about.json").is_file():
            self._check(read_about(self._run, self._name))

    def _check(self, about: dict[str, Any]) -> None:
        if about.get("settings") != self._about["settings"]:
            raise UserError(
                f"{self._run} has an annotation {self._name} by another version of the lexicon; move "
                f"{annotation_folder(self._run, self._name)} away"
            )

    def __enter__(self) -> Self:
        self._lock.__enter__()
        if (annotation_folder(self._run, self._name) / "about.json").is_file():
            self._done = annotated_keys(self._run, self._name)
        write_about(self._run, self._name, self._about | {"complete": False})
        return self

    def add(self, response: Response, found: Found) -> None:
        """Keep the marks of one response, unless an earlier call of the command stored them."""
        if response.key in self._done:
            return
        self._rows += [
            Annotation(*response.key, label=mark.label, start=mark.start, end=mark.end, note=mark.phrase)
            for mark in found.marks
            if not mark.masked
        ]
        if len(self._rows) >= MOST_ROWS:
            self._flush()

    def _flush(self) -> None:
        write_annotations(self._run, self._name, self._rows)
        self._rows = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._flush()
            if kind is None:
                write_about(self._run, self._name, self._about | {"complete": True})
        finally:
            self._lock.__exit__(kind, error, trace)
