"""What may be spent: the worst case of every request is set aside before it is sent.

Covers prices, the bound on a request's tokens and the purse. Does not know requests or servers.
Amounts are decimals in the currency of the prices, so that sums are exact.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

from behavior.judge.schema import RESPONSE_FORMAT
from prerl_eval.errors import RunStopped, UserError

TEMPLATE_TOKENS = 512
"""For what a server adds to the messages: the chat template, its own system prompt."""


class BudgetSpent(RunStopped):
    """The next request might cost more than is left."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of requests, in and out."""

    into: int = 0
    out: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.into + other.into, self.out + other.out)


@dataclass(frozen=True, slots=True)
class Prices:
    """Price of a million tokens, in and out; None where it is not known."""

    into: Decimal | None = None
    out: Decimal | None = None

    @property
    def known(self) -> bool:
        """Whether costs can be told."""
        return self.into is not None and self.out is not None

    def cost(self, tokens: Tokens) -> Decimal:
        """What the tokens cost; 0 without prices."""
        if self.into is None or self.out is None:
            return Decimal(0)
        return (tokens.into * self.into + tokens.out * self.out) / 1_000_000


def make_prices(into: float | None, out: float | None, limit: float | None) -> tuple[Prices, Decimal | None]:
    """Prices and limit from the command's numbers. Raises UserError where they make no budget."""
    for name, value in (("--price-in", into), ("--price-out", out), ("--max-cost", limit)):
        if value is not None and not 0 <= value < float("inf"):
            raise UserError(f"{name} {value} is no amount; give 0 or more")
    if (into is None) != (out is None):
        raise UserError("--price-in and --price-out go together; give both, per million tokens")
    if limit is not None and into is None:
        raise UserError("--max-cost needs --price-in and --price-out (per million tokens) to count by")
    exact = [None if value is None else Decimal(str(value)) for value in (into, out, limit)]
    return Prices(exact[0], exact[1]), exact[2]


def worst_case(messages: Sequence[Mapping[str, str]], max_output: int) -> Tokens:
    """A bound on what one request can bill: no tokenizer makes more tokens than there are bytes of UTF-8.

    The schema counts as well: some servers write it into the prompt.
    """
    asked = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
    return Tokens(asked + len(json.dumps(RESPONSE_FORMAT)) + TEMPLATE_TOKENS, max_output)


@dataclass(slots=True)
class Bill:
    """What one request is taken to have been billed; the worst case until somebody knows better."""

    tokens: Tokens


class Budget:
    """The purse. Spent and reserved together never exceed the limit; None is no limit.

    For one event loop.
    """

    def __init__(self, prices: Prices, limit: Decimal | None):
        self.prices = prices
        self.limit = limit
        self.spent = Decimal(0)
        self._reserved = Decimal(0)
        self._freed = asyncio.Condition()

    def add_spent(self, tokens: Tokens) -> None:
        """Count what earlier sittings were billed, or may have been."""
        self.spent += self.prices.cost(tokens)

    @asynccontextmanager
    async def reserve(self, worst: Tokens) -> AsyncIterator[Bill]:
        """Set the worst case aside while a request is under way, then count what its bill says.

        Waits while requests in flight may still turn out cheaper. Raises BudgetSpent when nothing is in
        flight and it does not fit.
        """
        wanted = self.prices.cost(worst)
        async with self._freed:
            while self.limit is not None and self.spent + self._reserved + wanted > self.limit:
                if not self._reserved:
                    raise BudgetSpent(self._farewell(wanted))
                await self._freed.wait()
            self._reserved += wanted
        bill = Bill(worst)
        try:
            yield bill
        finally:
            async with self._freed:
                self._reserved -= wanted
                self.spent += self.prices.cost(bill.tokens)
                self._freed.notify_all()

    def _farewell(self, wanted: Decimal) -> str:
        return (
            f"{self.spent:.4f} of --max-cost {self.limit} is spent, the next request may cost {wanted:.4f}; "
            "replies are safe, raise --max-cost and run the same command to go on"
        )
