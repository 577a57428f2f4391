"""What an audit of contamination found: its stored rows as figures, and as text.

Covers means over problems with their intervals. Does not cover how the rows were made
(prerl_eval.contamination) or the comparison of two texts (prerl_eval.overlap).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from prerl_eval import store
from prerl_eval.layout import percent, wrapped
from prerl_eval.metrics import interval
from prerl_eval.overlap import repeats, rouge_l, words_of
from prerl_eval.plan import BenchmarkPlan, RunPlan
from prerl_eval.problems import Problem
from prerl_eval.tally import tally_run

LONG = 10
"""Words from which a rest is hardly guessed by chance ("Find the value of x." is)."""

REST = "rest"
"""Name, among a row's facts, of what the model should have written."""


def measure_audit(
    plan: RunPlan, part: BenchmarkPlan, name: str, scored: Path | None, *, skipped: int = 0
) -> dict[str, Any]:
    """The figures of one checkpoint on one benchmark, from the stored rows of its audit, JSON-able.

    name: the benchmark's own name (part.card's says where its problems were cut). scored: a run on the
    same problems, whose Avg is given for those that were completed and the others. skipped: problems
    that could not be cut. Means are over problems, with 95% intervals; rates are fractions of 1:

        exact          the continuation begins with the whole rest
        exact_of_long  the same over rests of LONG words or more
        rouge_l        ROUGE-L of the rest
        answer_right   the continuation's final answer is right; None where nothing is graded
        cut_short      count: cut at the token limit before it was as long as the rest
        completed      ids of the problems that were completed exactly
        scores         {run, completed, others}: Avg of `scored`; None without it
    """
    columns = ["benchmark", "problem_id", "completion", "finish_reason", "status", "extra"]
    rows = {
        row["problem_id"]: (row, json.loads(row["extra"])[REST])
        for row in store.read_samples(plan.out, columns).to_pylist()
        if row["benchmark"] == part.card.name
    }
    found = [rows[problem.problem_id] for problem in part.problems]
    exact = np.asarray([repeats(rest, row["completion"]) for row, rest in found], dtype=np.float64)
    lengths = np.asarray([len(rest.split()) for _, rest in found])
    right = [row["status"] == "correct" for row, _ in found if row["status"] != "unscored"]
    completed = [p.problem_id for p, done in zip(part.problems, exact, strict=True) if done]
    return {
        "benchmark": name,
        "checkpoint": plan.checkpoint.name,
        "run": str(plan.out),
        "prefix": plan.settings["prefix"],
        "max_tokens": part.max_tokens,
        "skipped": skipped,
        "exact": _mean(exact),
        "exact_of_long": _mean(exact[lengths >= LONG]),
        "rouge_l": _mean([rouge_l(rest, row["completion"]) for row, rest in found]),
        "answer_right": _mean(right),
        "median_words": float(np.median(lengths)),
        "cut_short": sum(
            row["finish_reason"] == "length" and len(words_of(row["completion"])) < len(words_of(rest))
            for row, rest in found
        ),
        "completed": completed,
        "scores": None if scored is None else _scores(scored, name, completed, part.problems),
    }


def _mean(values: ArrayLike) -> dict[str, Any] | None:
    """Mean over problems and its 95% interval; None where there are none."""
    values_p = np.asarray(values, dtype=np.float64)
    if not values_p.size:
        return None
    low, high = interval(values_p)
    return {"problems": values_p.size, "value": float(values_p.mean()), "ci": [float(low), float(high)]}


def _scores(run: Path, name: str, completed: Sequence[str], asked: Sequence[Problem]) -> dict[str, Any]:
    """Avg of the run on the problems that were completed exactly, and on the others that were audited."""
    tally = tally_run(run)[name]
    means = dict(zip(tally.problem_ids, (tally.correct / tally.samples).tolist(), strict=True))
    known = {problem.problem_id for problem in asked} & means.keys()
    by_heart = known & set(completed)
    return {
        "run": str(run),
        "completed": _mean([means[key] for key in sorted(by_heart)]),
        "others": _mean([means[key] for key in sorted(known - by_heart)]),
    }


def render_audit(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The facts of `audit` as lines of text."""
    lines: list[str] = []
    for entry in facts:
        exact, long = entry["exact"], entry["exact_of_long"]
        lines += [
            f"{entry['benchmark']}, {entry['checkpoint']}: {exact['problems']:,} problems, first "
            f"{entry['prefix']:.0%} of the words given, greedy; {entry['run']}",
            f"  rest completed exactly   {_shown(exact)}",
            f"  of {long['problems'] if long else 0:,} long rests".ljust(27) + _shown(long),
            f"  ROUGE-L of the rest      {_shown(entry['rouge_l'])}",
            f"  right final answer       {_shown(entry['answer_right'])}",
        ]
        if entry["scores"]:
            scores = entry["scores"]
            lines.append(
                f"  Avg of {scores['run']}: {_shown(scores['completed'])} on the completed problems, "
                f"{_shown(scores['others'])} on the others"
            )
        lines += [f"  note: {note}" for note in _notes(entry)]
    return [part for line in lines for part in (wrapped(line, "") if line[0] != " " else [line])]


def _shown(mean: Mapping[str, Any] | None) -> str:
    if mean is None:
        return "–"
    low, high = map(percent, mean["ci"])
    return f"{percent(mean['value'])}% [{low}, {high}]"


def _notes(entry: Mapping[str, Any]) -> list[str]:
    notes = []
    if entry["cut_short"]:
        notes.append(
            f"{entry['cut_short']:,} continuations were cut at {entry['max_tokens']:,} tokens before they "
            "were as long as the rest: they count as not completed"
        )
    if entry["skipped"]:
        notes.append(f"{entry['skipped']:,} problems of a single word were left out")
    if entry["answer_right"] is None:
        notes.append("final answers are judged on sets of mathematics only")
    return notes
