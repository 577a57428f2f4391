"""How a run was made, in words and as a list of terms: what stands below the figures of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prerl_eval.layout import shorten
from prerl_eval.report.sources import Source

PROMPT = 2000
"""Characters of a first prompt that are shown."""


@dataclass(frozen=True)
class Settings:
    """One run: its settings in a sentence, then (term, value) pairs, then the first prompt per benchmark."""

    name: str
    made: str
    terms: tuple[tuple[str, str], ...]
    prompts: tuple[tuple[str, str], ...]


def settings_of(source: Source, made: str) -> Settings:
    """What run.json says of a run; what it does not say is left out."""
    record = source.record
    checkpoint = record.get("checkpoint") or {}
    sessions = record.get("sessions") or [{}]
    terms = [
        ("run", str(source.path)),
        ("run id", record.get("run_id")),
        ("step", source.step),
        ("checkpoint", checkpoint.get("ref") or checkpoint.get("name")),
        ("weights", shorten(str(checkpoint.get("fingerprint") or ""), 16)),
        ("imported from", record["settings"].get("file")),
        ("created", record.get("created")),
        ("versions", _versions(sessions)),
        ("code", sessions[-1].get("revision")),
        *((f"card {name}", _card(card)) for name, card in record["benchmarks"].items()),
        *(("note", note) for note in record.get("notes") or []),
    ]
    prompts = [
        (name, shorten(str(first["text"]), PROMPT))
        for name, card in record["benchmarks"].items()
        if (first := card.get("prompt_of_sample_0") or {}).get("text")
    ]
    stated = [(term, str(value)) for term, value in terms if value not in (None, "")]
    return Settings(source.name, made, tuple(stated), tuple(prompts))


def _versions(sessions: list[dict[str, Any]]) -> str:
    """Package versions over all sittings of a run: "torch 2.13.0, trl 1.16.0"."""
    found: dict[str, dict[str, None]] = {}
    for session in sessions:
        for package, version in (session.get("versions") or {}).items():
            found.setdefault(package, {})[version] = None
    return ", ".join(f"{package} {' and '.join(versions)}" for package, versions in found.items())


def _card(card: dict[str, Any]) -> str:
    stated = [
        f"{card['problems']:,} problems" if card.get("problems") else "",
        f"n = {card['n']}" if card.get("n") else "",
        f"at most {card['max_tokens']:,} tokens" if card.get("max_tokens") else "",
        f"graded as {card['grader']}" if card.get("grader") else "",
        f"hash {card['card_hash'][:8]}" if card.get("card_hash") else "",
    ]
    return ", ".join(part for part in stated if part)
