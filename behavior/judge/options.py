"""The options of `prerl-behavior judge`, and what follows: server, name and settings of the annotation."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behavior.judge.chunks import CHUNK_CHARS, OVERLAP_CHARS
from behavior.judge.client import ServerOptions
from behavior.judge.prompt import PROMPT_VERSION, prompt_hash
from behavior.judge.schema import SCHEMA_VERSION
from prerl_eval.errors import UserError

OPENAI_URL = "https://api.openai.com/v1"

FEWEST_CHUNK_CHARS = 2 * OVERLAP_CHARS


@dataclass(frozen=True)
class JudgeOptions:
    """The flags of the command, under their names there."""

    runs: Sequence[Path]
    model: str
    base_url: str | None = None
    price_in: float | None = None
    price_out: float | None = None
    max_cost: float | None = None
    limit: int | None = None
    step: int | None = None
    repeat: int = 1
    name: str | None = None
    temperature: float = 0.0
    max_output: int = 4096
    chunk_chars: int = CHUNK_CHARS
    concurrency: int = 16
    rpm: float | None = None
    timeout: float = 600.0
    canaries: bool = True
    again: bool = False

    @property
    def url(self) -> str:
        """The server's address: the option, else OPENAI_BASE_URL, else OpenAI's."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")

    @property
    def annotation(self) -> str:
        """judge-<model>, with -rN for the N-th repeat (N > 1): letters, digits, dots and dashes."""
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", self.model).strip("-.")[:80]
        return self.name or f"judge-{slug}" + (f"-r{self.repeat}" if self.repeat > 1 else "")

    @property
    def settings(self) -> dict[str, Any]:
        """What makes a judgement what it is: part of every key; a change under one name is refused."""
        return {
            "model": self.model,
            "base_url": self.url,
            "prompt": PROMPT_VERSION,
            "prompt_hash": prompt_hash(),
            "schema_version": SCHEMA_VERSION,
            "temperature": self.temperature,
            "chunk_chars": self.chunk_chars,
            "repeat": self.repeat,
        }


def check_options(options: JudgeOptions) -> None:
    """Raise UserError for what no sitting could work with, but for prices (budget.py) and the server."""
    if not options.model.strip():
        raise UserError("--model is empty; give the name under which the server knows the judge")
    if options.chunk_chars < FEWEST_CHUNK_CHARS:
        raise UserError(
            f"--chunk-chars {options.chunk_chars} is too short; give {FEWEST_CHUNK_CHARS} or more"
        )
    seen: set[Path] = set()
    for run in options.runs:
        if run.resolve() in seen:
            raise UserError(f"{run} is given twice; give each run once")
        seen.add(run.resolve())


def server_options(options: JudgeOptions) -> ServerOptions:
    """The server to talk to. Raises UserError without a key for OpenAI's own; others may need none."""
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key and options.url == OPENAI_URL:
        raise UserError(
            f"no API key for {OPENAI_URL}; set OPENAI_API_KEY, or give --base-url of another server"
        )
    return ServerOptions(
        url=options.url,
        key=key or "none",
        model=options.model,
        temperature=options.temperature,
        max_output=options.max_output,
        timeout=options.timeout,
        rpm=options.rpm,
    )
