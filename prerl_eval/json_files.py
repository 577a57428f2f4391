"""Reading a JSON object from a file that a user handed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prerl_eval.errors import UserError


def read_json(file: Path, missing_ok: bool = False) -> dict[str, Any]:
    """The object in `file`; {} where it may be missing and is.

    Raises UserError where it is missing, is not JSON or holds something else than an object.
    """
    if missing_ok and not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not readable JSON ({error}); copy or save it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds {type(content).__name__}, not a JSON object; copy or save it again")
    return content
