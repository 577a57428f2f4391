"""The quantities behind the claims: each a sentence's figure, its 95% interval, and the side it lies on.

A function per claim, from committed data; it yields nothing where that was not measured. Covers figures.
Does not cover what is claimed, nor verdicts (claims.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from prerl_eval.comparison.several import SOME_SEEDS
from prerl_eval.metrics import interval
from prerl_train.alignment.summary import summarise_responses
from results.study.alignment import responses_of
from results.study.behavior_course import TRAIN, read_behavior
from results.study.behavior_estimates import WAYS, arms_of, base_of, changes, read_course, start_of
from results.study.committed import BASE, Committed
from results.study.contrasts import Contrast, contrast, difference, scores
from results.study.expansion import discovery_less_null
from results.study.roles import METHOD, REFERENCE, RL_WARMUP, WARMUP, varied, warmup_arms
from results.study.trace_tables import spared_at
from results.study.warmup import optimum_weights

SHIPPED = "base"
WARMED = "dsrl-w3e-4"
"""The warm-up that moves the policy most: where what a warm-up prunes shows."""


@dataclass(frozen=True)
class Part:
    """One quantity. low, high: its interval, as distances from the line that the claim speaks of, positive
    on the claimed side; contrast: the score difference behind it, judged by Holm's test, or None. few: of one
    or two trained models.
    """

    text: str
    low: float
    high: float
    contrast: Contrast | None = None
    claimed: int = 1
    few: bool = False


def _scores(text: str, one: Contrast | None, claimed: int = 1) -> Iterator[Part]:
    """A difference of scores in points; nothing where it was not measured."""
    if one is not None:
        ends = sorted((claimed * one.low, claimed * one.high))
        yield Part(text, ends[0], ends[1], one, claimed, one.few)


def _less(
    data: Committed,
    one: str,
    other: str,
    k: int,
    benchmark: str,
    steps: tuple[int | None, int | None] = (None, None),
) -> Contrast | None:
    """Pass@k of arm `one` less that of `other`, points; steps: of each, the study's where None."""
    after = data.at(one, data.steps if steps[0] is None else steps[0], benchmark)
    fixed = other == BASE
    before = data.at(other, 0 if fixed else data.steps if steps[1] is None else steps[1], benchmark)
    if before is None or after is None:
        return None
    return difference(before.counts, after.counts, k, fixed=int(fixed))


def _short(benchmark: str) -> str:
    return "OOD" if benchmark.endswith("-ood") else "in distribution"


def alignment(data: Committed) -> Iterator[Part]:
    """Cosine, its control, and how many inner products are negative."""
    rows = responses_of(data.study.folder).get(SHIPPED)
    if rows:
        found = summarise_responses(rows)
        for text, one in (
            ("cosine", found["cosine"]),
            ("own prompt less another's", found["own_minus_mispaired"]),
        ):
            yield Part(
                f"{text} {one['mean']:.2f} ({one['low']:.2f}, {one['high']:.2f})", one["low"], one["high"]
            )
        negative = np.asarray([float(row["inner"]) < 0 for row in rows], dtype=np.float64)
        low, high = (100 * float(edge) for edge in interval(negative))
        text = f"inner product negative in {negative.sum():.0f} of {len(rows)} ({low:.1f}–{high:.1f}%)"
        side = -1.0 if negative.any() else 1.0
        yield Part(text, side, side)


def step(data: Committed) -> Iterator[Part]:
    """Whether the realised change is within 5% of the predicted one."""
    rows = responses_of(data.study.folder).get(SHIPPED)
    if rows:
        one = summarise_responses(rows)["step"]["realised_over_predicted"]
        near = 0.05 - max(abs(one["low"] - 1), abs(one["high"] - 1))
        yield Part(
            f"realised / predicted {one['mean']:.3f} ({one['low']:.3f}, {one['high']:.3f})", near, near
        )


def needs_corpus(data: Committed) -> Iterator[Part]:
    """Cosine of the bases of other corpora below the shipped base's."""
    found = responses_of(data.study.folder)
    for name in ("norestate", "allprompted", "neither"):
        if name in found and SHIPPED in found:
            one, own = (summarise_responses(found[base])["cosine"] for base in (name, SHIPPED))
            text = f"{name} {one['mean']:.2f} ({one['low']:.2f}, {one['high']:.2f})"
            yield Part(text, own["low"] - one["high"], own["high"] - one["low"])


def nsr_gains(data: Committed) -> Iterator[Part]:
    """NSR-PreRL less the base."""
    for name in data.sets:
        yield from _scores(f"{_short(name)}: Avg less the base's", _less(data, "nsr-prerl", BASE, 1, name))


def nsr_ahead(data: Committed) -> Iterator[Part]:
    """NSR-PreRL less GRPO after as many updates, and early against late."""
    name = data.sets[0]
    for arm, step, other in (
        ("nsr-prerl-long", 20, 20),
        ("nsr-prerl", data.steps, data.steps),
        ("nsr-prerl-fast", 20, 20),
        ("nsr-prerl-fast", 20, 60),
    ):
        yield from _scores(
            f"{arm} at {step} less GRPO at {other}",
            _less(data, arm, REFERENCE, 1, name, (step, other)),
        )


def psr_degrades(data: Committed) -> Iterator[Part]:
    """PSR-PreRL below the base, after the study's updates and when it goes on."""
    for name in data.sets:
        text = f"{_short(name)}: Avg at {data.steps} updates less the base's"
        yield from _scores(text, _less(data, "psr-prerl", BASE, 1, name), -1)
    yield from _longer(data, "psr-prerl", -1)


def prerl_collapses(data: Committed) -> Iterator[Part]:
    """PreRL above the base at first, below when it goes on."""
    name = data.sets[0]
    yield from _scores("PreRL less the base", _less(data, "prerl", BASE, 1, name))
    yield from _longer(data, "prerl", -1)


def _longer(data: Committed, arm: str, claimed: int) -> Iterator[Part]:
    name = data.sets[0]
    for step in (80, 120):
        yield from _scores(
            f"Avg at {step} updates less the base's",
            _less(data, f"{arm}-long", BASE, 1, name, (step, None)),
            claimed,
        )


def words(data: Committed) -> Iterator[Part]:
    """Multiples of the base's rates in rollouts after the planned updates."""
    course = read_course(read_behavior(data.study.folder))
    start = start_of(course) if course else ""
    base = base_of(course, start, TRAIN, data.sets[0])
    arms = arms_of(course, TRAIN, data.sets[0], start)
    for name in (METHOD, "nsr-prerl-long"):
        arm = arms.get(name)
        if base is None or arm is None or data.steps not in arm.at:
            continue
        found = changes(base, arm.at[data.steps], ("reflection", "transition"))
        for label, ways in found.items():
            for way in WAYS:
                one = ways[way]
                if one.ratio is not None and one.low is not None and one.high is not None:
                    text = f"{name}, {label} {way} ×{one.ratio:.2f} ({one.low:.2f}, {one.high:.2f})"
                    yield Part(text, one.low - 1, one.high - 1)


def dsrl_avg(data: Committed) -> Iterator[Part]:
    """Avg of DSRL less GRPO's, at equal updates and at equal RL updates."""
    for name in data.sets:
        yield from _scores(f"{_short(name)}", _less(data, METHOD, REFERENCE, 1, name))
    for name in data.sets:
        yield from _scores(
            f"{_short(name)}, ten updates more for DSRL",
            _less(data, METHOD, REFERENCE, 1, name, (data.steps + 10, None)),
        )


def dsrl_pass(data: Committed) -> Iterator[Part]:
    """Pass@k of DSRL less GRPO's."""
    for name in data.sets:
        for k in (8, 32):
            yield from _scores(f"{_short(name)}, Pass@{k}", _less(data, METHOD, REFERENCE, k, name))


def dsrl_base(data: Committed) -> Iterator[Part]:
    """Pass@32 of DSRL less the base's."""
    for name in data.sets:
        yield from _scores(f"{_short(name)}, Pass@32", _less(data, METHOD, BASE, 32, name))


def space(data: Committed) -> Iterator[Part]:
    """Warm-ups of equal KL: log P(y) less log P(y|x)."""
    name = data.sets[0]
    for k, score in ((1, "Avg"), (32, "Pass@32")):
        yield from _scores(f"KL .04: {score}", _less(data, varied(data), RL_WARMUP, k, name))
        yield from _scores(f"KL .3: {score}", _less(data, WARMED, "dsrl-rl-w3e-4", k, name))


def optimum(data: Committed) -> Iterator[Part]:
    """Mean over warm-ups of 10-25 updates less that over the others."""
    name = data.sets[0]
    for text, after in (("equal updates", 0), ("equal RL updates", 1)):
        there = {
            s: one
            for s, arm in warmup_arms(data).items()
            if (one := data.at(arm, data.steps + after * s, name)) is not None
        }
        weights = optimum_weights(list(there))
        if len(there) > 2 and not np.isnan(weights).any():
            sides = [scores(one.counts, 1) for one in there.values()]
            within = [side for side in sides if side is not None]
            yield from _scores(f"S of 10-25 less other S, {text}: Avg", contrast(within, list(weights)))


def prunes(data: Committed) -> Iterator[Part]:
    """Share of the base's wrong responses that became ten times less likely, less that of correct ones."""
    for name in data.sets:
        found = spared_at(data.study.folder, name, WARMED, WARMUP)
        if found:
            one, seeds = found
            low, high = 100 * one.low, 100 * one.high
            few = seeds < SOME_SEEDS
            text = f"{_short(name)}, {WARMED} at {WARMUP}: wrong ones cut less correct ones cut"
            text = f"{text} {100 * one.value:+.1f} ({low:+.1f}, {high:+.1f}){' †' * few}"
            yield Part(text, low, high, few=few)


def expands(data: Committed) -> Iterator[Part]:
    """Discovery less that of the base again."""
    for name in data.sets:
        yield from _scores(f"{_short(name)}: discovery less null", discovery_less_null(data, name, METHOD))
