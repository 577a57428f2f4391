"""Scores by task, for a set that is made of several: the tasks of BBH, the subjects of MMLU-Pro.

Covers a set whose card names a column `task` in its `fields`. Does not cover sets of a run together:
those stand in a row each.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from prerl_eval.layout import percent
from prerl_eval.metrics import mean_and_se
from prerl_eval.store import read_samples
from prerl_eval.tally import Tally

VARIANT = re.compile(r"_(three|five|seven)_objects$")
"""What tells apart the variants of one BBH task: its 27 configurations are 23 tasks (arXiv 2210.09261)."""


def task_scores(run: Path, tally: Tally, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Avg of every task and their unweighted means; {} where the set has no tasks or no scored row.

    plan: the benchmark's entry in run.json. Fractions of 1:

        tasks           task -> mean over its problems of their mean
        macro, macro_se mean over tasks, each weighing the same; its error from the tasks' own errors
                        (the tasks are fixed, their problems a sample), None where a task has one problem
        macro_merged    the same mean with the variants of a task (VARIANT) averaged first
    """
    if "task" not in plan.get("fields", {}) or not len(tally.samples):
        return {}
    task_of = _tasks(run, tally.benchmark)
    means: dict[str, list[float]] = defaultdict(list)
    for problem, mean in zip(tally.problem_ids, tally.correct / tally.samples, strict=True):
        means[task_of.get(problem, "")].append(float(mean))
    known = {task: mean_and_se(values) for task, values in sorted(means.items()) if task}
    if not known:
        return {}
    families: dict[str, list[float]] = defaultdict(list)
    for task, (avg, _) in known.items():
        families[VARIANT.sub("", task)].append(avg)
    error = math.sqrt(sum(se**2 for _, se in known.values())) / len(known)
    return {
        "tasks": {task: avg for task, (avg, _) in known.items()},
        "macro": float(np.mean([avg for avg, _ in known.values()])),
        "macro_se": None if math.isnan(error) else error,
        "macro_merged": float(np.mean([np.mean(avgs) for avgs in families.values()])),
    }


def macro_note(numbers: Mapping[str, Any]) -> str:
    """The line of a summary's table that gives the mean over tasks."""
    families = len({VARIANT.sub("", task) for task in numbers["tasks"]})
    merged = f", {percent(numbers['macro_merged'])} over {families} with object variants as one"
    return (
        f"macro {percent(numbers['macro'])} over {len(numbers['tasks'])} tasks"
        f"{merged if families < len(numbers['tasks']) else ''}"
    )


def _tasks(run: Path, benchmark: str) -> dict[str, str]:
    """problem id -> task, as the rows' facts have it."""
    table = read_samples(run, ["benchmark", "problem_id", "extra"])
    rows = table.filter(pc.equal(table["benchmark"], benchmark)).group_by(["problem_id", "extra"])
    return {
        row["problem_id"]: str(json.loads(row["extra"] or "{}").get("task") or "")
        for row in rows.aggregate([]).to_pylist()
    }
