"""The page on words through training, behavior.md, and its picture: tables with what they mean.

Covers putting tables (behavior_tables.py) between sentences that hold no figures, and drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prerl_eval.panels import Panel, draw_panels, legend_line, marker, style
from results.study.behavior_course import FILE, TRAIN, read_behavior
from results.study.behavior_estimates import WAYS, Course, Responses, changes, read_course
from results.study.behavior_tables import (
    BENCHMARK,
    MAIN,
    SHOWN,
    all_behavior_tables,
    base_at,
    chosen_arms,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE, PICTURE = "behavior.md", "behavior.png"

INTRODUCTION = f"""\
# Words of reflection through training

Words are counted, behaviour is not judged: no judge model was at hand, and no figure here comes from one
(docs/judge.md). reflection: "wait", "let me check". transition: "alternatively", "another way". These are
SEAL's words that this little world has, counted one by one, since a response here is one line; the paper's
own list is not published. simplerl: "wait", "alternatively", of that preset. "hmm" is in no preset; "then"
begins a further try without any such word. Rules: docs/lexicons.md and results/study/countdown_words.toml.

Rollouts: an update's rollouts come from the model before it. The base is what first updates sampled (the
same for runs of one seed, counted once); update 10 stands for the rollouts of updates 6 to 10, and so on.
At most 96 tokens, temperature 1, problems that are trained on. correct, cut (at the limit, or looping):
% of responses; tokens: per response; mean ± sd over seeds, at the learning rate that has the most of them.
Evaluations are of checkpoints, the base and they on the same problems, at most 128 tokens.

Intervals are 95%. Of the base's rates they are over problems. Of ratios they are over problems (in 20 groups,
resampled) and seeds, or over problems alone where there is one seed; with two seeds they may span
everything. "no interval": a seed or an end has no such word. like length: finished responses only, per
response, each length weighted as in the base. Several comparisons are made and none is corrected for that.

![Words, accuracy and length over updates]({PICTURE})
"""

TEXTS = {
    "behavior-rise": "## Do reflection and transition rise?\n\n"
    "At the updates named (seeds in brackets), against the base: ↑ the interval lies above 1, ↓ below 1,\n"
    "· it does not tell. rises? at every end: ↑ at the last update of every arm; somewhere: ↑ at some\n"
    "update of some arm.",
    "behavior-course": "## Rates",
    "behavior-ratios": "## Multiples of the base\n\nThe base's line has its rates.",
    "behavior-split": "## Correct responses and others, at the end\n\nBoth arms of a ratio are split alike.",
    "behavior-phrases": "## Phrase by phrase\n\nPer 100 responses; then the share of responses with any.",
}


def page(folder: Path) -> str:
    """The text of behavior.md."""
    tables = all_behavior_tables(folder)
    order = [*TEXTS, *(name for name in tables if name not in TEXTS)]
    parts = [f"{TEXTS.get(name) or _evaluated(name)}\n\n{tables[name]}\n" for name in order]
    return "\n".join([INTRODUCTION, *parts])


def _evaluated(name: str) -> str:
    kind, _, rest = name.removeprefix("behavior-").partition("-")
    titles = {"rise": "Do they rise?", "ratios": "Multiples of the base", "split": "Correct ones and others"}
    return f"## Evaluation {rest}: {titles[kind]}"


def write_page(folder: Path) -> list[Path]:
    """Write page and picture; returns their files. Without any data there is neither."""
    if not (folder / FILE).is_file():
        return []
    text = page(folder)
    draw_course(folder, folder / PICTURE)
    (folder / PAGE).write_text(text, encoding="utf-8")
    return [folder / PAGE, folder / PICTURE]


# --- picture ---------------------------------------------------------------------------------------


def course_points(course: Course) -> dict[str, dict[str, list[tuple[int, float, float]]]]:
    """What the picture shows: panel -> arm -> (update, mean over seeds, their sd); the base at 0."""
    base = base_at(course, TRAIN, BENCHMARK)
    arms = [arm for arm, _ in chosen_arms(course) if arm.name in MAIN]
    points: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    for title, measured in _measures(base).items():
        for arm in arms:
            start = [] if base is None else [(0, measured([base])[0], 0.0)]
            points.setdefault(title, {})[arm.name] = start + [
                (step, *_mean(measured(arm.at[step]))) for step in arm.at
            ]
    return points


def _measures(base: Responses | None) -> dict[str, Callable[[Sequence[Responses]], list[float]]]:
    def rate(label: str, way: str) -> Callable[[Sequence[Responses]], list[float]]:
        return lambda seeds: [seed.rate(label, way).value or 0.0 for seed in seeds]

    def alike(label: str) -> Callable[[Sequence[Responses]], list[float]]:
        def ratios(seeds: Sequence[Responses]) -> list[float]:
            assert base is not None
            return [one or 0.0 for one in changes(base, seeds, [label])[label][WAYS[2]].seeds]

        return ratios

    found: dict[str, Callable[[Sequence[Responses]], list[float]]] = {}
    for label in SHOWN:
        found |= {f"{label} {way}": rate(label, way) for way in WAYS[:2]}
        if base is not None:
            found[f"{label}, × base at {WAYS[2]}"] = alike(label)
    found["correct (%)"] = lambda seeds: [100 * seed.accuracy for seed in seeds]
    found["tokens per response"] = lambda seeds: [seed.length for seed in seeds]
    found["cut or looping (%)"] = lambda seeds: [100 * seed.clipped for seed in seeds]
    return found


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def draw_course(folder: Path, out: Path) -> None:
    """Draw `course_points` into `out` (.png, .svg or .pdf), bars of one sd over seeds.

    Raises UserError for another suffix or where the file cannot be written.
    """
    points = course_points(read_course(read_behavior(folder)))
    panels = [
        Panel(title, "", "update", "", lambda axes, title=title: _lines(axes, points[title]))  # type: ignore[misc]
        for title in points
    ]
    names = next(iter(points.values()), {})
    handles = [legend_line(name, **{**marker(index), **style(index)}) for index, name in enumerate(names)]
    draw_panels(panels, handles, out)


def _lines(axes: Axes, found: dict[str, list[tuple[int, float, float]]]) -> None:
    look: dict[str, Any]
    for index, series in enumerate(found.values()):
        steps, means, spreads = np.array(series).T
        look = {**marker(index), **style(index), "markersize": 3}
        axes.vlines(steps, means - spreads, means + spreads, color=look["color"], linewidth=0.9, alpha=0.6)
        axes.plot(steps, means, **look)
    axes.set_ylim(bottom=0)
