"""A training run's rollouts in numbers, step by step: what `prerl-eval summary` shows of one.

Covers windows of steps, each with the rollouts of its own policies. Does not cover one step by itself
(prerl_eval.summary with a step), evaluations during training (runs of their own) or what the updates
did (the run's metrics.jsonl).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prerl_eval.layout import WIDTH, percent, shorten
from prerl_eval.metrics import interval
from prerl_eval.tally import Tally, Window, tally_windows

WINDOWS = 10
"""Rows of the table; a longer run has wider windows."""

LEGEND = (
    "P×n: problems sampled at these steps, and samples of each. all right, none right: share of the "
    "problems. These are training problems, sampled while the policy changes: not a benchmark's score."
)


def summarize_training(run: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of a training run by windows of steps, JSON-able: {data set: {max_tokens, graders, windows}}.

    record: its run.json. Rates are fractions of 1; a number that cannot be known is None. Each window:

        steps                     [first, last]
        problems, samples, n      problems at a step, counted at each; scored rows; fewest per problem
        avg, avg_ci               mean over problems of their mean; 95% [lo, hi] over problems
        all_right, none_right     share of the problems whose samples were all, or none, correct
        statuses, unscored        counts, as in prerl_eval.summary
        unparsed, truncated       rates: no answer found; cut at the token limit, whatever the verdict
        mean_tokens               completion tokens per sample

    Raises UserError as `tally_windows` does.
    """
    plans = record.get("benchmarks", {})
    return {
        name: {
            "max_tokens": plans.get(name, {}).get("max_tokens"),
            "graders": sorted({grader for window in windows for grader in window.tally.graders}),
            "tokens_per_second": None,
            "windows": [_numbers(window) for window in windows],
        }
        for name, windows in tally_windows(run, WINDOWS).items()
    }


def _numbers(window: Window) -> dict[str, Any]:
    tally = window.tally
    scored = int(tally.samples.sum())
    return {
        "steps": [window.first, window.last],
        "problems": len(tally.problem_ids),
        "samples": scored,
        "n": tally.n,
        **(_scores(tally) if scored else dict.fromkeys(("avg", "avg_ci", "all_right", "none_right"))),
        "statuses": tally.statuses,
        "unscored": tally.unscored,
        "unparsed": tally.statuses["unparsed"] / scored if scored else None,
        "truncated": tally.cut / tally.known_finish if tally.known_finish else None,
        "mean_tokens": tally.tokens / scored if tally.tokens is not None else None,
    }


def _scores(tally: Tally) -> dict[str, Any]:
    means = tally.correct / tally.samples
    low, high = interval(means)
    return {
        "avg": float(means.mean()),
        "avg_ci": [float(low), float(high)],
        "all_right": float((tally.correct == tally.samples).mean()),
        "none_right": float((tally.correct == 0).mean()),
    }


def window_columns() -> list[tuple[str, int, Any]]:
    """(title, width, cell) of the columns of a table with a row per window."""
    return [
        ("steps", 9, lambda row: "–".join(map(str, dict.fromkeys(row["steps"])))),
        ("P×n", 8, lambda row: f"{row['problems']}×{row['n']}"),
        ("Avg@n", 5, lambda row: percent(row["avg"])),
        ("95%", 10, lambda row: "–".join(map(percent, row["avg_ci"])) if row["avg_ci"] else "–"),
        ("all right", 9, lambda row: percent(row["all_right"])),
        ("none right", 10, lambda row: percent(row["none_right"])),
        ("cut", 5, lambda row: percent(row["truncated"])),
        ("unparsed", 8, lambda row: percent(row["unparsed"])),
        ("tokens", 6, lambda row: "–" if row["mean_tokens"] is None else f"{row['mean_tokens']:.0f}"),
    ]


def render_training(numbers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of a table for what `summarize_training` returned: a row per window."""
    columns = window_columns()
    lines = []
    for name, entry in numbers.items():
        lines.append(f"  {shorten(name, WIDTH - 2)}")
        lines.append("  " + "".join(f"  {title:>{width}}" for title, width, _ in columns))
        for row in entry["windows"]:
            lines.append("  " + "".join(f"  {cell(row):>{width}}" for _, width, cell in columns))
    return lines
