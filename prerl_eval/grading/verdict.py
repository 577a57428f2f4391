"""What a grader says of one completion: a status, never a bare bool.

Covers the shared noun `Verdict` and its statuses. A failure of the grader (timeout, error) is
told apart from a wrong answer, and a completion cut off before it answered from one that
finished without an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["correct", "wrong", "unparsed", "truncated", "timeout", "error", "unscored"]

STATUSES: tuple[Status, ...] = ("correct", "wrong", "unparsed", "truncated", "timeout", "error")
"""The six statuses that count; `correct + wrong + ... + error = scored rows`."""

UNSCORED: Status = "unscored"
"""The gold is bad (empty, unreadable): the row stands outside every rate."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The grade of one completion.

    status: one of `STATUSES`, or `UNSCORED`.
    answer: the extracted final answer as written, "" where none was found.
    answer_class: key of the equivalence class that maj@k votes over, "" where there is no answer.
        All correct answers of a problem share one key; wrong answers share a key when they are
        the same after normalisation.
    detail: the cause of a timeout, error or unscored row, in a few words; "" otherwise.
    """

    status: Status
    answer: str = ""
    answer_class: str = ""
    detail: str = ""

    @property
    def reward(self) -> float:
        """1.0 exactly where the status is `correct`, else 0.0 (the training reward)."""
        return 1.0 if self.status == "correct" else 0.0
