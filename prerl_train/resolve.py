"""Settings of a run from flags, recipe and defaults.

Flags win, then the recipe's table for the algorithm, then its general keys, then the algorithm's
defaults, then the option's. A recipe is a TOML file whose keys are options:

    data = "countdown"
    lr = 2e-4
    [dsrl]
    warmup_steps = 10

Relative paths in it start where the command is run. Does not cover whether the values make sense
together (checks.py).
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from prerl_eval.errors import UserError
from prerl_train.catalogue import ALGORITHMS, users_of
from prerl_train.checks import check_settings
from prerl_train.settings import OPTIONS, TrainSettings, flag, value_type

RECIPES = Path(__file__).resolve().parent / "recipes"

KEYS = tuple(name for name in OPTIONS if name not in ("recipe", "out"))
"""What a recipe may set."""


def resolve(algorithm: str, given: Mapping[str, Any]) -> TrainSettings:
    """The complete settings of a run.

    given: options of the command line by field name; None or () stands for "not given". Raises
    UserError for an option that the algorithm does not use, for a bad recipe, and for whatever
    checks.check_settings refuses.
    """
    flags = {name: value for name, value in given.items() if value not in (None, ())}
    for name in flags:
        _check_applies(algorithm, name, flag(name))
    recipe = flags.get("recipe")
    from_recipe = {} if recipe is None else read_recipe(recipe, algorithm)
    values = {**ALGORITHMS[algorithm].defaults, **from_recipe, **flags}
    for name, example in (("model", "Qwen/Qwen3-4B"), ("data", "math-train")):
        if not values.get(name):
            raise UserError(f"{flag(name)} is missing; give one, such as {example}, or a --recipe")
    settings = TrainSettings(algorithm=algorithm, **values)
    if "save_every" not in values:
        settings = replace(settings, save_every=-(-settings.save_every // settings.window) * settings.window)
    if recipe in shipped_recipes() and "model" not in flags:
        settings = replace(settings, model=_shipped_model(settings.model))
    check_settings(settings, frozenset(flags))
    return settings


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with prerl."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def read_recipe(name_or_path: str, algorithm: str) -> dict[str, Any]:
    """What a recipe sets for an algorithm, types checked.

    Raises UserError naming the file, the key and what is allowed.
    """
    file = RECIPES / f"{name_or_path}.toml" if name_or_path in shipped_recipes() else Path(name_or_path)
    if not file.is_file():
        raise UserError(
            f"--recipe {name_or_path} is neither a TOML file nor one of: {', '.join(shipped_recipes())}"
        )
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}") from error
    tables = {key: content.pop(key) for key in list(content) if isinstance(content[key], dict)}
    own: dict[str, Any] = {}
    for name, table in tables.items():
        if name not in ALGORITHMS:
            raise UserError(f"{file}: unknown table [{name}]{_allowed(name, ALGORITHMS)}")
        checked = _checked(table, name, file)
        own = checked if name == algorithm else own
    return _checked(content, algorithm, file) | own


def _checked(values: Mapping[str, Any], algorithm: str, file: Path) -> dict[str, Any]:
    """Keys and types of a recipe's table; lists become tuples and paths become Path."""
    checked = {}
    for key, value in values.items():
        if key not in KEYS:
            raise UserError(f"{file}: unknown key {key!r}{_allowed(key, KEYS)}")
        _check_applies(algorithm, key, f"{file}: {key}")
        fits, expected = _fits(value, value_type(key))
        if not fits:
            raise UserError(f"{file}: {key} = {value!r} should be {expected}")
        checked[key] = _converted(value, value_type(key))
    return checked


def _fits(value: Any, wanted: Any) -> tuple[bool, str]:
    """Whether a TOML value is of a type of settings.value_type, and what that type is called."""
    if get_origin(wanted) is Literal:
        return value in get_args(wanted), f"one of: {', '.join(get_args(wanted))}"
    if get_origin(wanted) is tuple:
        return isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of strings"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {
        str: (isinstance(value, str), "a string"),
        Path: (isinstance(value, str), "a string"),
        bool: (isinstance(value, bool), "true or false"),
        int: (number and isinstance(value, int), "a whole number"),
        float: (number, "a number"),
    }[wanted]


def _converted(value: Any, wanted: Any) -> Any:
    if get_origin(wanted) is tuple:
        return tuple(value)
    return wanted(value) if wanted in (Path, float) else value


def _check_applies(algorithm: str, option: str, named: str) -> None:
    users = users_of(option)
    if algorithm not in users:
        raise UserError(f"{named} means nothing to {algorithm}, leave it out; it is for {', '.join(users)}")


def _allowed(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"{f' (did you mean {close[0]!r}?)' if close else ''}; allowed: {', '.join(known)}"


def _shipped_model(ref: str) -> str:
    """The repository's base model of a shipped recipe, from the current folder or the source checkout."""
    if not ref.startswith("results/"):
        return ref
    for folder in (Path(), Path(__file__).resolve().parent.parent):
        if (folder / ref).is_dir():
            return str(folder / ref)
    raise UserError(
        f"{ref} is not here (it is in prerl's repository, not in the package); make one with "
        f"prerl-train base --out {ref}, or give --model"
    )
