"""Which fields of a row that some other tool wrote hold the response, its prompt, problem, tokens and step.

Covers names that lm-eval (`samples_*.jsonl`), TRL (completions), verl (rollout dumps), servers of the
OpenAI kind and common evaluation scripts use, nested lists and chat messages among the values. Does not
read files (prerl_eval.generations).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prerl_eval.errors import UserError
from prerl_eval.generations import field_names, find, finish_reasons
from prerl_eval.grading.math import CUT_OFF

# Where several are there, the first of the list is taken: the special before the general.
TEXTS = (
    "resps",
    "choices.message.content",
    "choices.text",
    "completion",
    "completions",
    "response",
    "responses",
    "generated_responses",
    "generated_text",
    "generation",
    "generations",
    "model_output",
    "output",
    "outputs",
    "code",
    "text",
)
PROMPTS = ("prompt", "arguments", "question", "problem", "input", "query", "instruction", "doc", "messages")
IDS = ("problem_id", "doc_id", "question_id", "unique_id", "task_id")
NUMBERS = ("id", "uid", "idx", "index")
"""May number rows instead of problems, so a prompt's text is trusted before them."""
TOKENS = ("tokens", "completion_tokens", "num_tokens", "usage.completion_tokens")
STEPS = ("step", "global_step")


@dataclass(frozen=True)
class Fields:
    """Dotted paths into the rows of one file; None where the rows do not say.

    problem: identifies the problem, else the prompt's text does, else each row is one of its own.
    """

    text: str
    prompt: str | None
    problem: str | None
    tokens: str | None
    step: str | None

    def columns(self) -> list[str]:
        """The top-level fields that are read."""
        paths = [self.text, self.prompt, self.problem, self.tokens, self.step, "finish_reason"]
        return list(dict.fromkeys(name for path in paths if path for name in (path, path.partition(".")[0])))


def find_fields(
    row: Mapping[str, Any],
    where: str,
    text: str | None = None,
    prompt: str | None = None,
    problem: str | None = None,
) -> Fields:
    """The fields of a file by its first row. text, prompt, problem: named by the user, else found.

    where: the row's place, for messages. Raises UserError where no field holds text (naming those there
    are), or where a named one is absent.
    """
    for option, name in (("--text-field", text), ("--prompt-field", prompt), ("--problem-field", problem)):
        if name is not None and find(row, name) is None:
            what = f"field {name!r} is null" if name in field_names(row) else f"no field {name!r}"
            raise UserError(f"{where}: {what} ({option}); it has: {_names(row)}")
    found = text or next((name for name in TEXTS if texts_of(find(row, name))), None)
    if found is None:
        empty = ", ".join(repr(name) for name in TEXTS if name in field_names(row))
        what = f"{empty} without text, and no other" if empty else "no"
        raise UserError(
            f"{where}: {what} field that holds a response is known; name it with --text-field; "
            f"it has: {_names(row)}"
        )
    others = [name for name in PROMPTS if name != found.partition(".")[0]]
    prompt = prompt or next((name for name in others if prompt_of(find(row, name))), None)
    known = IDS if prompt else (*IDS, *NUMBERS)
    return Fields(
        found,
        prompt,
        problem or next((name for name in known if isinstance(find(row, name), str | int)), None),
        next((name for name in TOKENS if _is_count(find(row, name))), None),
        next((name for name in STEPS if _is_count(row.get(name))), None),
    )


def read_texts(row: Mapping[str, Any], fields: Fields, where: str) -> list[str]:
    """The responses of a row: one, or several where the field holds a list.

    Raises UserError for a row without the field, with null, or with something that is no text.
    """
    value = find(row, fields.text)
    if value is None:
        what = "is null" if fields.text in field_names(row) else f"is missing; it has: {_names(row)}"
        raise UserError(f"{where}: field {fields.text!r} {what}; drop the row, or name another --text-field")
    texts = texts_of(value)
    if not texts:
        raise UserError(
            f"{where}: field {fields.text!r} holds {type(value).__name__} without text; name a field of text "
            "(or of a list of texts or of chat messages) with --text-field"
        )
    return texts


def read_ends(row: Mapping[str, Any], fields: Fields, count: int) -> list[str]:
    """Finish reasons of a row's responses: "length" where cut, "" where the row does not say."""
    reasons = finish_reasons(row, fields.text, count)
    return ["length" if reason.lower() in CUT_OFF else reason for reason in reasons]


def read_tokens(row: Mapping[str, Any], fields: Fields, count: int) -> list[int | None]:
    """Token counts of a row's responses; None where the row does not say."""
    value = find(row, fields.tokens) if fields.tokens else None
    values = value if isinstance(value, list) else [value]
    if len(values) != count:
        return [None] * count
    return [number if _is_count(number) and number else None for number in values]


def problem_of(row: Mapping[str, Any], fields: Fields, prompt: str) -> str | None:
    """What identifies the row's problem: its id, else a digest of the prompt, else None."""
    value = find(row, fields.problem) if fields.problem else None
    if value is not None:
        return str(value)
    return hashlib.blake2b(prompt.encode("utf-8", "replace"), digest_size=8).hexdigest() if prompt else None


def texts_of(value: Any) -> list[str] | None:
    """The texts in a value: a text, lists of them at any depth, or chat messages (the assistant's, joined).

    None where something else is in it.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        text = _content(value)
        return None if text is None else [text]
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, Mapping) and "role" in item for item in value):
        answers = [_content(item) for item in value if item["role"] == "assistant"]
        return ["\n\n".join(text for text in answers if text)] if answers else None
    inner = [texts_of(item) for item in value]
    if not all(inner):
        return None
    return [text for texts in inner for text in texts or ()]


def prompt_of(value: Any) -> str:
    """All text in a value, however nested, joined by line breaks: "" where there is none.

    The assistant's messages are answers and left out. Other roles' names, and settings beside a prompt,
    are short words that do no harm.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = [] if value.get("role") == "assistant" else list(value.values())
    if isinstance(value, list):
        return "\n".join(text for item in value if (text := prompt_of(item)))
    return ""


def _content(message: Mapping[str, Any]) -> str | None:
    content = message.get("content", message.get("text"))
    if isinstance(content, list):  # parts of one message
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def _is_count(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_count(item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(field_names(row)) or "no field"
