"""Words of reflection through training: Markdown tables from behavior.parquet alone.

Covers showing; what is estimated and how is behavior_estimates.py. Accuracy and length stand beside the
words, because words also rise with length and in collapse.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from behavior.tables import between, number
from prerl_eval.layout import percent
from results.study.behavior_course import LABELS, PHRASES, TRAIN, read_behavior
from results.study.behavior_estimates import (
    WAYS,
    Arm,
    Change,
    Course,
    Responses,
    arms_of,
    base_of,
    changes,
    read_course,
    start_of,
)

MAIN = ("grpo", "dsrl", "dsrl-rl", "nsr-prerl")
"""Arms shown at several updates; others with two seeds or more at the end alone."""

UPDATES = (10, 20, 40)
BENCHMARK = "countdown"
SHOWN = ("reflection", "transition")
SPLIT_CELLS = 1 + len(SHOWN) * (1 + len(WAYS))
FAR = 100
"""Ends of intervals further from 1 than this are not printed: two seeds that differ tell nothing."""

MARKS = {1: "↑", -1: "↓", 0: "·"}


def all_behavior_tables(folder: Path) -> dict[str, str]:
    """Every table by its name; those of the evaluation only where the base was evaluated."""
    course = read_course(read_behavior(folder))
    tables = {
        "behavior-course": course_table(course),
        "behavior-ratios": ratio_table(course),
        "behavior-rise": rise_table(course),
        "behavior-split": split_table(course),
        "behavior-phrases": phrase_table(course),
    }
    for measure, benchmark in sorted({(key.measure, key.benchmark) for key in course}):
        arms = chosen_arms(course, measure, benchmark)
        if measure != TRAIN and arms and base_at(course, measure, benchmark) is not None:
            for name, table in (("rise", rise_table), ("ratios", ratio_table), ("split", split_table)):
                tables[f"behavior-{name}-{measure}-{benchmark}"] = table(course, measure, benchmark)
    return tables


def chosen_arms(
    course: Course, measure: str = TRAIN, benchmark: str = BENCHMARK
) -> list[tuple[Arm, list[int]]]:
    """Arms in the order of the tables, each with the steps that are shown."""
    arms = arms_of(course, measure, benchmark, start_of(course))
    main = [(arms[name], _steps(arms[name])) for name in MAIN if name in arms]
    rest = [arm for name, arm in arms.items() if name not in MAIN and len(arm.seeds) > 1]
    return main + [(arm, [arm.last]) for arm in rest]


def _steps(arm: Arm) -> list[int]:
    return sorted({*(step for step in UPDATES if step in arm.at), arm.last})


def base_at(course: Course, measure: str, benchmark: str) -> Responses | None:
    """What the shipped base wrote in a measurement, None where it has none."""
    return base_of(course, start_of(course), measure, benchmark)


# --- tables ----------------------------------------------------------------------------------------


def course_table(course: Course, measure: str = TRAIN, benchmark: str = BENCHMARK) -> str:
    """Markdown: rates per response and per 1,000 tokens, mean ± sd over seeds; accuracy, length beside."""
    words = [f"{label} {way}" for label in SHOWN for way in ("/ response", "/ 1,000")]
    lines = _head("", "lr", "seeds", "update", "correct", "tokens", "cut", *words)
    base = base_at(course, measure, benchmark)
    if base is not None:
        rates = [base.rate(label, way) for label in SHOWN for way in WAYS[:2]]
        ends = [f"{number(rate.value)} ({between([rate.low, rate.high])})" for rate in rates]
        facts = (percent(base.accuracy), f"{base.length:.1f}", percent(base.clipped))
        lines.append(_row(_named(base), "", "", "0", *facts, *ends))
    for arm, steps in chosen_arms(course, measure, benchmark):
        for step in steps:
            lines.append(_row(*_who(arm, step), *_course_cells(arm.at[step])))
    return "\n".join(lines)


def _course_cells(seeds: Sequence[Responses]) -> list[str]:
    rates = [
        _spread([seed.rate(label, way).value or 0.0 for seed in seeds], form)
        for label in SHOWN
        for way, form in zip(WAYS[:2], ("{:.3f}", "{:.2f}"), strict=True)
    ]
    return [
        _spread([100 * seed.accuracy for seed in seeds], "{:.1f}"),
        _spread([seed.length for seed in seeds], "{:.1f}"),
        _spread([100 * seed.clipped for seed in seeds], "{:.1f}"),
        *rates,
    ]


def ratio_table(course: Course, measure: str = TRAIN, benchmark: str = BENCHMARK) -> str:
    """Markdown: multiples of the base's rates in the three ways, with 95% intervals; its own rates first."""
    words = [f"{label} {way}" for label in SHOWN for way in WAYS]
    lines = _head("", "lr", "seeds", "update", "correct", "tokens", *words)
    base = base_at(course, measure, benchmark)
    if base is None:
        return "\n".join(lines)
    rates = [[number(base.rate(label, way).value) for way in WAYS[:2]] for label in SHOWN]
    facts = (percent(base.accuracy), f"{base.length:.1f}")
    lines.append(_row(_named(base), "", "", "0", *facts, *(cell for two in rates for cell in (*two, two[0]))))
    for arm, steps in chosen_arms(course, measure, benchmark):
        for step in steps:
            found = changes(base, arm.at[step], SHOWN)
            cells = [_multiple(found[label][way]) for label in SHOWN for way in WAYS]
            lines.append(_row(*_who(arm, step), *_course_cells(arm.at[step])[:2], *cells))
    return "\n".join(lines)


def rise_table(course: Course, measure: str = TRAIN, benchmark: str = BENCHMARK) -> str:
    """Markdown: does it rise? ↑ where the interval lies above 1, ↓ below, · where it does not tell."""
    arms = [(arm, steps) for arm, steps in chosen_arms(course, measure, benchmark) if arm.name in MAIN]
    base = base_at(course, measure, benchmark)
    names = (
        f"{arm.name}: {', '.join(f'{step} ({len(arm.at[step])})' for step in steps)}" for arm, steps in arms
    )
    lines = _head("", *names, "rises?")
    if base is None or not arms:
        return "\n".join(lines)
    labels = (*SHOWN, "simplerl")
    alone = " (one seed)" if any(len(arm.at[steps[-1]]) == 1 for arm, steps in arms) else ""
    found = [[changes(base, arm.at[step], labels) for step in steps] for arm, steps in arms]
    for label in labels:
        for way in WAYS:
            signs = [[one[label][way].direction for one in points] for points in found]
            cells = [" ".join(MARKS[sign] for sign in arm) for arm in signs]
            lines.append(_row(f"{label} {way}", *cells, verdict(signs) + alone))
    return "\n".join(lines)


def verdict(signs: Sequence[Sequence[int]]) -> str:
    """Arms x updates of directions in a word.

    at every end: above 1 at the end of every arm. somewhere: above 1 at some update of some arm. never, below
    at every end: so it says. never: never above.
    """
    ends = [arm[-1] for arm in signs]
    if all(end == 1 for end in ends):
        return "at every end"
    if any(1 in arm for arm in signs):
        return "somewhere"
    return "never, below at every end" if all(end == -1 for end in ends) else "never"


def split_table(course: Course, measure: str = TRAIN, benchmark: str = BENCHMARK) -> str:
    """Markdown: correct and other responses apart, at the end: rate per response and its two ratios."""
    words = [
        f"{label} {way}"
        for label in SHOWN
        for way in ("/ response", f"× {WAYS[0]}", f"× {WAYS[1]}", f"× {WAYS[2]}")
    ]
    lines = _head("", "update", "responses", "tokens", *words)
    base = base_at(course, measure, benchmark)
    if base is None:
        return "\n".join(lines)
    for correct, name in ((True, "correct"), (False, "not correct")):
        part = base.split(correct)
        lines.append(_row("base", "0", name, *_base_split_cells(part)))
        for arm, steps in chosen_arms(course, measure, benchmark):
            seeds = [seed.split(correct) for seed in arm.at[steps[-1]]]
            lines.append(_row(arm.name, f"{steps[-1]}", name, *_split_cells(part, seeds)))
    return "\n".join(lines)


def _base_split_cells(base: Responses) -> list[str]:
    if not len(base.correct):
        return ["–"] * SPLIT_CELLS
    rates = [number(base.rate(label, WAYS[0]).value) for label in SHOWN]
    return [f"{base.length:.1f}", *(cell for rate in rates for cell in (rate, "", "", ""))]


def _split_cells(base: Responses, seeds: Sequence[Responses]) -> list[str]:
    if not all(len(one.correct) for one in (base, *seeds)):
        return ["–"] * SPLIT_CELLS  # the base or a seed has no response of this kind
    found = changes(base, seeds, SHOWN)
    cells = [_spread([seed.length for seed in seeds], "{:.1f}")]
    for label in SHOWN:
        cells.append(_spread([seed.rate(label, WAYS[0]).value or 0.0 for seed in seeds], "{:.3f}"))
        cells += [_multiple(found[label][way]) for way in WAYS]
    return cells


def phrase_table(course: Course, measure: str = TRAIN, benchmark: str = BENCHMARK) -> str:
    """Markdown: each phrase per 100 responses, and responses with any of a label in %, mean over seeds."""
    shares = [f"% with {label}" for label in LABELS]
    lines = _head("", "update", *(f"“{phrase}”" for phrase in PHRASES), *shares)
    base = base_at(course, measure, benchmark)
    if base is not None:
        lines.append(_row(_named(base), "0", *_phrase_cells([base])))
    for arm, steps in chosen_arms(course, measure, benchmark):
        for step in steps:
            lines.append(_row(arm.name, f"{step}", *_phrase_cells(arm.at[step])))
    return "\n".join(lines)


def _phrase_cells(seeds: Sequence[Responses]) -> list[str]:
    columns = [f"count/{phrase}" for phrase in PHRASES] + [f"present/{label}" for label in LABELS]
    return [
        f"{100 * np.mean([seed.table.total(name) / seed.table.total('responses') for seed in seeds]):.1f}"
        for name in columns
    ]


def _named(base: Responses) -> str:
    return f"base, {base.table.total('responses'):,.0f} responses"


def _who(arm: Arm, step: int) -> tuple[str, ...]:
    return arm.name, arm.lr, f"{len(arm.at[step])}", f"{step}"


def _head(*names: str) -> list[str]:
    return [_row(*names), "|---" * len(names) + "|"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], form: str) -> str:
    mean = form.format(np.mean(values))
    return mean if len(values) == 1 else f"{mean} ± {form.format(np.std(values, ddof=1))}"


def _multiple(change: Change) -> str:
    if change.ratio is None:
        return "–"
    if change.low is None:
        return f"×{number(change.ratio)} (no interval)"
    if change.high is None or FAR >= change.high >= change.low >= 1 / FAR:
        return f"×{number(change.ratio)} ({between([change.low, change.high])})"
    low, high = max(change.low, 1 / FAR), min(change.high, FAR)
    ends = f"{'<' * (low > change.low)}{number(low)}–{'>' * (high < change.high)}{number(high)}"
    return f"×{number(change.ratio)} ({ends})"
