"""From the rows of behavior.parquet to rates, and to ratios against the base with intervals.

Rates are of behavior.rates, ratios of behavior.ratios: of means, over the same groups of problems, all
responses or finished ones at like length. Covers what seeds add (`Change`). Does not cover showing
(behavior_tables.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from behavior.cells import ENDS, Table
from behavior.rates import Rate, count_rate
from behavior.ratios import Comparison, Ratio, compare, compare_matched
from prerl_eval.metrics import Floats
from results.study.behavior_course import LABELS, MEASURES, PHRASES, SUMS, TRAIN

REFERENCE = "grpo"
NAMES = (*LABELS, *PHRASES)
WAYS = ("per response", "per 1,000 tokens", "like length")
"""like length: per response, finished responses only, weighted as the base's lengths are."""


@dataclass(frozen=True)
class Responses:
    """Responses of one model at one step, as sums. table: over groups of problems. correct: bool[R]."""

    table: Table
    correct: np.ndarray

    def split(self, correct: bool) -> Responses:
        """Only the correct ones, or only those that are not."""
        chosen = self.correct == correct
        return Responses(self.table.where(chosen), self.correct[chosen])

    def as_one_problem(self) -> Responses:
        """The same sums with problems no longer told apart: enough for a ratio without an interval."""
        return replace(self, table=replace(self.table, problem=np.zeros_like(self.table.problem)))

    @property
    def accuracy(self) -> float:
        """Share of correct responses."""
        return self.split(True).table.total("responses") / self.table.total("responses")

    @property
    def length(self) -> float:
        """Tokens per response."""
        return self.table.total("tokens") / self.table.total("responses")

    @property
    def clipped(self) -> float:
        """Share of responses that were cut or loop."""
        rest = self.table.where(self.table.end != ENDS.index("finished"))
        return rest.total("responses") / self.table.total("responses")

    def rate(self, label: str, way: str) -> Rate:
        """Occurrences per response or per 1,000 tokens, with its interval over groups of problems."""
        groups = np.unique(self.table.problem)
        columns = ("responses", "tokens", f"count/{label}")
        responses, tokens, count = self.table.per_problem(groups, *columns).T
        return count_rate(count, responses if way == WAYS[0] else tokens / 1000, responses)


@dataclass(frozen=True)
class Change:
    """A ratio against the base. ratio: all seeds pooled. low, high: 95%, None where not known.

    seeds: each seed's own ratio, None where there is none.
    """

    ratio: float | None
    low: float | None
    high: float | None
    seeds: tuple[float | None, ...]

    @property
    def direction(self) -> int:
        """1 where the interval lies above 1, -1 below, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 1) - int(self.high < 1)


@dataclass(frozen=True)
class Key:
    """What rows are of. start: fingerprint of the model that training began with."""

    arm: str
    lr: str
    seed: str
    start: str
    measure: str
    benchmark: str
    step: int


Course = Mapping[Key, Responses]


def read_course(rows: pa.Table) -> Course:
    """The rows of behavior.parquet by model, measurement, benchmark and step.

    Where a checkpoint was measured on the same problems twice, "test" and "test64", the one with more
    responses stands for both, as "test": the smaller one's may be among them.
    """
    names = ("arm", "lr", "seed", "start", "measure", "benchmark", "step")
    found: dict[Key, list[int]] = {}
    for place, values in enumerate(zip(*(rows[name].to_pylist() for name in names), strict=True)):
        found.setdefault(Key(*values), []).append(place)
    sums = np.stack([rows[name].to_numpy() for name in SUMS], axis=1).astype(np.float64)
    group, length, correct = (rows[name].to_numpy() for name in ("group", "length", "correct"))
    end = np.array([ENDS.index(name) for name in rows["end"].to_pylist()], dtype=np.int64)
    course: dict[Key, Responses] = {}
    for key, places in found.items():
        table = _table(sums[places], group[places], length[places], end[places])
        same = replace(key, measure=MEASURES[0]) if key.measure in MEASURES else key
        held = course.get(same)
        if held is None or held.table.total("responses") < table.total("responses"):
            course[same] = Responses(table, np.asarray(correct[places]))
    return course


def _table(sums: Floats, group: np.ndarray, length: np.ndarray, end: np.ndarray) -> Table:
    """The sums under the names that behavior.ratios asks for. No thoughts: a response here is one line."""
    columns = {"responses": 0, "tokens": 1, "thoughts": 2}
    values = [sums[:, 0], sums[:, 1], np.zeros(len(sums))]
    for name in NAMES:
        count = sums[:, [SUMS.index(f"n {phrase}") for phrase in LABELS.get(name, (name,))]].sum(axis=1)
        for column, value in (
            ("count", count),
            ("present", sums[:, SUMS.index(f"with {name}")]),
            ("labelled_thoughts", np.zeros(len(sums))),
        ):
            columns[f"{column}/{name}"] = len(values)
            values.append(value)
    zero = np.zeros(len(sums), dtype=np.int64)
    return Table(
        zero, group.astype(np.int64), length.astype(np.int64), end, np.stack(values, axis=1), columns
    )


def pooled(parts: Sequence[Responses]) -> Responses:
    """All of them as if one model had written them."""
    tables = [part.table for part in parts]
    table = Table(
        step=np.concatenate([table.step for table in tables]),
        problem=np.concatenate([table.problem for table in tables]),
        length=np.concatenate([table.length for table in tables]),
        end=np.concatenate([table.end for table in tables]),
        sums=np.concatenate([table.sums for table in tables]),
        columns=tables[0].columns,
    )
    return Responses(table, np.concatenate([part.correct for part in parts]))


def base_of(course: Course, start: str, measure: str, benchmark: str) -> Responses | None:
    """Responses of the model that training began with.

    In training, what its first updates sampled, once per seed: runs of one seed draw the same there, but
    for arms that draw by rules of their own, so that GRPO's are taken where there are any. In an evaluation,
    that of the model itself.
    """
    found: dict[str, Responses] = {}
    for key, responses in sorted(course.items(), key=lambda item: _first(item[0])):
        if (key.start, key.measure, key.benchmark, key.step) == (start, measure, benchmark, 0):
            found.setdefault(key.seed, responses)
    return pooled([found[seed] for seed in sorted(found)]) if found else None


def _first(key: Key) -> tuple[bool, str, str]:
    return key.arm != REFERENCE, key.arm, key.lr


# --- ratios ----------------------------------------------------------------------------------------


def changes(
    base: Responses, seeds: Sequence[Responses], labels: Sequence[str]
) -> dict[str, dict[str, Change]]:
    """Label -> way -> the seeds against the base."""
    together = _ratios(base, pooled(seeds), labels)
    apart = [_ratios(base.as_one_problem(), seed.as_one_problem(), labels) for seed in seeds]
    groups = len(np.intersect1d(base.table.problem, pooled(seeds).table.problem))
    return {
        label: {
            way: with_seeds(together[label][way], [one[label][way].ratio for one in apart], groups)
            for way in WAYS
        }
        for label in labels
    }


def _ratios(base: Responses, run: Responses, labels: Sequence[str]) -> dict[str, dict[str, Ratio]]:
    every: Comparison = compare(base.table, run.table, labels, "tokens")
    alike: Comparison = compare_matched(base.table, run.table, labels, "tokens")
    return {
        label: {
            WAYS[0]: every.ratios[label]["per_response"],
            WAYS[1]: every.ratios[label]["per_1k_tokens"],
            WAYS[2]: alike.ratios[label]["per_response"],
        }
        for label in labels
    }


def with_seeds(ratio: Ratio, seeds: Sequence[float | None], groups: int) -> Change:
    """The interval over problems, widened by the spread of seeds.

    On the logarithm of the ratio, v = w² + s² / S with w the half width of the interval over problems
    (bootstrap over `groups` groups, seeds pooled) in units of its t quantile, and s the standard deviation
    of the S seeds' own log ratios; the interval is log ratio ∓ t √v with Satterthwaite's degrees of freedom
    v² / (w⁴ / (groups - 1) + (s² / S)² / (S - 1)) (Biometrics Bulletin 2, 1946). The noise of samples is in
    both parts, so it is wider than need be. One seed has no spread: then it is the interval over problems.
    No interval where an end over problems, or the ratio of a seed, is not known or has no logarithm.
    """
    from scipy.special import stdtrit

    own = tuple(seeds)
    if len(seeds) < 2:
        return Change(ratio.ratio, ratio.low, ratio.high, own)
    if not ratio.ratio or not ratio.low or not ratio.high or not all(own):
        return Change(ratio.ratio, None, None, own)
    problems = (math.log(ratio.high / ratio.low) / 2 / float(stdtrit(groups - 1, 0.975))) ** 2
    spread = float(np.var([math.log(one) for one in own if one], ddof=1)) / len(own)
    total = problems + spread
    freedom = total**2 / (problems**2 / (groups - 1) + spread**2 / (len(own) - 1))
    reach = float(stdtrit(freedom, 0.975)) * math.sqrt(total)
    return Change(ratio.ratio, ratio.ratio * math.exp(-reach), ratio.ratio * math.exp(reach), own)


# --- what is shown ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """The seeds of one arm at one rate in one measurement.

    at: step -> the responses of each seed that has it, sorted; some seeds are trained for longer.
    """

    name: str
    lr: str
    start: str
    seeds: tuple[str, ...]
    at: Mapping[int, tuple[Responses, ...]]

    @property
    def last(self) -> int:
        """The end of training, or the last checkpoint that was measured."""
        return max(self.at)


def arms_of(course: Course, measure: str, benchmark: str, start: str) -> dict[str, Arm]:
    """Arm -> its seeds, at the rate that has the most of them; at the largest rate of several such.

    Only training that began with the model `start`. Steps after 0.
    """
    rates: dict[str, dict[str, dict[str, dict[int, Responses]]]] = {}
    for key, responses in course.items():
        if (key.measure, key.benchmark, key.start) == (measure, benchmark, start) and key.step and key.lr:
            seeds = rates.setdefault(key.arm, {}).setdefault(key.lr, {})
            seeds.setdefault(key.seed, {})[key.step] = responses
    arms = {}
    for name, by_rate in sorted(rates.items()):
        lr = max(by_rate, key=lambda lr: (len(by_rate[lr]), float(lr)))
        of_seed = by_rate[lr]
        order = sorted(of_seed, key=int)
        steps = sorted({step for found in of_seed.values() for step in found})
        at = {step: tuple(of_seed[seed][step] for seed in order if step in of_seed[seed]) for step in steps}
        arms[name] = Arm(name, lr, start, tuple(order), at)
    return arms


def start_of(course: Course) -> str:
    """Fingerprint of the shipped base: of GRPO's start, else the most common one."""
    starts = sorted({(key.arm, key.start) for key in course if key.measure == TRAIN and key.lr})
    grpo = [start for arm, start in starts if arm == REFERENCE]
    found = grpo or [start for _, start in starts]
    return max(found, key=found.count) if found else ""
