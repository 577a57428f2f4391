"""From a graded completion to its sample row: the one place that fills the store's columns."""

from __future__ import annotations

import json
from collections.abc import Sequence

from prerl_eval.grading import Verdict, grader_version, stored_facts
from prerl_eval.problems import Problem
from prerl_eval.store import SampleRow


def graded_row(
    run_id: str,
    problem: Problem,
    verdict: Verdict,
    *,
    sample_index: int,
    prompt: str,
    completion: str,
    finish_reason: str,
    token_ids: Sequence[int] | None = None,
    tokens: int = 0,
    opens_thinking: bool = False,
    seed: int = 0,
    seconds: float = 0.0,
    step: int = 0,
) -> SampleRow:
    """The row of one completion; see `SampleRow` for the columns.

    tokens 0, token_ids None and finish_reason "" stand for "not known", as in imported generations.
    """
    return SampleRow(
        run_id=run_id,
        benchmark=problem.benchmark,
        problem_id=problem.problem_id,
        sample_index=sample_index,
        step=step,
        prompt=prompt,
        completion=completion,
        token_ids=token_ids,
        tokens=tokens,
        finish_reason=finish_reason,
        opens_thinking=opens_thinking,
        status=verdict.status,
        answer=verdict.answer,
        answer_class=verdict.answer_class,
        gold=problem.gold,
        extra=json.dumps(stored_facts(problem), ensure_ascii=False, sort_keys=True),
        grader=grader_version(problem),
        detail=verdict.detail,
        seed=seed,
        seconds=seconds,
    )
