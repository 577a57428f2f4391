"""The start token: the one token that stands before y in P(y), where the prompt is erased.

One rule for training in P(y), which erases prompts with it, and for scoring responses without their
prompts (prerl_eval.scoring): both speak of the same P(y).
"""

from __future__ import annotations

from typing import Any

from prerl_eval.errors import UserError

CHAT_START = "<|im_start|>"
"""What opens every turn in ChatML vocabularies: the start token of the paper's Qwen3 runs (151644)."""


def start_token_id(tokenizer: Any, config: Any, override: str | int | None = None) -> int:
    """Id of the one token that stands before y in P(y).

    `override` (a token or an id) wins; else ChatML's turn start where the tokenizer names no start
    token of its own; else the tokenizer's start token; else the config's, unless that ends or pads.
    tokenizer, config: of transformers. Raises UserError where none of these makes sense.
    """
    if override is not None:
        return _chosen(tokenizer, override)
    if tokenizer.bos_token_id is None and CHAT_START in tokenizer.get_added_vocab():
        return int(tokenizer.convert_tokens_to_ids(CHAT_START))
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    bos = getattr(config.get_text_config(), "bos_token_id", None)
    if isinstance(bos, int) and bos not in _ends(tokenizer, config):
        return bos
    raise UserError(
        f"{tokenizer.name_or_path or 'this tokenizer'} has no start token to stand before y in P(y); "
        "name one with --start-token TOKEN"
    )


def _chosen(tokenizer: Any, override: str | int) -> int:
    size = len(tokenizer)
    if isinstance(override, str) and not override.isdecimal():
        number = tokenizer.convert_tokens_to_ids(override)
        if number is None or (number == tokenizer.unk_token_id and override != tokenizer.unk_token):
            raise UserError(f"--start-token {override} is no token of this vocabulary; give one, or its id")
        return int(number)
    number = int(override)
    if not 0 <= number < size:
        raise UserError(
            f"--start-token {number} is outside the vocabulary of {size} tokens; give 0-{size - 1}"
        )
    return number


def _ends(tokenizer: Any, config: Any) -> set[int | None]:
    eos = getattr(config.get_text_config(), "eos_token_id", None)
    listed = set(eos) if isinstance(eos, (list, tuple)) else {eos}
    return {*listed, tokenizer.eos_token_id, tokenizer.pad_token_id}
