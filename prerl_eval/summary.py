"""From a run directory to its numbers, as a dictionary and as a table for people.

Covers which numbers are given and how they are shown; what they mean and where they fail is in
docs/statistics.md. Does not cover reading rows (prerl_eval.tally), estimators
(prerl_eval.metrics) or pictures (prerl_eval.plots).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prerl_eval.layout import WIDTH, percent, shorten, wrapped
from prerl_eval.metrics import interval, majority_at_k, majority_ks, mean_and_se, pass_curve
from prerl_eval.run_record import read_record
from prerl_eval.tally import Tally, tally_run
from prerl_eval.tasks import macro_note, task_scores
from prerl_eval.training_summary import LEGEND, render_training, summarize_training

VISIBLE = 0.0005
"""Half of the last printed digit (0.1 points): what grading failures must weigh to be printed."""

SCORES_LEGEND = (
    "Scores and rates in %. P×n: problems and samples of each. 95%: interval of Avg@n over problems. "
    "maj@n: vote over n answers. cut: stopped at the token limit. unparsed: ended without an answer."
)


def summarize(run: Path, step: int | None = None) -> dict[str, Any]:
    """All numbers of a run, JSON-able.

    step: which step of a training run; None where the run holds one only. Returns {run, run_id,
    step, made, benchmarks}; `made` says how the samples were drawn and graded. Rates and scores
    are fractions of 1; a number that cannot be known is None. Keys of benchmarks.<name>:

        problems, samples   with and of scored rows (`unscored`, a count, stand outside everything)
        n                   the fewest samples of any problem
        avg, avg_se, avg_ci mean over problems of their mean; error clustered by problem; 95% [lo, hi]
        pass, pass_ci       "k" -> unbiased Pass@k, its pointwise 95% [lo, hi], for every k <= n
        maj                 "k" -> maj@k, for powers of two and n
        statuses            counts of the six, adding up to `samples`
        unparsed, truncated rates: no answer found; cut at the token limit, whatever the verdict
        mean_tokens         completion tokens per sample
        tokens_per_second   sampled tokens over wall time of the engine, where run.json has it
        bounds              Avg [as it is, were all `failed` (timeouts and errors) correct],
                            and the same for `failed_or_unparsed`
        missing, complete   planned rows not stored yet; whether there are none
        samples_per_problem [fewest, most]
        graders, max_tokens who graded, and the limit that `truncated` is about
        tasks, macro, ...   of a set made of tasks: see prerl_eval.tasks.task_scores

    A training run without a step has no benchmarks; its `training` holds what
    prerl_eval.training_summary says of its rollouts. Raises UserError as `tally_run` does.
    """
    record = read_record(run)
    about = {"run": str(run), "run_id": record.get("run_id"), "step": step, "made": _made(record)}
    if record.get("kind") == "training" and step is None:
        return about | {"benchmarks": {}, "training": summarize_training(run, record)}
    tallies = tally_run(run, step)
    return about | {"benchmarks": {name: _numbers(run, tally, record) for name, tally in tallies.items()}}


def _numbers(run: Path, tally: Tally, record: Mapping[str, Any]) -> dict[str, Any]:
    scored = int(tally.samples.sum())
    plan = record.get("benchmarks", {}).get(tally.benchmark, {})
    return {
        "problems": len(tally.problem_ids),
        "samples": scored,
        "n": tally.n,
        **(_scores(tally) if scored else _no_scores()),
        "statuses": tally.statuses,
        "unscored": tally.unscored,
        "unparsed": tally.statuses["unparsed"] / scored if scored else None,
        "truncated": tally.cut / tally.known_finish if tally.known_finish else None,
        "mean_tokens": tally.tokens / scored if tally.tokens is not None else None,
        "tokens_per_second": _speed(record, tally.benchmark),
        "missing": tally.missing,
        "complete": tally.missing == 0,
        "samples_per_problem": [tally.n, int(tally.samples.max(initial=0))],
        "graders": list(tally.graders),
        "max_tokens": plan.get("max_tokens"),
        **task_scores(run, tally, plan),
    }


def _scores(tally: Tally) -> dict[str, Any]:
    means = tally.correct / tally.samples
    avg, error = mean_and_se(means)
    low, high = interval(means)
    curve = pass_curve(tally.correct, tally.samples)
    ks = [str(k) for k in curve.k]
    votes = tally.votes
    return {
        "avg": avg,
        "avg_se": None if math.isnan(error) else error,
        "avg_ci": [float(low), float(high)],
        "bounds": {
            name: [avg, float(((tally.correct + doubtful) / tally.samples).mean())]
            for name, doubtful in (
                ("failed", tally.failed),
                ("failed_or_unparsed", tally.failed + tally.unparsed),
            )
        },
        "pass": dict(zip(ks, curve.value.tolist(), strict=True)),
        "pass_ci": dict(
            zip(ks, map(list, zip(curve.low.tolist(), curve.high.tolist(), strict=True)), strict=True)
        ),
        "maj": {
            str(k): sum(majority_at_k(vote.correct, vote.rivals, vote.blank, k) for vote in votes)
            / len(votes)
            for k in majority_ks(tally.n)
        },
    }


def _no_scores() -> dict[str, Any]:
    return {"avg": None, "avg_se": None, "avg_ci": None, "bounds": None, "pass": {}, "pass_ci": {}, "maj": {}}


def _speed(record: Mapping[str, Any], benchmark: str) -> float | None:
    """Tokens per second over the sittings that finished and so know their wall time."""
    sampled = [session.get("sampled", {}).get(benchmark) for session in record.get("sessions", [])]
    seconds = sum(entry["seconds"] for entry in sampled if entry)
    return sum(entry["tokens"] for entry in sampled if entry) / seconds if seconds else None


def _made(record: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, and the versions of the engine's package over all sittings."""
    settings = dict(record.get("settings", {}))
    engine = settings.get("engine")
    versions = {
        session.get("versions", {}).get(package)
        for session in record.get("sessions", [])
        for package in (engine, f"{engine}-cpu")
    }
    return settings | {"engine_versions": sorted(version for version in versions if version)}


# --- the table ---------------------------------------------------------------------------------


def render_summary(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Tables of at most 100 columns: a row per run and benchmark, notes, and how each run was made;
    training runs after the others, a row per window of steps."""
    measured = [summary for summary in summaries if "training" not in summary]
    lines = _measured(measured) if measured else []
    trained = [summary for summary in summaries if "training" in summary]
    for summary in trained:
        if lines:
            lines.append("")
        lines += [shorten(summary["run"], WIDTH), *wrapped(how_made(summary), "  ")]
        lines += render_training(summary["training"])
    if trained:
        lines += ["", *wrapped(LEGEND, "")]
    return "\n".join(lines)


def _measured(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [numbers for summary in summaries for numbers in summary["benchmarks"].values()]
    columns = score_columns(max((row["n"] for row in rows), default=0))
    name_width = max([9, *(len(name) for summary in summaries for name in summary["benchmarks"])])
    name_width = min(name_width, WIDTH - 2 - sum(width + 2 for _, width, _ in columns))
    lines = [" " * (name_width + 2) + "".join(f"  {title:>{width}}" for title, width, _ in columns)]
    for summary in summaries:
        step = "" if summary["step"] is None else f", step {summary['step']}"
        lines += [shorten(f"{summary['run']}{step}", WIDTH), *wrapped(how_made(summary), "  ")]
        for name, numbers in summary["benchmarks"].items():
            cells = "".join(f"  {cell(numbers):>{width}}" for _, width, cell in columns)
            lines.append(f"  {shorten(name, name_width):<{name_width}}{cells}")
            lines += [line for note in score_notes(numbers) for line in wrapped(note, "    ")]
        lines.append("")
    lines += wrapped(SCORES_LEGEND, "")
    return lines


def score_columns(largest_n: int) -> list[tuple[str, int, Any]]:
    """(title, width, cell) of the columns; Pass@8 and Pass@32 only where some n is above."""

    def at(k: int) -> Any:
        return lambda row: percent(row["pass"].get(str(k)))

    columns: list[tuple[str, int, Any]] = [
        ("P×n", 7, lambda row: f"{row['problems']}×{row['n']}"),
        ("Avg@n", 5, lambda row: percent(row["avg"])),
        ("95%", 10, lambda row: "–".join(map(percent, row["avg_ci"])) if row["avg_ci"] else "–"),
    ]
    columns += [(f"Pass@{k}", 6 + (k > 9), at(k)) for k in (8, 32) if k < largest_n]
    return [
        *columns,
        ("Pass@n", 6, lambda row: percent(row["pass"].get(str(row["n"])))),
        ("maj@n", 5, lambda row: percent(row["maj"].get(str(row["n"])))),
        ("cut", 5, lambda row: percent(row["truncated"])),
        ("unparsed", 8, lambda row: percent(row["unparsed"])),
        ("tokens", 6, lambda row: "–" if row["mean_tokens"] is None else f"{row['mean_tokens']:.0f}"),
    ]


def score_notes(row: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the numbers of one row."""
    notes = []
    fewest, most = row["samples_per_problem"]
    if row["missing"]:
        notes.append(
            f"incomplete: {row['missing']:,} planned samples are not there yet; run the command again "
            "(where several --n or --limit were used, with the largest of each)"
        )
    if fewest != most:
        notes.append(
            f"{fewest} to {most} samples per problem: Avg is the mean of problem means, "
            f"Pass@k ends at k = {fewest}"
        )
    if row["unscored"]:
        notes.append(
            f"{row['unscored']:,} samples unscored (their problem's gold is bad): outside every number"
        )
    if row.get("tasks"):
        notes.append(macro_note(row))
    if row["bounds"]:
        notes += _bounds(row)
    return notes


def _bounds(row: Mapping[str, Any]) -> list[str]:
    """How far Avg could rise with what could not be judged, where that is not negligible."""
    failed, unparsed = row["bounds"]["failed"][1], row["bounds"]["failed_or_unparsed"][1]
    bounds = []
    if failed - row["avg"] >= VISIBLE:
        count = row["statuses"]["timeout"] + row["statuses"]["error"]
        bounds.append(
            f"{percent(failed)} if the {count:,} that grading failed on (timeout, error) were correct"
        )
    if unparsed > row["avg_ci"][1]:
        bounds.append(f"{percent(unparsed)} if the unparsed were{' too' if bounds else ' correct'}")
    return [f"Avg@n would be {', '.join(bounds)}"] if bounds else []


def how_made(summary: Mapping[str, Any]) -> str:
    """One line: sampling, limits, template, engine, grader; what a run does not say is left out."""
    made, rows = summary["made"], {**summary["benchmarks"], **summary.get("training", {})}
    limits = {row["max_tokens"] for row in rows.values() if row["max_tokens"]}
    graders = sorted({grader for row in rows.values() for grader in row["graders"]})
    facts = [
        f"{title} {made[key] if made[key] or key != 'top_k' else 'off'}"
        for key, title in (("temperature", "temperature"), ("top_p", "top-p"), ("top_k", "top-k"))
        if made.get(key) is not None
    ]
    if limits:
        facts.append(f"at most {' or '.join(f'{limit:,}' for limit in sorted(limits))} tokens")
    if made.get("template"):
        facts.append(f"{made['template']} template")
    if made.get("thinking") is not None:
        facts.append("thinking" if made["thinking"] else "no thinking")
    if made.get("system"):
        facts.append("own system prompt")
    if made.get("engine"):
        facts.append(" ".join([made["engine"], " and ".join(made["engine_versions"])]).rstrip())
    if made.get("seed") is not None:
        facts.append(f"seed {made['seed']}")
    speeds = [row["tokens_per_second"] for row in rows.values() if row["tokens_per_second"] is not None]
    if speeds:
        slowest, fastest = f"{min(speeds):,.0f}", f"{max(speeds):,.0f}"
        facts.append(f"{slowest if slowest == fastest else f'{slowest}–{fastest}'} tokens/s")
    if made.get("unisolated_code"):
        facts.append("model-written code not isolated")
    return ", ".join([*facts, f"grader {' and '.join(graders) or 'unknown'}"])
