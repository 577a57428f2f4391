"""`prerl-behavior consequence`: did the answer change after a reflection or transition, and which way?

Covers following the candidate answers of a response across the marks of a lexicon, and the rates. A
step goes from one candidate to the next; it belongs to the passage that stands last between the two, or
to "no mark" where none does. Does not cover finding candidates (behavior.candidates), marks
(behavior.finding) or verdicts (prerl_eval.grading). Limits: docs/agreement.md.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from behavior.agreement import share
from behavior.candidates import Candidate, as_completion, find_candidates
from behavior.finding import Finder, Mark
from behavior.lexicon import load_lexicon
from prerl_eval import store
from prerl_eval.console import progress
from prerl_eval.grading import GradingPool, Verdict
from prerl_eval.grading.math import CUT_OFF
from prerl_eval.regrade import stored_problem
from prerl_eval.run_record import read_record
from prerl_eval.tally import tally_run, tally_windows

COLUMNS = (
    "benchmark",
    "problem_id",
    "step",
    "prompt",
    "completion",
    "finish_reason",
    "gold",
    "extra",
    "grader",
)

NO_MARK = "no mark"
"""The label of steps from one candidate to the next with no mark between: what marks compare with."""

WHOLE = "first to last"
"""The label of what became of a response from its first candidate to its last."""

FROM_WRONG = ("wrong->right", "wrong->other", "wrong kept")
FROM_RIGHT = ("right->wrong", "right kept")
CHANGES = (*FROM_WRONG, *FROM_RIGHT)
RATES = {
    "fixed": (("wrong->right",), FROM_WRONG),
    "other": (("wrong->other",), FROM_WRONG),
    "broken": (("right->wrong",), FROM_RIGHT),
    "changed": (("wrong->right", "wrong->other", "right->wrong"), CHANGES),
}
"""name -> (outcomes that count, outcomes that they are a share of)."""

NONE_AFTER, NONE_BEFORE = "none after", "none before"
"""No candidate between this mark and the next; no candidate before the mark, so nothing to change."""

_SENTENCE_END = re.compile(r"[.!?]\s|\n\s*\n")


class Judged(NamedTuple):
    """A candidate with its verdict. same: key that equal answers share."""

    start: int
    end: int
    right: bool
    same: str
    rejected: bool


class Passage(NamedTuple):
    """Marks that belong together: label of the first, from its start to the end of the last."""

    label: str
    start: int
    end: int


@dataclass
class Counts:
    """What happened at one label, per problem. rejected: steps whose answer before had been refused."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    rejected: int = 0

    def add(self, problem: str, outcome: str, rejected: bool = False) -> None:
        """Count one passage or step."""
        self.outcomes.setdefault(problem, Counter())[outcome] += 1
        self.rejected += rejected


def passages(text: str, marks: Sequence[Mark], candidates: Sequence[Judged]) -> list[Passage]:
    """Marks of one label or of several, joined where neither a sentence ends nor an answer stands between.

    "Wait, let me check" is one reflection, not two. marks, candidates: in order of their starts.
    """
    starts = [candidate.start for candidate in candidates]
    joined: list[Passage] = []
    for mark in marks:
        last = joined[-1] if joined else None
        if (
            last is None
            or bisect_left(starts, last.end) < bisect_left(starts, mark.start)
            or _SENTENCE_END.search(text, last.end, mark.start)
        ):
            joined.append(Passage(mark.label, mark.start, mark.end))
        else:
            joined[-1] = last._replace(end=max(last.end, mark.end))
    return joined


def follow(found: Sequence[Passage], candidates: Sequence[Judged]) -> Iterator[tuple[str, str, bool]]:
    """(label, outcome, whether the answer before was rejected) of every passage and unmarked step.

    The passage's candidates are the last that begins before it and the first after it, where that comes
    before the next passage. Both in order of their starts.
    """
    starts = [candidate.start for candidate in candidates]
    marked: set[int] = set()
    for passage, later in zip_longest(found, found[1:]):
        after = bisect_left(starts, passage.start)
        marked.add(after)
        if not after:
            yield passage.label, NONE_BEFORE, False
        elif after == len(starts) or (later is not None and starts[after] >= later.start):
            yield passage.label, NONE_AFTER, candidates[after - 1].rejected
        else:
            before = candidates[after - 1]
            yield passage.label, change(before, candidates[after]), before.rejected
    for after in set(range(1, len(starts))) - marked:
        before = candidates[after - 1]
        yield NO_MARK, change(before, candidates[after]), before.rejected


def change(before: Judged, after: Judged) -> str:
    """One of CHANGES."""
    if before.right:
        return "right kept" if after.right else "right->wrong"
    if after.right:
        return "wrong->right"
    return "wrong kept" if before.same == after.same else "wrong->other"


def consequence(run: Path, lexicon: str = "seal", step: int | None = None) -> dict[str, Any]:
    """What became of the answers of a run's responses at each label of a lexicon, JSON-able.

    Returns {run, lexicon, step, benchmarks}; benchmarks.<name> is {responses, with_candidates, candidates,
    unjudged, labels}; labels.<label> is {passages, problems, outcomes, rejected, rates}, rates of those in
    RATES as {value, low, high, of}. Raises UserError for what is no run or holds no samples.
    """
    record = read_record(run)
    if record.get("kind") == "training" and step is None:
        tally_windows(run, 1)
    else:
        tally_run(run, step)
    chosen = load_lexicon(lexicon)
    benchmarks: dict[str, _Found] = {}
    parts = store.parts(run)
    total = sum(store.read_part(part, ["step"]).num_rows for part in parts)
    with GradingPool() as pool, progress("following answers", total, unit="responses") as advance:
        finder = Finder(chosen)
        for part in parts:
            rows = store.read_part(part, COLUMNS).to_pylist()
            asked = [(row, *_ask(row, pool)) for row in rows if step is None or row["step"] == step]
            for row, candidates, replies in asked:
                _count(benchmarks.setdefault(row["benchmark"], _Found()), row, candidates, replies, finder)
            advance(len(rows))
    return {
        "run": str(run),
        "lexicon": {"name": chosen.name, "version": chosen.version},
        "step": step,
        "benchmarks": {name: _numbers(found) for name, found in benchmarks.items()},
    }


@dataclass
class _Found:
    responses: int = 0
    with_candidates: int = 0
    candidates: int = 0
    unjudged: int = 0
    labels: dict[str, Counts] = field(default_factory=dict)


def _ask(row: Mapping[str, Any], pool: GradingPool) -> tuple[list[Candidate], list[Future[Verdict]]]:
    """The row's candidates, and the verdicts that are being worked out."""
    problem, grader = stored_problem(row), str(row["grader"]).partition("/")[0]
    candidates = find_candidates(row["completion"], grader)
    if (
        row["finish_reason"] in CUT_OFF
        and candidates
        and candidates[-1].end >= len(row["completion"].rstrip())
    ):
        candidates.pop()  # nobody knows how it would have gone on
    replies = [
        pool.submit(problem, as_completion(candidate.answer, grader), finish_reason="stop")
        for candidate in candidates
    ]
    return candidates, replies


def _count(
    found: _Found,
    row: Mapping[str, Any],
    candidates: Sequence[Candidate],
    replies: Sequence[Future[Verdict]],
    finder: Finder,
) -> None:
    judged = []
    for candidate, reply in zip(candidates, replies, strict=True):
        verdict = reply.result()
        if verdict.status in ("correct", "wrong"):
            right = verdict.status == "correct"
            judged.append(
                Judged(candidate.start, candidate.end, right, verdict.answer_class, candidate.rejected)
            )
        else:
            found.unjudged += 1
    found.responses += 1
    found.candidates += len(judged)
    found.with_candidates += bool(judged)
    problem = str(row["problem_id"])
    marks = [mark for mark in finder.find(row["completion"], row["prompt"]).marks if not mark.masked]
    marks.sort(key=lambda mark: (mark.start, mark.end))
    for label, outcome, rejected in follow(passages(row["completion"], marks, judged), judged):
        found.labels.setdefault(label, Counts()).add(problem, outcome, rejected)
    if len(judged) > 1:
        found.labels.setdefault(WHOLE, Counts()).add(problem, change(judged[0], judged[-1]))


def _numbers(found: _Found) -> dict[str, Any]:
    order = [*sorted(set(found.labels) - {NO_MARK, WHOLE}), NO_MARK, WHOLE]
    return {
        "responses": found.responses,
        "with_candidates": found.with_candidates,
        "candidates": found.candidates,
        "unjudged": found.unjudged,
        "labels": {label: _rates(found.labels[label]) for label in order if label in found.labels},
    }


def _rates(counts: Counts) -> dict[str, Any]:
    """Counts over all problems, and each rate as a share of its marks, interval over problems."""
    per_problem = list(counts.outcomes.values())
    total = sum(per_problem, Counter())
    rates = {}
    for name, (hits, of) in RATES.items():
        estimate = share(
            [sum(outcomes[hit] for hit in hits) for outcomes in per_problem],
            [sum(outcomes[one] for one in of) for outcomes in per_problem],
        )
        rates[name] = asdict(estimate) | {"of": sum(total[one] for one in of)}
    return {
        "passages": total.total(),
        "problems": len(per_problem),
        "outcomes": {outcome: total[outcome] for outcome in (*CHANGES, NONE_AFTER, NONE_BEFORE)},
        "rejected": counts.rejected,
        "rates": rates,
    }
