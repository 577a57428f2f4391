"""One run's annotation by one judge: what is to be asked, and what the replies so far say.

    RUN/annotations/judge-<model>[-rN]/replies.jsonl   every request and raw reply (cache.py)
                                       part-*.parquet  one row per occurrence, one "status" row per sample
                                       about.json      settings, counts, canaries, tokens

The annotation is derived from all replies each time, so that a better parser costs no call. Does
not talk to a server (client.py) or say who is asked first (judge.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behavior.judge.budget import Prices, worst_case
from behavior.judge.cache import LOG_NAME, Log, Record, ask_key
from behavior.judge.canaries import CANARIES, PROBLEM, Canary
from behavior.judge.chunks import Chunk, split
from behavior.judge.client import Ask
from behavior.judge.locate import Located, locate, without_repeats
from behavior.judge.options import JudgeOptions
from behavior.judge.prompt import messages, trace_hash
from behavior.judge.results import STATUSES, Judged, measure
from behavior.judge.schema import PARSER_VERSION, read_reply
from behavior.judge.select import Trace, chosen_traces
from prerl_eval.annotations import (
    Annotation,
    annotated_keys,
    annotation_folder,
    annotation_lock,
    annotation_names,
    read_about,
    replace_annotations,
    write_about,
)
from prerl_eval.errors import UserError
from prerl_eval.run_record import differing_keys
from prerl_eval.store import RowKey

MADE_BY = "prerl-behavior judge"


@dataclass(frozen=True)
class Part:
    """One request to be: a chunk of a trace, under its key in the log."""

    trace: Trace
    chunk: Chunk
    key: str


class Book:
    """One run's annotation by one judge: what is to be asked, and what the replies say.

    Raises UserError where the run cannot be judged, or was under the same name with other settings.
    """

    def __init__(self, run: Path, options: JudgeOptions):
        self.run = run
        self.options = options
        self.name = options.annotation
        self.settings = options.settings
        self.log_file = annotation_folder(run, self.name) / LOG_NAME
        known: set[RowKey] = set()
        self._not_taken: set[str] = set()
        if self.name in annotation_names(run):
            about = read_about(run, self.name)
            if changed := differing_keys(about.get("settings", {}), self.settings):
                raise UserError(
                    f"{self.name} of {run} was judged with other settings ({'; '.join(changed)}); "
                    "give the same, or --name for a second judgement beside it"
                )
            known = annotated_keys(run, self.name)
            self._not_taken = set(about.get("settings_not_taken", []))
        self.traces = chosen_traces(run, options.limit, options.step, also=known)
        self._parts = {trace.key: self._split(trace) for trace in self.traces}
        self._canaries = [self._pair(canary) for canary in CANARIES] if options.canaries else []

    @contextmanager
    def opened(self) -> Iterator[Log]:
        """The log, open for appending, while the annotation's lock is held; both are made where missing."""
        with annotation_lock(self.run, self.name):
            if self.name not in annotation_names(self.run):
                write_about(
                    self.run, self.name, {"made_by": MADE_BY, "settings": self.settings, "complete": False}
                )
            with Log(self.log_file) as log:
                yield log

    def parts(self) -> list[Part]:
        """All requests of the chosen samples and canaries, in order; equal ones more than once."""
        pairs = [trace for pair in self._canaries for trace in pair]
        return [part for trace in [*pairs, *self.traces] for part in self._parts[trace.key]]

    def missing(self, record: Record) -> list[Part]:
        """Requests without a reply, each key once; with `again`, those without a usable one too."""
        missing: dict[str, Part] = {}
        for part in self.parts():
            body = record.replies.get(part.key)
            if body is None or (self.options.again and read_reply(body).status != "ok"):
                missing.setdefault(part.key, part)
        return list(missing.values())

    def ask(self, part: Part) -> Ask:
        """The request of a part."""
        asked = messages(part.trace.prompt, part.trace.text, part.chunk)
        worst = worst_case(asked, self.options.max_output)
        return Ask(part.key, (*part.trace.key, part.chunk.index), asked, worst)

    def store(self, record: Record, prices: Prices, not_taken: Collection[str]) -> dict[str, Any]:
        """Write the annotation that the replies make; returns the run's figures."""
        judged = [found for trace in self.traces if (found := self._read(trace, record)) is not None]
        if judged:
            replace_annotations(self.run, self.name, (row for found in judged for row in _rows(found)))
        told = {
            "settings": self.settings,
            "unjudged": len(self.traces) - len(judged),
            "canaries": self._canaries_held(record),
            "requests": _requests(record, prices),
        }
        groups = _groups(judged)
        statuses = {name: sum(group["statuses"][name] for group in groups) for name in STATUSES}
        about = {
            "made_by": MADE_BY,
            **told,
            "parser_version": PARSER_VERSION,
            "settings_not_taken": sorted(self._not_taken.union(not_taken)),
            "samples": len(judged),
            "statuses": statuses,
            "complete": not told["unjudged"] and not statuses["error"],
        }
        write_about(self.run, self.name, about)
        return {"run": str(self.run), "annotation": self.name, **told, "groups": groups}

    def _split(self, trace: Trace) -> list[Part]:
        hashed = trace_hash(trace.prompt, trace.text)
        chunks = split(trace.text, self.options.chunk_chars)
        return [
            Part(trace, chunk, ask_key(**self.settings, trace=hashed, start=chunk.start, end=chunk.end))
            for chunk in chunks
        ]

    def _pair(self, canary: Canary) -> tuple[Trace, Trace]:
        number = CANARIES.index(canary)
        plain, ordered = (
            Trace(("canary", kind, number, 0), PROBLEM, text)
            for kind, text in (("plain", canary.plain), ("ordered", canary.text))
        )
        self._parts |= {trace.key: self._split(trace) for trace in (plain, ordered)}
        return plain, ordered

    def _read(self, trace: Trace, record: Record) -> Judged | None:
        """A trace's judgement; None where some part was neither answered nor given up.

        A trace of which one part cannot be used has that part's status and no marks: half of a
        count is no count. A trace without any sign shows nothing, and nobody is asked.
        """
        found: list[Located] = []
        statuses, quotes, lost, full = {"ok"}, 0, 0, False
        for part in self._parts[trace.key]:
            body = record.replies.get(part.key)
            if body is None:
                if part.key not in record.failures:
                    return None
                statuses.add("error")
                continue
            reply = read_reply(body)
            statuses.add(reply.status)
            here, missed = locate(reply.findings, trace.text, part.chunk)
            found += here
            quotes, lost, full = quotes + len(reply.findings), lost + len(missed), full or reply.full
        worst = max(statuses, key=STATUSES.index)
        if worst != "ok":
            return Judged(trace.key, worst)
        return Judged(trace.key, "ok", tuple(without_repeats(found)), quotes, lost, full)

    def _canaries_held(self, record: Record) -> dict[str, int]:
        held = unread = 0
        for canary, (plain, ordered) in zip(CANARIES, self._canaries, strict=False):
            one, other = self._read(plain, record), self._read(ordered, record)
            if one is None or other is None or {one.status, other.status} != {"ok"}:
                unread += 1
            else:
                held += canary.held(one.marks, other.marks)
        return {"asked": len(self._canaries), "held": held, "unread": unread}


def _rows(judged: Judged) -> Iterator[Annotation]:
    for mark in judged.marks:
        yield Annotation(*judged.key, mark.label, start=mark.start, end=mark.end, note=mark.quote)
    yield Annotation(*judged.key, "status", note=judged.status)


def _groups(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Figures by benchmark and step."""
    groups: dict[tuple[str, int], list[Judged]] = defaultdict(list)
    for found in judged:
        benchmark, _, _, step = found.key
        groups[benchmark, step].append(found)
    return [
        {"benchmark": benchmark, "step": step, **measure(groups[benchmark, step])}
        for benchmark, step in sorted(groups)
    ]


def _requests(record: Record, prices: Prices) -> dict[str, Any]:
    return {
        "sent": record.sent,
        "replies": record.answered,
        "in_flight_lost": len(record.in_flight),
        "tokens_in": record.billed.into,
        "tokens_out": record.billed.out,
        "cost": float(prices.cost(record.billed)) if prices.known else None,
        "cost_at_most": float(prices.cost(record.spent)) if prices.known else None,
    }
