r"""Benchmark cards: one TOML file per benchmark, checked when it is read.

Covers finding, reading and checking cards, names and groups. Does not read problems
(prerl_eval.problems) and imports nothing outside the standard library.

    name = "aime24"                          # how commands and sample rows call the set
    hub_id = "HuggingFaceH4/aime_2024"       # or path = "my_problems.jsonl", relative to the card
    split = "train"
    rows = [30]
    fields = { id = "id", problem = "problem", answer = "answer" }
    prompt = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    grader = "math"
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from prerl_eval.errors import UserError

GOLD_FORMS = ("verbatim", "boxed", "after-hashes", "joined")
"""How the gold stands in its column: as it is; inside the last \\boxed{}; after "####"; a list of answers."""

ANSWER_FORMATS = ("boxed", "final-line", "stated", "answer-is")
"""Where a grader looks for the answer. math: in the last box; there, else in a line such as "#### 18".
choice and exact: where it is stated last; or by the set's published rule, after the first "answer is"."""

EVERY = "*"
"""The `config` of a card that reads every configuration of its hub data set."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


OPTIONS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "relative_tolerance": ("a number", _is_number),
    "tolerance": ("a number", _is_number),
    "unit": ("a string", lambda value: isinstance(value, str)),
    "is_multiple_answer": ("true or false", lambda value: isinstance(value, bool)),
}
"""What `options` may hold, and what each must be."""

UNHASHED = frozenset(
    {"title", "rows", "train_split", "n", "max_tokens", "groups", "variant_of", "licence", "citation"}
)
"""Keys that describe a set, or that a run records by itself, but that decide no grade."""

HASHED_WHERE_GIVEN = frozenset({"plain_prompt", "stop", "choices", "shots"})
"""Keys that came later: a card without them keeps the hash that its stored runs record."""


@dataclass(frozen=True)
class Card:
    """A benchmark: where its problems are, how they are asked, and how answers are graded.

    Every field but `file` is a key of the TOML file; fields without a default must be there.
    """

    name: str
    """What commands and sample rows call the set."""
    split: str
    """The split that is evaluated."""
    fields: Mapping[str, str]
    """Column of `problem` and `answer`, optionally of `id` (row number where absent) and of further
    facts that the grader reads under the name on the left (unit, tolerance, numbers, ...)."""
    prompt: str
    """What the model is asked, with {problem} where the problem goes; other braces stand for themselves."""
    grader: str
    """Which grader of prerl_eval.grading judges the answers."""
    hub_id: str = ""
    """Hub data set; exactly one of hub_id and path is given."""
    path: str = ""
    """Local data, relative to the card file: a jsonl or parquet file, or a folder with one file per split."""
    title: str = ""
    """What a table heading calls the set; the name where absent."""
    config: str = ""
    """The hub data set's configuration, where it has several; "*" (EVERY) reads them all, with the
    columns `config` (its name) and `config_row` ("<name>/<row number in it>") beside their own."""
    revision: str = "main"
    """Branch, tag or commit of the hub repository."""
    train_split: str = ""
    """The split that training may read; without one, training on this set is refused."""
    rows: tuple[int, ...] = ()
    """Allowed numbers of problems in `split`; any where absent."""
    plain_prompt: str = ""
    """What a model without a chat template continues, with {problem}; `prompt` where absent."""
    stop: tuple[str, ...] = ()
    """Strings that end the completion of a plain prompt; a chat model ends its turn by itself."""
    choices: tuple[str, ...] = ()
    """Columns of the options of multiple choice (see prerl_eval.choices): one that holds a list, shown
    in its order; or several that hold one each, the answer's among them, in an order drawn by the seed."""
    shots: Mapping[str, Any] = field(default_factory=dict)
    """Worked examples for {shots} in the prompt; see prerl_eval.fewshot."""
    answer_format: str = "boxed"
    """Where the grader looks for the final answer, one of ANSWER_FORMATS."""
    gold: str = "verbatim"
    """How the gold stands in its column, one of GOLD_FORMS."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Facts for the grader that hold for every problem; keys of OPTIONS."""
    n: int = 32
    """Samples per problem where --n is not given."""
    max_tokens: int = 16384
    """Completion tokens at most where --max-tokens is not given."""
    groups: tuple[str, ...] = ()
    """Names that select this set together with others."""
    variant_of: str = ""
    """The set that this one asks in another way, or the harder problems of; `all` leaves it out."""
    licence: str = ""
    citation: str = ""
    file: Path = field(default=Path(), compare=False)
    """The card file itself; set when it is read."""

    @property
    def hash(self) -> str:
        """sha256 of what decides a grade: every key not in UNHASHED (see HASHED_WHERE_GIVEN)."""
        content = {
            key: value
            for key, value in self.describe().items()
            if key not in UNHASHED and (value or key not in HASHED_WHERE_GIVEN)
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """The card as JSON-able keys: what run.json records."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "file"}

    @property
    def measures(self) -> bool:
        """Whether results on it are results: not of a split that training or a choice of settings reads."""
        return self.split not in (self.train_split, "validation")

    @property
    def in_all(self) -> bool:
        """Whether the group `all` has it: it measures, and it is no other form of another set."""
        return self.measures and not self.variant_of


def load_card(name_or_path: str | Path) -> Card:
    """The card of that name among the shipped ones, or the card at that path.

    Raises UserError for an unknown name and for whatever is wrong with the file.
    """
    if _is_path(name_or_path):
        return _read(Path(name_or_path))
    file = _folder() / f"{name_or_path}.toml"
    if not file.is_file():
        raise _unknown(str(name_or_path))
    return _read(file)


def shipped_cards() -> list[Card]:
    """Every card that comes with prerl, sorted by name."""
    return sorted((_read(file) for file in _folder().glob("*.toml")), key=lambda card: card.name)


def resolve_benchmarks(names: Sequence[str]) -> list[Card]:
    """Cards for names, groups and card paths, in that order and each once.

    `all` is every shipped set that is neither for training only nor a variant of another. Raises
    UserError for an unknown name, and where two different cards have one name (their sample rows
    could not be told apart).
    """
    if not names:
        raise UserError(f"no benchmark named; known: {', '.join(_known())}")
    cards: dict[str, Card] = {}
    for name in names:
        for card in _select(name):
            if cards.setdefault(card.name, card) != card:
                raise UserError(
                    f"{card.file} and {cards[card.name].file} are both named {card.name!r}; rename one card"
                )
    return list(cards.values())


def _select(name: str) -> list[Card]:
    if _is_path(name) or (_folder() / f"{name}.toml").is_file():
        return [load_card(name)]
    if name == "all":
        return [card for card in shipped_cards() if card.in_all]
    group = [card for card in shipped_cards() if name in card.groups]
    if not group:
        raise _unknown(name)
    return group


def _is_path(name: str | Path) -> bool:
    return isinstance(name, Path) or name.endswith(".toml") or "/" in name


def _folder() -> Path:
    """Cards lie inside the package in an installed wheel, and beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "benchmarks"
    return inside if inside.is_dir() else package.parent / "benchmarks"


def _known() -> list[str]:
    cards = shipped_cards()
    return [card.name for card in cards] + sorted(
        {group for card in cards for group in card.groups} | {"all"}
    )


def _unknown(name: str) -> UserError:
    return UserError(
        f"unknown benchmark {name!r}{_nearest(name, _known())}; known: {', '.join(_known())}, "
        "or the path of a card (x.toml)"
    )


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _read(file: Path) -> Card:
    if not file.is_file():
        raise UserError(f"no card at {file}; give a TOML file, or one of: {', '.join(_known())}")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}") from error
    return _checked(content, file)


def _checked(content: dict[str, Any], file: Path) -> Card:
    """Build the card, or say in one line which key is wrong and what it should be."""
    keys = {f.name: f for f in fields(Card) if f.name != "file"}
    for key, value in content.items():
        if key not in keys:
            raise UserError(
                f"{file}: unknown key {key!r}{_nearest(key, list(keys))}; known: {', '.join(keys)}"
            )
        expected, fits = _TYPES[str(keys[key].type)]
        if not fits(value):
            raise UserError(f"{file}: {key} = {value!r} should be {expected}")
    for key, spec in keys.items():
        if spec.default is MISSING and spec.default_factory is MISSING and key not in content:
            raise UserError(f"{file}: the key {key!r} is missing")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    card = Card(**values, file=file)
    _check_values(card)
    return card


def _check_values(card: Card) -> None:
    problems = {
        "name": (
            bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", card.name)),
            "letters, digits, '.', '_' and '-'",
        ),
        "prompt": ("{problem}" in card.prompt, "a template that contains {problem}"),
        "plain_prompt": (
            not card.plain_prompt or "{problem}" in card.plain_prompt,
            "a template that contains {problem}",
        ),
        "stop": ("" not in card.stop, "a list of strings that are not empty"),
        "fields": ({"problem", "answer"} <= set(card.fields), "a table with at least problem and answer"),
        "gold": (card.gold in GOLD_FORMS, f"one of: {', '.join(GOLD_FORMS)}"),
        "answer_format": (card.answer_format in ANSWER_FORMATS, f"one of: {', '.join(ANSWER_FORMATS)}"),
        "n": (card.n >= 1, "at least 1"),
        "max_tokens": (card.max_tokens >= 1, "at least 1"),
    }
    for key, (good, expected) in problems.items():
        if not good:
            raise UserError(f"{card.file}: {key} = {getattr(card, key)!r} should be {expected}")
    for key, value in card.options.items():
        if key not in OPTIONS:
            near = _nearest(key, list(OPTIONS))
            raise UserError(f"{card.file}: unknown option {key!r}{near}; known: {', '.join(OPTIONS)}")
        expected, fits = OPTIONS[key]
        if not fits(value):
            raise UserError(f"{card.file}: options.{key} = {value!r} should be {expected}")
    if bool(card.hub_id) == bool(card.path):
        raise UserError(f"{card.file}: give exactly one of hub_id (a hub data set) and path (local data)")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("a string", lambda value: isinstance(value, str)),
    "int": ("a whole number", _is_int),
    "tuple[int, ...]": (
        "a list of whole numbers",
        lambda value: isinstance(value, list) and all(map(_is_int, value)),
    ),
    "tuple[str, ...]": (
        "a list of strings",
        lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    ),
    "Mapping[str, str]": (
        "a table of column names",
        lambda value: isinstance(value, dict) and all(isinstance(item, str) for item in value.values()),
    ),
    "Mapping[str, Any]": ("a table", lambda value: isinstance(value, dict)),
}
"""What a TOML value must be, by the field's annotation."""
