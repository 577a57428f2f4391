"""From judged traces to figures: counts per response, shares of responses, what was lost, and a table.

Covers pure functions over one run's judgements. Figures speak of traces whose status is ok; a
judgement that is missing is never 0: it stands in no mean, and the bounds say how far it could move a share.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from behavior.judge.locate import Located
from behavior.judge.prompt import LABELS
from prerl_eval.layout import WIDTH, percent, shorten, wrapped
from prerl_eval.metrics import interval, mean_and_se
from prerl_eval.store import RowKey

STATUSES = ("ok", "invalid", "refused", "truncated", "error")


@dataclass(frozen=True, slots=True)
class Judged:
    """A trace's judgement. marks: () unless status is ok. quotes, lost: claimed by the judge; not found.

    full: some list of findings reached its bound.
    """

    key: RowKey
    status: str
    marks: tuple[Located, ...] = ()
    quotes: int = 0
    lost: int = 0
    full: bool = False


def measure(judged: Sequence[Judged]) -> dict[str, Any]:
    """All figures of some traces, JSON-able; shares are fractions of 1, what cannot be known is None.

        responses, problems  traces with status ok, and their problems
        statuses             counts of the five, adding up to the traces judged
        quotes, lost         quotes of the judge, those not in their trace; `fabrication` is their ratio
        full                 traces with a list of findings that reached its bound: their counts are too low
        labels.<label>       mean, mean_ci: occurrences per response; share, share_ci: responses with any;
                             share_bounds: were all traces that are not ok without it, or with it

    Means are over problems of each problem's mean; intervals (95%) are over problems.
    """
    ok = [trace for trace in judged if trace.status == "ok"]
    quotes, lost = sum(trace.quotes for trace in ok), sum(trace.lost for trace in ok)
    counts = Counter(trace.status for trace in judged)
    return {
        "responses": len(ok),
        "problems": len({trace.key[:2] for trace in ok}),
        "statuses": {status: counts[status] for status in STATUSES},
        "quotes": quotes,
        "lost": lost,
        "fabrication": lost / quotes if quotes else None,
        "full": sum(trace.full for trace in ok),
        "labels": {label: _figures(label, ok, judged) for label in LABELS} if ok else {},
    }


def _figures(label: str, ok: Sequence[Judged], judged: Sequence[Judged]) -> dict[str, Any]:
    counts = {trace.key: sum(mark.label == label for mark in trace.marks) for trace in ok}
    means = _by_problem({key: float(count) for key, count in counts.items()})
    shares = _by_problem({key: float(count > 0) for key, count in counts.items()})
    low, high = interval(shares)
    bounds = [
        float(_by_problem({trace.key: float(counts.get(trace.key, missing) > 0) for trace in judged}).mean())
        for missing in (0, 1)
    ]
    return {
        "mean": float(means.mean()),
        "mean_ci": _mean_interval(means),
        "share": float(shares.mean()),
        "share_ci": [float(low), float(high)],
        "share_bounds": bounds,
    }


def _by_problem(values: Mapping[RowKey, float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean of each problem's values."""
    problems = defaultdict(list)
    for key, value in values.items():
        problems[key[:2]].append(value)
    return np.array([np.mean(own) for own in problems.values()])


def _mean_interval(means: np.ndarray[Any, np.dtype[np.float64]]) -> list[float] | None:
    """Mean ± t × standard error over problems, not below 0; None where all problems agree, or one is all."""
    from scipy.special import stdtrit

    mean, error = mean_and_se(means)
    if math.isnan(error) or error == 0:
        return None
    width = float(stdtrit(len(means) - 1, 0.975)) * error
    return [max(0.0, mean - width), mean + width]


# --- the table ---------------------------------------------------------------------------------


def render(results: Sequence[Mapping[str, Any]]) -> str:
    """Tables of at most 100 columns, one per run, benchmark and step."""
    lines: list[str] = []
    for result in results:
        lines += [shorten(f"{result['run']}  {result['annotation']}", WIDTH), *wrapped(_how(result), "  ")]
        for group in result["groups"]:
            lines += _table(group)
        lines += [line for note in _notes(result) for line in wrapped(note, "  ")]
        lines.append("")
    lines += wrapped(
        "per response: occurrences in a response, mean over problems. share: responses with at "
        "least one, in %. 95%: interval over problems. Traces whose status is not ok stand in no figure.",
        "",
    )
    return "\n".join(lines)


def _table(group: Mapping[str, Any]) -> list[str]:
    step = f", step {group['step']}" if group["step"] else ""
    title = (
        f"  {group['benchmark']}{step}: {group['responses']:,} responses to {group['problems']:,} problems"
    )
    lines = [shorten(title, WIDTH)]
    if group["labels"]:
        lines.append(f"    {'':<16}  {'per response':>12}  {'95%':>13}  {'share':>6}  {'95%':>11}")
    for label, row in group["labels"].items():
        mean = "–".join(f"{end:.2f}" for end in row["mean_ci"]) if row["mean_ci"] else "–"
        share = "–".join(map(percent, row["share_ci"]))
        lines.append(
            f"    {label.replace('_', ' '):<16}  {row['mean']:>12.2f}  {mean:>13}  "
            f"{percent(row['share']):>6}  {share:>11}"
        )
    missing = {status: count for status, count in group["statuses"].items() if count and status != "ok"}
    if missing:
        told = ", ".join(f"{count:,} {status}" for status, count in missing.items())
        bounds = "; ".join(
            f"{label.replace('_', ' ')} {'–'.join(map(percent, row['share_bounds']))}"
            for label, row in group["labels"].items()
        )
        note = f"not judged: {told}" + (
            f"; shares were they all without it, or with it: {bounds}" if bounds else ""
        )
        lines += wrapped(note, "    ")
    if group["lost"]:
        rate = percent(group["fabrication"])
        lines += wrapped(
            f"{group['lost']:,} of {group['quotes']:,} quotes ({rate}%) are not in their trace: dropped",
            "    ",
        )
    if group["full"]:
        lines += wrapped(
            f"{group['full']:,} responses have a full list of findings: counts are too low", "    "
        )
    return lines


def _how(result: Mapping[str, Any]) -> str:
    made = result["settings"]
    return (
        f"{made['model']} at {made['base_url']}, prompt {made['prompt']}, "
        f"temperature {made['temperature']:g}, repeat {made['repeat']}"
    )


def _notes(result: Mapping[str, Any]) -> list[str]:
    notes = []
    if result["unjudged"]:
        notes.append(
            f"{result['unjudged']:,} chosen samples are not judged yet: run the same command to go on"
        )
    canaries = result["canaries"]
    if canaries["asked"]:
        notes.append(
            f"canaries: {canaries['held']} of {canaries['asked']} traces with an order to the judge got the "
            f"labels of the same trace without it"
            + (f"; {canaries['unread']} without a judgement" if canaries["unread"] else "")
        )
    spent = result["requests"]
    told = f"requests: {spent['sent']:,} sent, {spent['replies']:,} answered"
    if spent["in_flight_lost"]:
        told += f", {spent['in_flight_lost']:,} in flight when a sitting ended"
    told += f"; tokens billed: {spent['tokens_in']:,} in, {spent['tokens_out']:,} out"
    if spent["cost"] is not None:
        told += f"; cost {spent['cost']:.4f}"
        if spent["cost_at_most"] > spent["cost"]:
            told += f", at most {spent['cost_at_most']:.4f} with requests that got no reply"
    return [*notes, told]
