"""Options of multiple choice: in which order a problem shows them, and which letter is right.

Covers a card's `choices`. One column holds the list of a problem's options, shown in its order, with
the gold as a letter or an index beside it. Several columns hold one option each, the right one among
them (GPQA): their order is drawn for each problem from the run's seed, and stored in the row, so that
neither a resumed run nor a new grader can see another. Does not cover how the options are asked
(prerl_eval.prompts) or which one a response chooses (prerl_eval.grading.choice).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from prerl_eval.errors import UserError

if TYPE_CHECKING:
    from prerl_eval.cards import Card

ORDER = "order"
"""Name, among a problem's facts, of the drawn order: the column number behind each letter."""


@dataclass(frozen=True, slots=True)
class Options:
    """A problem's options in the order of their letters, the right letter, and facts to be stored."""

    texts: tuple[str, ...]
    gold: str
    facts: dict[str, Any]


def draws_order(card: Card) -> bool:
    """Whether the order of a card's options is drawn from the seed."""
    return len(card.choices) > 1


def drawn_order(seed: int, benchmark: str, problem_id: str, count: int) -> list[int]:
    """A permutation of range(count), uniform over problems, the same for the same arguments.

    The options are sorted by a hash of (seed, benchmark, problem, option): no generator's state and no
    version of one is involved, and each problem has its own order whichever others are asked.
    """

    def place(option: int) -> bytes:
        text = json.dumps(["options", seed, benchmark, problem_id, option])
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    return sorted(range(count), key=place)


def read_options(card: Card, row: Mapping[str, Any], problem_id: str, number: int, seed: int) -> Options:
    """The options of a row of the data set; `number` is the row's, for messages.

    Raises UserError where a column holds something else than options, or the gold is none of them.
    """
    if draws_order(card):
        texts = [_text(card, row[column], column, number) for column in card.choices]
        order = drawn_order(seed, card.name, problem_id, len(texts))
        right = order.index(card.choices.index(card.fields["answer"]))
        facts = {"letters": _letters(card, texts, number), ORDER: order}
        return Options(tuple(texts[option] for option in order), ascii_uppercase[right], facts)
    column = card.choices[0]
    listed = row[column]
    if not isinstance(listed, list):
        raise UserError(
            f"{card.name}: row {number} has a {type(listed).__name__} in column {column!r}; "
            "name a column of lists as `choices`, or several columns of one option each"
        )
    texts = [_text(card, option, column, number) for option in listed]
    letters = _letters(card, texts, number)
    return Options(tuple(texts), _gold(card, row, letters, number), {"letters": letters})


def check_choices(card: Card) -> None:
    """Raise UserError where a card's `choices` cannot be read as above."""
    if draws_order(card) and card.fields["answer"] not in card.choices:
        raise UserError(
            f"{card.file}: choices = {list(card.choices)!r} lacks the answer's column "
            f"{card.fields['answer']!r}; list it among them"
        )


def lettered(texts: Sequence[str]) -> str:
    """The options as a prompt shows them: "A. ...", one a line."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, texts, strict=False))


def _letters(card: Card, texts: Sequence[str], number: int) -> str:
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise UserError(
            f"{card.name}: row {number} has {len(texts)} options; 2 to {len(ascii_uppercase)} work"
        )
    return ascii_uppercase[: len(texts)]


def _text(card: Card, option: Any, column: str, number: int) -> str:
    text = "" if option is None else str(option).strip()
    if not text:
        raise UserError(f"{card.name}: row {number} has an empty option in column {column!r}; mend the row")
    return text


def _gold(card: Card, row: Mapping[str, Any], letters: str, number: int) -> str:
    gold = row[card.fields["answer"]]
    if isinstance(gold, int) and 0 <= gold < len(letters):
        return letters[gold]
    if isinstance(gold, str) and gold.strip() and gold.strip() in letters:
        return gold.strip()
    raise UserError(
        f"{card.name}: row {number} has {gold!r} in column {card.fields['answer']!r}, which is neither one "
        f"of its letters {letters} nor an index from 0"
    )
