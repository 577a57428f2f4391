"""The paper's claims beside what was measured here, with verdicts by a rule.

A claim is about signs: each of its parts is a quantity with a 95% interval that the claim puts on one side
of a line. "holds": all parts lie there; "holds partly": some do; "does not hold here": none does, and some
lie on the other side; "not shown": the rest. Differences of scores count as lying on a side by Holm's test
over all of them in this table. Where one or two seeds allow no test the interval decides, and the verdict
has a †: it is about those models.

Covers which claims there are and where their figures come from. The figures are made by the modules of
the tables; the paper's are those of arXiv 2604.14142.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from results.study import evidence
from results.study.committed import Committed
from results.study.contrasts import Contrast
from results.study.evidence import Part
from results.study.markdown import DASH, adjusted, table, written

NOT_TESTABLE = "not testable here"


@dataclass(frozen=True)
class Claim:
    """claim: in words, with the paper's figure. where: the part of results/nano with the whole table.

    short: in a few words, for a reader of the project's README; "" where it is not the paper's. of: how
    many parts it has when all of them are measured.
    """

    claim: str
    short: str
    where: str
    parts: Callable[[Committed], Iterator[Part]]
    of: int


@dataclass(frozen=True)
class Found:
    """A claim with its figures and verdict, as they are printed."""

    claim: Claim
    figures: str
    verdict: str


PARTLY = {
    "holds": "on the claim's side",
    "holds partly": "partly on the claim's side",
    "does not hold here": "not on the claim's side",
    "not shown": "they do not tell",
}


def verdict(signs: Sequence[int], of: int) -> str:
    """From 1 (on the claimed side), -1 (on the other), 0 (undecided) of the parts measured to a word."""
    if not signs:
        return "not measured yet"
    if len(signs) < of:
        return f"{len(signs)} of {of} parts measured, {PARTLY[verdict(signs, len(signs))]}"
    if all(sign > 0 for sign in signs):
        return "holds"
    if any(sign > 0 for sign in signs):
        return "holds partly"
    return "does not hold here" if any(sign < 0 for sign in signs) else "not shown"


def judged(data: Committed) -> list[Found]:
    """Every claim that can be tested here, in order."""
    parts = [list(claim.parts(data)) for claim in CLAIMS]
    cells = [[part.contrast for part in found if part.contrast] for found in parts]
    tested = iter(cell for row in adjusted({"": cells})[""] for cell in row if isinstance(cell, Contrast))
    made = []
    for claim, found in zip(CLAIMS, parts, strict=True):
        after = [next(tested) if part.contrast else None for part in found]
        texts = [
            part.text if cell is None else f"{part.text} {written(cell)}"
            for part, cell in zip(found, after, strict=True)
        ]
        signs = [_sign(part, cell) for part, cell in zip(found, after, strict=True)]
        few = any(sign and part.few for sign, part in zip(signs, found, strict=True))
        made.append(Found(claim, "; ".join(texts) or DASH, verdict(signs, claim.of) + " †" * few))
    return made


def claims_table(data: Committed) -> str:
    """Markdown: claim, figures here, verdict, where to read more; then what is not testable here."""
    rows = [
        [str(number), one.claim.claim, one.figures, f"**{one.verdict}**", one.claim.where]
        for number, one in enumerate(judged(data), start=1)
    ]
    rows += [
        [str(number), claim, why, f"**{NOT_TESTABLE}**", ""]
        for number, (claim, why) in enumerate(UNTESTABLE, start=len(rows) + 1)
    ]
    return table(["", "claim (paper's figure)", "here, 95%", "verdict", "see"], rows)


def verdicts_table(data: Committed) -> str:
    """Markdown: the claims of the paper in short, and their verdicts."""
    rows = [[one.claim.short, one.verdict] for one in judged(data) if one.claim.short]
    return table(["claim", "here"], [*rows, *([claim, NOT_TESTABLE] for claim, _ in UNTESTABLE)])


def _sign(part: Part, tested: Contrast | None) -> int:
    if tested is not None and not tested.few:
        return part.claimed * tested.sign
    return 1 if part.low > 0 else -1 if part.high < 0 else 0


CLAIMS = (
    Claim(
        "Gradients of log P(y) and log P(y\\|x) agree (cosine .44, none of 400 negative)",
        "gradients of log P(y) and log P(y\\|x) agree",
        "[alignment](nano/alignment.md)",
        evidence.alignment,
        3,
    ),
    Claim(
        "A small step on log P(y) moves log P(y\\|x) as the first order says (within 5%)",
        "a small step on log P(y) moves log P(y\\|x) as predicted",
        "[alignment](nano/alignment.md)",
        evidence.step,
        1,
    ),
    Claim(
        "*(not the paper's)* That agreement rests on responses that restate the problem and on documents "
        "without one: the cosine is lower without",
        "",
        "[alignment](nano/alignment.md)",
        evidence.needs_corpus,
        3,
    ),
    Claim(
        "NSR-PreRL alone makes the base better",
        "NSR-PreRL alone makes the base better",
        "[main table](nano/README.md)",
        evidence.nsr_gains,
        2,
    ),
    Claim(
        "NSR-PreRL is ahead of RL early (its step 20 is RL's step 60)",
        "NSR-PreRL is ahead of RL early",
        "[long runs](nano/README.md#three-times-as-long)",
        evidence.nsr_ahead,
        4,
    ),
    Claim(
        "PSR-PreRL degrades the model",
        "PSR-PreRL degrades",
        "[long runs](nano/README.md#three-times-as-long)",
        evidence.psr_degrades,
        4,
    ),
    Claim(
        "Full PreRL gains like RL at first, then collapses",
        "full PreRL gains, then collapses",
        "[long runs](nano/README.md#three-times-as-long)",
        evidence.prerl_collapses,
        3,
    ),
    Claim(
        "Reflection and transition words rise (×6.54, ×14.89 per response), at like length too",
        "reflection and transition words rise, at like length too",
        "[words](nano/behavior.md)",
        evidence.words,
        12,
    ),
    Claim(
        "DSRL is above GRPO in Avg (57.54 against 55.79), out of distribution too (+2 to +5)",
        "DSRL is above GRPO in Avg",
        "[budgets](nano/README.md#equal-budgets)",
        evidence.dsrl_avg,
        4,
    ),
    Claim(
        "DSRL is above GRPO in Pass@K",
        "DSRL is above GRPO in Pass@K",
        "[main table](nano/README.md)",
        evidence.dsrl_pass,
        4,
    ),
    Claim(
        "*(not the paper's)* DSRL solves more in 32 samples than the base",
        "",
        "[main table](nano/README.md)",
        evidence.dsrl_base,
        2,
    ),
    Claim(
        "A warm-up on log P(y) is better than one on log P(y\\|x) (57.54 against 54.38)",
        "a warm-up on log P(y) beats one on log P(y\\|x)",
        "[controls](nano/README.md#controls)",
        evidence.space,
        4,
    ),
    Claim(
        "10-25 updates of warm-up are best",
        "10-25 updates of warm-up are best",
        "[length](nano/README.md#length-of-the-warm-up)",
        evidence.optimum,
        2,
    ),
    Claim(
        "The warm-up prunes wrong reasoning and spares right one",
        "the warm-up prunes wrong reasoning, spares right",
        "[what was kept](nano/expansion.md)",
        evidence.prunes,
        2,
    ),
    Claim(
        "DSRL finds problems that the base does not solve",
        "DSRL solves what the base does not",
        "[what was kept](nano/expansion.md)",
        evidence.expands,
        2,
    ),
)

UNTESTABLE = (
    (
        "Judged behaviours (subgoals, enumeration, verification, backtracking) become more",
        "no judge model was at hand; `prerl-behavior judge` is for those who have one",
    ),
    (
        "The scores of Qwen3-4B and 8B on six mathematics sets and four others",
        "no GPU and no weights were at hand; recipes `qwen3-4b`, `qwen3-8b` hold the settings",
    ),
)
