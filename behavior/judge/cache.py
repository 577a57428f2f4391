"""The log of requests and raw replies: append-only, one JSON object per line.

    {"event": "sent", "id": .., "key": .., "item": .., "worst": [in, out]}    before a request leaves
    {"event": "reply", "id": .., "key": .., "body": raw HTTP body}            fsynced when it has arrived
    {"event": "failed", "id": .., "key": .., "why": .., "billed": true|false|null, "final": true|false}

Whatever dies, a reply that was logged is never bought again, and a request that was in flight is
known to have been: it is sent again, and its worst case counts as spent. A line that a kill tore is
skipped. Covers reading and writing; what replies mean is schema.py's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from behavior.judge.budget import Tokens
from behavior.judge.schema import usage
from prerl_eval.errors import RunStopped

LOG_NAME = "replies.jsonl"


def ask_key(**parts: str | int | float) -> str:
    """32 hex digits over all that makes a judgement what it is; equal parts are asked once."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass
class Record:
    """What a log says so far.

    replies: key -> raw body, the latest. failures: key -> why no reply came at last. in_flight:
    ids sent of which nothing more is known, with their keys. billed: tokens that replies state.
    assumed: worst cases of requests that may have been billed though no reply was received.
    sent, answered: requests and replies in all. torn: lines that could not be read.
    """

    replies: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    in_flight: dict[str, tuple[str, Tokens]] = field(default_factory=dict)
    billed: Tokens = field(default_factory=Tokens)
    assumed: Tokens = field(default_factory=Tokens)
    sent: int = 0
    answered: int = 0
    torn: int = 0

    @property
    def spent(self) -> Tokens:
        """Billed, or possibly billed: what counts against a budget."""
        total = self.billed + self.assumed
        for _, worst in self.in_flight.values():
            total += worst
        return total

    def take(self, line: dict[str, Any]) -> Tokens | None:
        """Account for one line; what its request is taken to have been billed, None while it is in flight."""
        event, number, key = (str(line[name]) for name in ("event", "id", "key"))
        if event == "sent":
            self.sent += 1
            self.in_flight[number] = (key, Tokens(*line["worst"]))
            return None
        _, worst = self.in_flight.pop(number, (key, Tokens()))
        if event == "reply":
            self.answered += 1
            self.replies[key] = line["body"]
            self.failures.pop(key, None)
            stated = usage(line["body"])
            if stated is not None:
                billed = Tokens(*stated)
                self.billed += billed
                return billed
        else:
            if line["final"]:
                self.failures[key] = line["why"]
            if line["billed"] is False:
                return Tokens()
        self.assumed += worst
        return worst


def read_log(file: Path) -> Record:
    """The record of a log; an empty one where there is no file."""
    record = Record()
    if not file.is_file():
        return record
    with file.open("rb") as stream:
        for raw in stream:
            try:
                line = json.loads(raw)
                record.take(line)
            except (ValueError, LookupError, TypeError):
                record.torn += bool(raw.strip())
    return record


class Log:
    """A log open for appending; `record` is what the file says. The caller holds the annotation's lock."""

    def __init__(self, file: Path):
        self.file = file
        self.record = read_log(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = file.open("ab", buffering=0)
        except OSError as error:
            raise RunStopped(f"{file}: cannot write ({error.strerror}); make room or give rights") from error
        # Ids of two sittings must differ; a torn last line must not swallow the next one.
        self._sitting = os.urandom(4).hex()
        if _ends_torn(file):
            self._write(b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()

    def sent(self, key: str, item: Sequence[str | int], worst: Tokens) -> str:
        """Note a request that is about to leave; returns its id."""
        number = f"{self._sitting}-{self.record.sent}"
        self._append(event="sent", id=number, key=key, item=list(item), worst=[worst.into, worst.out])
        return number

    def reply(self, number: str, key: str, body: str) -> Tokens:
        """Keep a raw reply, on the disk when this returns; what it was billed (the worst case if unsaid)."""
        billed = self._append(event="reply", id=number, key=key, body=body)
        self._sync()
        return billed or Tokens()

    def failed(self, number: str, key: str, why: str, *, billed: bool | None, final: bool) -> Tokens:
        """Note a request without a reply. billed: None where the server may have worked and charged."""
        return (
            self._append(event="failed", id=number, key=key, why=why, billed=billed, final=final) or Tokens()
        )

    def _append(self, **line: Any) -> Tokens | None:
        self._write(json.dumps(line).encode() + b"\n")
        return self.record.take(line)

    def _write(self, data: bytes) -> None:
        try:
            written = self._stream.write(data)
        except OSError as error:
            raise self._trouble(error.strerror) from error
        if written != len(data):
            raise self._trouble("the disk is full")

    def _sync(self) -> None:
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._trouble(error.strerror) from error

    def _trouble(self, why: str | None) -> RunStopped:
        return RunStopped(
            f"{self.file}: cannot write ({why}); replies so far are safe, make room and run the same command "
            "to go on"
        )


def _ends_torn(file: Path) -> bool:
    with file.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
