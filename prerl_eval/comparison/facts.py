"""Results of the statistics as JSON: plain numbers, None for what cannot be known."""

from __future__ import annotations

import math
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from prerl_eval.comparison.support import SupportChange


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, arrays as lists, NaN and infinities as None; all the way down."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def support_facts(change: SupportChange) -> dict[str, Any]:
    """Support without the names of the sides and the problems, which stand elsewhere in the JSON."""
    facts: dict[str, Any] = plain(change)
    for key in ("base", "other", "newly_solved", "newly_lost"):
        del facts[key]
    return facts
