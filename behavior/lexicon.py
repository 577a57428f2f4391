"""Lexicons: named, versioned lists of phrases, each with its source, exact rule and unit.

A lexicon is a TOML file; the presets are in behavior/lexicons. Covers reading and checking them.
Does not cover how phrases are found (behavior.finding) or how thoughts are labelled
(behavior.thoughts). What each preset counts, and where it departs from its source, is in
docs/lexicons.md.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behavior.text import normalise
from prerl_eval.errors import UserError

PRESETS = Path(__file__).parent / "lexicons"
DEFAULT = "seal"
UNITS = ("occurrences", "presence", "thoughts")
PLACES = ("anywhere", "start")
KEYS = ("name", "version", "source", "rule", "unit", "labels")

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of scripts written without spaces: Thai, Lao, Burmese, Khmer, kana, Han."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase. text: normalised (behavior.text). at: where in a thought it labels the thought.

    before, after: whether a letter, digit or underscore right before or after the phrase rules the
    hit out; False at an end that is no such character, or one of a script without spaces.
    """

    text: str
    at: str = "anywhere"
    before: bool = True
    after: bool = True


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A named list. labels: {label: phrases}, the label that wins a thought first.

    unit: what the source counts: "occurrences" of phrases, "presence" in a response, or labelled
    "thoughts". source, rule: prose for people, shown with every count.
    """

    name: str
    version: str
    source: str
    rule: str
    unit: str
    labels: Mapping[str, tuple[Phrase, ...]]

    def entries(self) -> list[tuple[str, Phrase]]:
        """(label, phrase) of every phrase, in the order of the file."""
        return [(label, phrase) for label, phrases in self.labels.items() for phrase in phrases]

    def fingerprint(self) -> str:
        """Twelve hex digits of SHA-256 over what is counted: the same where counts are comparable."""
        rows = [(label, p.text, p.at, p.before, p.after) for label, p in self.entries()]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def preset_names() -> list[str]:
    """The lexicons that come with prerl, the default first."""
    return sorted((file.stem for file in PRESETS.glob("*.toml")), key=lambda name: (name != DEFAULT, name))


def load_lexicon(name_or_path: str = DEFAULT) -> Lexicon:
    """The preset of that name, or else the TOML file at that path.

    Raises UserError, in one line: no such preset or file (naming the presets), no TOML, a key that is
    missing or unknown, an empty lexicon, label or phrase, a phrase that is there twice.
    """
    if name_or_path in preset_names():
        return _read(PRESETS / f"{name_or_path}.toml")
    file = Path(name_or_path)
    if not file.is_file():
        known = ", ".join(preset_names())
        raise UserError(f"no lexicon {name_or_path!r}: presets are {known}; or give the path of a TOML file")
    lexicon = _read(file)
    if lexicon.name in preset_names() and lexicon != load_lexicon(lexicon.name):
        raise UserError(f"lexicon {file} takes the name of the preset {lexicon.name!r}; give it its own name")
    return lexicon


def _read(file: Path) -> Lexicon:
    try:
        content = tomllib.loads(file.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"lexicon {file} is not UTF-8 text (byte {error.start}); save it as UTF-8 TOML"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"lexicon {file} is not TOML: {error}") from None
    except OSError as error:
        raise UserError(f"lexicon {file} cannot be read: {error.strerror}") from None
    _check_keys(file, content)
    labels = content["labels"]
    if not isinstance(labels, dict) or not labels:
        raise UserError(
            f"lexicon {file} is empty: [labels] names no label; add one, such as reflection = [...]"
        )
    boundaries = content.get("boundaries", True)
    return Lexicon(
        **{key: content[key] for key in KEYS if key != "labels"},
        labels=_unique(file, {label: _phrases(file, label, labels[label], boundaries) for label in labels}),
    )


def _check_keys(file: Path, content: Mapping[str, Any]) -> None:
    for key in KEYS:
        if key not in content:
            raise UserError(f"lexicon {file} has no {key!r}; a lexicon states {', '.join(KEYS)}")
        if key != "labels" and (not isinstance(content[key], str) or not content[key].strip()):
            raise UserError(f"lexicon {file}: {key} is {content[key]!r}; it must be a text that is not empty")
    unknown = sorted(set(content) - {*KEYS, "boundaries"})
    if unknown:
        raise UserError(
            f"lexicon {file} has an unknown key {unknown[0]!r}; keys are {', '.join(KEYS)}, boundaries"
        )
    if not isinstance(content.get("boundaries", True), bool):
        raise UserError(f"lexicon {file}: boundaries is {content['boundaries']!r}; it must be true or false")
    if content["unit"] not in UNITS:
        raise UserError(f"lexicon {file}: unit is {content['unit']!r}; it must be one of {', '.join(UNITS)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", content["name"]):
        raise UserError(
            f"lexicon {file}: name {content['name']!r} is not usable in file names; "
            "use letters, digits, dot, dash, underscore"
        )


def _phrases(file: Path, label: str, given: Any, boundaries: bool) -> tuple[Phrase, ...]:
    if not isinstance(given, list) or not given:
        raise UserError(f"lexicon {file}: label {label!r} has no phrases; list some or remove the label")
    return tuple(_phrase(file, label, item, boundaries) for item in given)


def _phrase(file: Path, label: str, item: Any, boundaries: bool) -> Phrase:
    spec = {"phrase": item} if isinstance(item, str) else item
    if not isinstance(spec, dict) or not {"phrase"} <= set(spec) <= {"phrase", "at"}:
        raise UserError(
            f"lexicon {file}: label {label!r} lists {item!r}; "
            'a phrase is "text" or {phrase = "text", at = "start"}'
        )
    place = spec.get("at", PLACES[0])
    if place not in PLACES:
        raise UserError(
            f"lexicon {file}: at is {place!r} for {spec['phrase']!r}; it must be {' or '.join(PLACES)}"
        )
    text = normalise(spec["phrase"]).text.strip() if isinstance(spec["phrase"], str) else ""
    if not text:
        raise UserError(f"lexicon {file}: label {label!r} has an empty phrase {spec['phrase']!r}; remove it")
    return Phrase(text, place, boundaries and _bounded(text[0]), boundaries and _bounded(text[-1]))


def _bounded(char: str) -> bool:
    return bool(re.match(r"\w", char)) and not _UNSPACED.match(char)


def _unique(file: Path, labels: dict[str, tuple[Phrase, ...]]) -> dict[str, tuple[Phrase, ...]]:
    seen: dict[str, str] = {}
    for label, phrases in labels.items():
        for phrase in phrases:
            if phrase.text in seen:
                raise UserError(
                    f"lexicon {file} has the phrase {phrase.text!r} twice, in {seen[phrase.text]!r} and "
                    f"{label!r} (after normalisation); keep one"
                )
            seen[phrase.text] = label
    return labels
