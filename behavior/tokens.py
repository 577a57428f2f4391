"""Counting tokens of responses whose maker did not, with a tokenizer that the user names.

Covers `tokenizer.json` files (a checkpoint's folder, the file, or a hub id) without torch or transformers.
Does not cover vocabularies of other kinds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prerl_eval.errors import UserError


def token_counter(name: str) -> Callable[[str], int]:
    """A function from a text to its number of tokens, special tokens not added.

    name: folder with a tokenizer.json, such a file, or a hub id. Raises UserError where there is none.
    """
    tokenizer = _load(name)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _load(name: str) -> Any:
    from tokenizers import Tokenizer

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file() and path.exists():
        raise UserError(
            f"--tokenizer {name} has no tokenizer.json; save it as a fast tokenizer, or leave it out"
        )
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        with _quiet():
            return Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises bare Exception for any bad file
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"--tokenizer {name} cannot be read ({reason}); give a checkpoint's folder, a tokenizer.json "
            "or a hub id"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the retry notes of the hub client: the error says it all."""
    from huggingface_hub.utils import logging as hub_logging

    level = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)
