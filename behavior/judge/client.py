"""One judgement from an OpenAI-compatible server: sent, logged, tried again, paid for.

The client library's own retries are switched off: each attempt may be billed, so each has its own
reservation and its own line in the log. Covers one request at a time; who asks what in which order
is judge.py's.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from behavior.judge.budget import Bill, Budget, Tokens
from behavior.judge.cache import Log
from behavior.judge.schema import RESPONSE_FORMAT, read_reply
from prerl_eval.engines.openai import check_model, reason_of
from prerl_eval.errors import RunStopped

ATTEMPTS = 8
"""Per request, counting lost connections, timeouts, 408, 409, 429 and 5xx."""

BACKOFF_SECONDS = 0.5
"""Before the second attempt; doubled for each further one up to LONGEST_BACKOFF, less a random half."""

LONGEST_BACKOFF = 30.0

GIVE_UP = 20
"""Unusable replies in a row after which the judge stops instead of buying more of them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: its key in the log, what it is about (for people), its messages and its worst case."""

    key: str
    item: tuple[str | int, ...]
    messages: Sequence[Mapping[str, str]]
    worst: Tokens


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to talk to the server. timeout: seconds for one reply. rpm: requests per minute, None: no limit."""

    url: str
    key: str
    model: str
    temperature: float = 0.0
    max_output: int = 4096
    timeout: float = 600.0
    rpm: float | None = None


@dataclass
class Judge:
    """A server, a purse, and what has been learned about the server so far.

    halted: why no further request is sent; requests in flight are still waited for.
    not_taken: settings that the server refused and that are left out since.
    """

    options: ServerOptions
    budget: Budget
    halted: Exception | None = None
    not_taken: set[str] = field(default_factory=set)
    _client: Any = None
    _unusable: int = 0
    _next_turn: float = 0.0

    async def open(self) -> None:
        """Connect. Raises UserError where the server, the key or the model is not there."""
        from openai import AsyncOpenAI, Timeout

        options = self.options
        timeout = Timeout(options.timeout, connect=min(20.0, options.timeout))
        self._client = AsyncOpenAI(base_url=options.url, api_key=options.key, max_retries=0, timeout=timeout)
        await check_model(self._client, options.url, options.model, "--model")

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        if self._client is not None:
            await self._client.close()

    async def ask(self, ask: Ask, log: Log) -> str:
        """One request until there is a reply or no hope: its status ("error" for none), "" once halted."""
        attempt = 0
        while self.halted is None:
            try:
                async with self.budget.reserve(ask.worst) as bill:
                    await self._turn()
                    return await self._attempt(ask, log, bill, last=attempt + 1 == ATTEMPTS)
            except _Again as again:
                attempt += again.counts
                await asyncio.sleep(again.wait if again.wait is not None else _backoff(attempt))
            except RunStopped as stop:
                self.halted = self.halted or stop
        return ""

    async def _attempt(self, ask: Ask, log: Log, bill: Bill, last: bool) -> str:
        import openai

        if self.halted is not None:  # while this one waited for its turn
            bill.tokens = Tokens()
            return ""
        settings = self._settings()
        sent = log.sent(ask.key, ask.item, ask.worst)
        try:
            answer = await self._client.chat.completions.with_raw_response.create(
                model=self.options.model, messages=list(ask.messages), extra_body=settings
            )
        except openai.APIError as error:
            failure = _Failure(error, settings, last)
            bill.tokens = log.failed(
                sent, ask.key, failure.why, billed=failure.billed, final=not failure.again
            )
            return self._failed(failure)
        body = str(answer.http_response.text)
        bill.tokens = log.reply(sent, ask.key, body)
        reply = read_reply(body)
        self._count(reply.status, reply.detail)
        return reply.status

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "temperature": self.options.temperature,
            "max_tokens": self.options.max_output,
            "response_format": RESPONSE_FORMAT,
        }
        if "max_tokens" in self.not_taken:  # its name at servers that know no other any more
            settings["max_completion_tokens"] = self.options.max_output
        return {name: value for name, value in settings.items() if name not in self.not_taken}

    def _failed(self, failure: _Failure) -> str:
        """What follows a failed attempt: "error" for good; else raises _Again or RunStopped."""
        if left_out := failure.refused - self.not_taken:
            self.not_taken |= left_out
            print(
                f"note: {self.options.url} does not take {', '.join(sorted(left_out))}: left out",
                file=sys.stderr,
            )
        if failure.again:
            raise _Again(counts=not failure.refused, wait=0.0 if failure.refused else failure.retry_after)
        if failure.fatal or failure.unreachable:
            raise RunStopped(self._farewell(failure.status, failure.reason)) from failure.error
        self._count("error", failure.why)
        return "error"

    def _farewell(self, status: int | None, reason: str) -> str:
        url, model = self.options.url, self.options.model
        if status == 404:
            return f"{url} serves no {model} ({reason}); correct --model or --base-url"
        if status in (401, 403):
            return f"{url} refuses the key ({reason}); set OPENAI_API_KEY"
        if status is not None:
            return f"{url} takes no json_schema output ({reason}); use a server that does, such as vLLM"
        return f"the server at {url} went away ({reason}); replies are safe, the same command goes on"

    def _count(self, status: str, detail: str) -> None:
        """Stop over a model that ignores the schema or a server that fails always. Refusals are answers."""
        self._unusable = self._unusable + 1 if status in ("invalid", "truncated", "error") else 0
        if self._unusable >= GIVE_UP and self.halted is None:
            hint = {
                "invalid": "the model ignores the schema: use a server that enforces json_schema",
                "truncated": "raise --max-output, or forbid blanks in the server's grammar (docs/judge.md)",
                "error": "the server fails",
            }[status]
            self.halted = RunStopped(
                f"{GIVE_UP} replies in a row cannot be used, the last {status} ({detail}); {hint}; "
                "replies are safe, the same command goes on with the samples not asked about yet"
            )

    async def _turn(self) -> None:
        """Wait until the next request may leave under `rpm`."""
        if self.options.rpm is None:
            return
        now = time.monotonic()
        self._next_turn = max(self._next_turn, now) + 60.0 / self.options.rpm
        await asyncio.sleep(self._next_turn - 60.0 / self.options.rpm - now)


class _Again(Exception):
    """The request is to be sent again. counts: as an attempt. wait: seconds, None for the backoff."""

    def __init__(self, counts: bool, wait: float | None):
        self.counts = counts
        self.wait = wait


class _Failure:
    """What an error of the client library means for the request. last: whether no attempt is left."""

    def __init__(self, error: Exception, settings: Mapping[str, Any], last: bool):
        self.error = error
        self.status: int | None = getattr(error, "status_code", None)
        self.reason = reason_of(error)
        self.why = f"{self.status or type(error).__name__}: {self.reason}"
        # The transport library below the client has changed its name once; the error's has stayed.
        self.unreachable = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
        status = self.status
        passing = status is None or status in (408, 409, 429) or status >= 500
        self.refused = _refused(self.reason, settings) if status in (400, 422) else set()
        unformatted = status in (400, 422) and "response_format" in self.reason and not self.refused
        self.fatal = status in (401, 403, 404) or unformatted
        self.again = bool(self.refused) or (passing and not last)
        # A refusal costs nothing; a server that broke off or gave up may have worked, and charged.
        free = self.unreachable or (status is not None and status < 500 and status != 408)
        self.billed = False if free else None

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait."""
        response = getattr(self.error, "response", None)
        try:
            seconds = float(response.headers["retry-after"]) if response is not None else -1.0
        except (KeyError, ValueError):
            return None
        return min(seconds, 2 * LONGEST_BACKOFF) if seconds >= 0 else None


def _refused(reason: str, settings: Mapping[str, Any]) -> set[str]:
    """Settings of a request that its refusal names and that it can do without."""
    named = {name for name in ("temperature", "max_tokens") if re.search(rf"\b{name}\b", reason)}
    if "max_completion_tokens" not in reason:
        named.discard("max_tokens")  # without a limit there is no worst case
    return named & set(settings)


def _backoff(attempt: int) -> float:
    longest: float = min(LONGEST_BACKOFF, BACKOFF_SECONDS * 2.0 ** (attempt - 1))
    return longest * (1 - random.random() / 2)
