"""What a reply must be, and what a reply is: one of four statuses, findings where it is ok.

Covers a raw HTTP body of the chat completions API up to labels and quotes. Does not look for the
quotes in the trace (locate.py) or decide to ask again (client.py). A reply that cannot be read is
`invalid`, never "no findings".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1
PARSER_VERSION = 1
"""Raised when the same reply may be read differently: stored replies are then read again, none is bought."""

MAX_FINDINGS = 40
"""Per request. A list of this length may be incomplete, and is said to be."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "findings": {
            "type": "array",
            "maxItems": MAX_FINDINGS,
            "items": {
                "type": "object",
                "properties": {
                    "label": {
                        "type": "string",
                        "enum": ["subgoal_setting", "enumeration", "verification", "backtracking"],
                    },
                    "quote": {"type": "string"},
                },
                "required": ["label", "quote"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["findings"],
    "additionalProperties": False,
}
"""Within the keywords that OpenAI's strict mode and xgrammar both take; lengths of strings are not."""

RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "behaviors", "strict": True, "schema": SCHEMA},
}

_LABELS = frozenset(SCHEMA["properties"]["findings"]["items"]["properties"]["label"]["enum"])


@dataclass(frozen=True, slots=True)
class Finding:
    """One occurrence as the judge claims it: a label of the four, and words said to be in the trace."""

    label: str
    quote: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, read. status: ok, invalid, refused or truncated. findings: () unless ok.

    detail: why it is not ok, for people, at most 200 characters.
    """

    status: str
    findings: tuple[Finding, ...] = ()
    detail: str = ""

    @property
    def full(self) -> bool:
        """Whether the list reached its bound, so that more may have been there."""
        return len(self.findings) >= MAX_FINDINGS


def read_reply(body: str) -> Reply:
    """Read the raw body of a chat completion. Never raises: whatever is no such reply is `invalid`."""
    try:
        choice = json.loads(body)["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _invalid("no chat completion", body)
    if refusal or finish == "content_filter":
        return Reply("refused", detail=_short(str(refusal or "content filter")))
    if finish == "length":
        return Reply("truncated", detail=_short(f"cut at the token limit: {content}"))
    if not isinstance(content, str) or not content.strip():
        return _invalid("empty", "")
    try:
        return Reply("ok", _findings(json.loads(_unfenced(content))))
    except (ValueError, RecursionError) as error:
        return _invalid(f"not in the schema ({error})", content)


def usage(body: str) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) that the server says it bills; None where it does not say."""
    try:
        stated = json.loads(body)["usage"]
        counts = stated["prompt_tokens"], stated["completion_tokens"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if any(not isinstance(count, int) or isinstance(count, bool) or count < 0 for count in counts):
        return None
    return counts


def _findings(value: Any) -> tuple[Finding, ...]:
    """The findings of a parsed content. Raises ValueError where it is not exactly the schema."""
    if not isinstance(value, dict) or set(value) != {"findings"} or not isinstance(value["findings"], list):
        raise ValueError("not an object with a list of findings")
    found = []
    for entry in value["findings"]:
        if not isinstance(entry, dict) or set(entry) != {"label", "quote"}:
            raise ValueError("a finding without exactly label and quote")
        if not isinstance(entry["label"], str) or entry["label"] not in _LABELS:
            raise ValueError(f"the label {_short(str(entry['label']))!r}")
        if not isinstance(entry["quote"], str):
            raise ValueError("a quote that is no string")
        found.append(Finding(entry["label"], entry["quote"]))
    if len(found) > MAX_FINDINGS:
        raise ValueError(f"{len(found)} findings")
    return tuple(found)


def _unfenced(content: str) -> str:
    """The content without the one Markdown fence that chat models like to put around JSON."""
    text = content.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text.split("\n", 1)[1].removesuffix("```")
    return text


def _invalid(why: str, text: str) -> Reply:
    return Reply("invalid", detail=_short(f"{why}: {text}" if text else why))


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
