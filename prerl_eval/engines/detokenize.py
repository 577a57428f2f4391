"""Sampled ids to completion text, and where a completion ends; shared by engines that decode themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from prerl_eval.engines.base import Sampling

CONTEXT = 6
"""Prompt tokens decoded with a completion: tokenizers drop a space at the start of a text."""


class Detokenizer:
    """Text of completions by a tokenizer of transformers.

    Special tokens stay in the text (thinking tags are special tokens in some vocabularies), except
    the stop token at the end.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._context = lru_cache(maxsize=64)(self._decode)

    def text(self, prompt: Sequence[int], tokens: Sequence[int], sampling: Sampling) -> str:
        """The completion's text: without the stop token or stop string that ended it."""
        if tokens and tokens[-1] in sampling.stop_token_ids:
            tokens = tokens[:-1]
        context = tuple(prompt[-CONTEXT:])
        before, whole = self._context(context), self._decode((*context, *tokens))
        text = whole[len(before) :] if whole.startswith(before) else self._decode(tuple(tokens))
        found = [place for place in (text.find(stop) for stop in sampling.stop) if place >= 0]
        return text[: min(found)] if found else text

    def end(self, tokens: Sequence[int], checked: int, sampling: Sampling) -> int | None:
        """Length of the completion if a stop id or stop string ended it after `checked` tokens, else None."""
        stop_ids = set(sampling.stop_token_ids)
        end = next((i + 1 for i in range(checked, len(tokens)) if tokens[i] in stop_ids), None)
        if not sampling.stop:
            return end
        # A token is at least a byte and a character at most four, so a stop string starts within:
        reach = 4 * max(map(len, sampling.stop)) + 1
        upto = len(tokens) if end is None else end - 1
        if self._has_stop(tokens[max(0, checked - reach) : upto], sampling):
            for count in range(checked + 1, upto + 1):
                if self._has_stop(tokens[max(0, count - reach) : count], sampling):
                    return count
        return end

    def _has_stop(self, tokens: Sequence[int], sampling: Sampling) -> bool:
        text = self._decode(tuple(tokens))
        return any(stop in text for stop in sampling.stop)

    def _decode(self, tokens: tuple[int, ...]) -> str:
        return str(
            self._tokenizer.decode(
                list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )
