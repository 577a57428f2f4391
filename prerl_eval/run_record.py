"""run.json: how the numbers of a run were made, and whether a folder holds a run at all.

Covers reading, replacing and comparing it. Does not cover what the commands put into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prerl_eval.durable import replace_json
from prerl_eval.errors import UserError

SCHEMA_VERSION = 1
"""Of run.json and of the sample rows beside it."""


def read_record(run: Path) -> dict[str, Any]:
    """The run.json of a run. Raises UserError where the folder is no run."""
    path = run / "run.json"
    if not path.is_file():
        raise UserError(
            f"{run} is not a prerl run (no run.json in it); give a folder that `prerl-eval run` wrote"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); restore it or start a new --out folder") from error
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise UserError(f"{path} is no record of a prerl run; restore it or start a new --out folder")
    if record["schema"] > SCHEMA_VERSION:
        raise UserError(
            f"{run} was written by a newer prerl (schema {record['schema']}, "
            f"this one reads {SCHEMA_VERSION}); update prerl"
        )
    if not all(isinstance(record.get(key), dict) for key in ("settings", "benchmarks")):
        raise UserError(f"{path} lacks settings or benchmarks; restore it or start a new --out folder")
    return record


def write_record(run: Path, record: Mapping[str, Any]) -> None:
    """Replace run.json atomically."""
    replace_json(run / "run.json", record)


def holds_other_files(out: Path) -> bool:
    """Whether a folder without a run.json holds more than what a start that was killed leaves there."""
    left = {"lock", ".run.json.tmp"}
    return out.is_dir() and any(path.name not in left for path in out.iterdir())


def differing_keys(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Settings that differ, each as "key: stored -> wanted"."""
    keys = sorted(set(stored) | set(wanted))
    return [
        f"{key}: {stored.get(key)!r} -> {wanted.get(key)!r}"
        for key in keys
        if stored.get(key) != wanted.get(key)
    ]
