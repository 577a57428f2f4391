"""The traces of a report in the format of payload.py: what can be browsed, problem by problem.

Covers which figures and texts go in. At most the texts of one problem are in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from prerl_eval.grading.verdict import STATUSES, UNSCORED
from prerl_eval.layout import shorten
from prerl_eval.report.marks import Marks, Names
from prerl_eval.report.payload import VERSION, pack, utf16_offsets
from prerl_eval.report.samples import Samples, natural
from prerl_eval.report.sources import Source

SHORT_ANSWER, TITLE = 80, 100
"""Characters of an answer in a list of samples, and of a problem in a list of problems."""

CODES = (*STATUSES, UNSCORED)


@dataclass(frozen=True)
class Browsed:
    """A run whose samples can be browsed. made: its settings in words."""

    source: Source
    made: str
    samples: Samples
    marks: Marks


class Traces:
    """All samples of some runs, by benchmark and problem, ready to be packed."""

    def __init__(self, runs: Sequence[Browsed], names: Names):
        self.runs, self.names = runs, names
        every: dict[str, dict[str, None]] = {}
        for run in runs:
            for benchmark, ids in run.samples.problems.items():
                every.setdefault(benchmark, {}).update(dict.fromkeys(ids))
        self.problems = {name: sorted(ids, key=natural) for name, ids in every.items()}

    def meta(self, hints: Sequence[str] = ()) -> dict[str, Any]:
        """What the page knows of the traces before it opens any."""
        return {
            "version": VERSION,
            "statuses": list(CODES),
            "runs": [
                {"name": run.source.name, "base": run.source.base, "made": run.made} for run in self.runs
            ],
            **self.names.facts(),
            "hints": list(hints),
            "benchmarks": [{"name": name, "problems": self._problems(name)} for name in self.problems],
        }

    def chunks(self, advance: Callable[[int], None] | None = None) -> Iterator[tuple[str, str]]:
        """(key, chunk) of everything: facts of each benchmark, then its problems."""
        for place, (name, problems) in enumerate(self.problems.items()):
            yield f"facts/{place}", pack({"runs": [self._facts(run, name) for run in self.runs]})
            for number, problem in enumerate(problems):
                yield f"{place}/{number}", self._pack_problem(name, problem)
                if advance is not None:
                    advance(sum(len(run.samples.rows(name, problem)) for run in self.runs))

    def _problems(self, benchmark: str) -> list[dict[str, Any]]:
        titles = self._titles(benchmark)
        listed = []
        for problem in self.problems[benchmark]:
            rows = [run.samples.rows(benchmark, problem) for run in self.runs]
            facts = [
                run.samples.facts[own.start : own.stop] for run, own in zip(self.runs, rows, strict=True)
            ]
            golds = [gold for table in facts for gold in table["gold"].to_pylist()]
            listed.append(
                {
                    "id": problem,
                    "title": titles[problem],
                    "gold": shorten(golds[0], SHORT_ANSWER),
                    "samples": [len(own) for own in rows],
                    "correct": [table["status"].to_pylist().count(CODES[0]) for table in facts],
                }
            )
        return listed

    def _titles(self, benchmark: str) -> dict[str, str]:
        """The beginning of each problem, without what all prompts of its run begin with (a chat template)."""
        first = {
            problem: next(run for run in self.runs if run.samples.rows(benchmark, problem))
            for problem in self.problems[benchmark]
        }
        prompts: dict[str, list[str]] = {}
        for problem, run in first.items():
            prompts.setdefault(run.source.name, []).append(problem)
        titles = {}
        for problems in prompts.values():
            texts = (_prompt(first[problem], benchmark, problem) for problem in problems)
            skipped = len(_template(texts)) if len(problems) > 1 else 0
            for problem in problems:
                titles[problem] = _excerpt(_prompt(first[problem], benchmark, problem)[skipped:])
        return titles

    def _facts(self, run: Browsed, benchmark: str) -> dict[str, Any] | None:
        ids = run.samples.problems.get(benchmark)
        if not ids:
            return None
        start = run.samples.rows(benchmark, ids[0]).start
        stop = run.samples.rows(benchmark, ids[-1]).stop
        facts = run.samples.facts[start:stop]
        counts = {str(number): run.marks.counts(number) for number in self.names.labels.values()}
        return {
            "index": facts["sample_index"].to_pylist(),
            "status": [CODES.index(status) for status in facts["status"].to_pylist()],
            "tokens": [tokens or None for tokens in facts["tokens"].to_pylist()],
            "finish": [reason or "" for reason in facts["finish_reason"].to_pylist()],
            "answer": [shorten(answer or "", SHORT_ANSWER) for answer in facts["answer"].to_pylist()],
            "counts": {
                number: [None if count < 0 else count for count in found[start:stop].tolist()]
                for number, found in counts.items()
                if found is not None
            },
            "values": {
                str(number): [_known(value) for value in found[start:stop].tolist()]
                for number, found in run.marks.values.items()
            },
        }

    def _pack_problem(self, benchmark: str, problem: str) -> str:
        texts: dict[bytes, int] = {}
        runs = []
        for run in self.runs:
            rows = run.samples.rows(benchmark, problem)
            facts = run.samples.facts[rows.start : rows.stop].to_pylist()
            runs.append([self._sample(run, row, fact, texts) for row, fact in zip(rows, facts, strict=True)])
        return pack({"runs": runs}, list(texts))

    def _sample(
        self, run: Browsed, row: int, facts: dict[str, Any], texts: dict[bytes, int]
    ) -> dict[str, Any]:
        completion = run.samples.completion(row)
        return {
            "index": facts["sample_index"],
            "status": CODES.index(facts["status"]),
            "tokens": facts["tokens"] or None,
            "finish": facts["finish_reason"] or "",
            **{key: facts[key] or "" for key in ("answer", "gold", "detail", "grader")},
            "seconds": _known(facts["seconds"]),
            "opens_thinking": facts["opens_thinking"],
            "prompt": texts.setdefault(run.samples.prompt(row), len(texts)),
            "completion": texts.setdefault(completion, len(texts)),
            "spans": _spans(completion, run.marks.spans(row)),
            "values": {
                str(number): value
                for number, values in run.marks.values.items()
                if (value := _known(float(values[row]))) is not None
            },
            "notes": run.marks.notes.get(row, {}),
        }


def _prompt(run: Browsed, benchmark: str, problem: str) -> str:
    return run.samples.prompt(run.samples.rows(benchmark, problem).start).decode()


def _template(prompts: Iterable[str]) -> str:
    """What all prompts begin with, up to a blank."""
    shared = reduce(_common, prompts)
    return shared[: max(shared.rfind(" "), shared.rfind("\n")) + 1]


def _common(one: str, other: str) -> str:
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differing, min(len(one), len(other)))]


def _excerpt(text: str) -> str:
    """The first TITLE characters of a text, on one line, cut between words."""
    words = " ".join(text[: 4 * TITLE].split())
    return words if len(words) <= TITLE else words[:TITLE].rsplit(" ", 1)[0] + "…"


def _spans(completion: bytes, spans: Sequence[tuple[int, int, int]]) -> list[list[int]]:
    """Spans as [start, length, label] in UTF-16 code units; those outside the text are left out."""
    if not spans:
        return []
    text = completion.decode()
    inside = [span for span in spans if 0 <= span[0] < span[1] <= len(text)]
    starts = utf16_offsets(text, [start for start, _, _ in inside])
    ends = utf16_offsets(text, [end for _, end, _ in inside])
    return [[start, end - start, span[2]] for start, end, span in zip(starts, ends, inside, strict=True)]


def _known(value: float | None) -> float | None:
    """A number for JSON with four digits after the point; None where it is none or not finite."""
    return round(value, 4) if value is not None and math.isfinite(value) else None
