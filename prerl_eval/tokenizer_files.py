"""What a checkpoint's tokenizer files say, read as JSON and without loading a tokenizer.

Covers the number of ids and the special tokens, which the checks of a checkpoint need before
anything heavy is imported. Does not tokenize (prerl_eval.prompts does, with transformers).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prerl_eval.errors import UserError
from prerl_eval.json_files import read_json

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt", "tekken.json")


@dataclass(frozen=True)
class TokenizerFiles:
    """folder: where the tokenizer is. ids: text of a token -> id, as far as the JSON files tell.

    special: role ("eos_token", "bos_token", ...) -> text. size: highest id + 1; None where only a
    binary vocabulary (sentencepiece, tiktoken) knows.
    """

    folder: Path
    size: int | None
    special: Mapping[str, str]
    ids: Mapping[str, int] = field(repr=False)

    def special_id(self, role: str) -> int | None:
        """The id of a special token such as "eos_token"; None where it has none."""
        return self.ids.get(self.special.get(role, ""))


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds a vocabulary of any kind."""
    return any((folder / name).is_file() for name in VOCABULARIES) or any(folder.glob("*.tiktoken"))


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Sizes and special tokens of the tokenizer in `folder`. Raises UserError for a broken file."""
    config = read_json(folder / "tokenizer_config.json", missing_ok=True)
    special_map = read_json(folder / "special_tokens_map.json", missing_ok=True)
    ids = _vocabulary(folder)
    known_size = bool(ids)
    try:
        for number, token in config.get("added_tokens_decoder", {}).items():
            ids.setdefault(_content(token), int(number))
        size = max(map(operator.index, ids.values())) + 1 if known_size else None
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"the tokenizer in {folder} has ids that are no numbers; copy or save it again"
        ) from error
    special = {
        role: _content(token)
        for role, token in {**special_map, **config}.items()
        if role.endswith("_token") and isinstance(token, (str, dict))
    }
    return TokenizerFiles(folder, size, special, ids)


def _vocabulary(folder: Path) -> dict[str, int]:
    if not (folder / "tokenizer.json").is_file():
        return dict(read_json(folder / "vocab.json", missing_ok=True))
    content = read_json(folder / "tokenizer.json")
    try:
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, dict):
            ids = dict(vocabulary)
        else:  # Unigram: pieces with scores, the id is the position
            ids = {piece: number for number, (piece, _score) in enumerate(vocabulary)}
        ids.update({token["content"]: token["id"] for token in content.get("added_tokens") or []})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'tokenizer.json'} is no tokenizer file; copy or save it again") from error
    return ids


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)
