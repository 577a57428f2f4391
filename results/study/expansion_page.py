"""The pages expansion.md and alignment.md of a study, and the picture of the latter, from committed data.

Covers putting tables between sentences that hold no figures of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from results.study.alignment import tokens_of
from results.study.alignment_tables import alignment_picture, alignment_table, bins_table, predictors_table
from results.study.committed import Committed, load_committed
from results.study.expansion import expansion_table, newly_table, rare_table
from results.study.kl import kl_table
from results.study.plan import Study
from results.study.trace_tables import mass_table, recovery_table

Part = tuple[str, Callable[[Committed], str]]

EXPANSION = """\
# What training found, kept and lost

Problems and solutions are counted against the base and beside a second run of the base with another sampling
seed ("base again", null): a model that did not change also loses and finds some. Terms, estimands, intervals
and where they fail: docs/compare-statistics.md (support, rare paths), docs/score.md (masses). Intervals are
95%; p after Holm over all tests of one table. Countdown is what was trained on, countdown-ood has one number
more. Everything here is made from committed data by `python -m results.study --tables`."""

SUPPORT = """\
## Solved and unsolved: support

Expected numbers of problems that base and method solve in m samples each. Retention: both / (both + base
only); discovery: method only / (both + method only); less null: points more than the base again has."""

NEWLY = """\
## Which problems

Correct samples on one side only, samples of all seeds together (base / method). Called: told apart from luck
by Fisher's exact test at a false discovery rate of 5%."""

RARE = """\
## Rare paths through the stages

Units that the base reached, weighted by the probability that its chance is at most 5%; a solution is one
canonical expression of a problem. Reached: in m samples of the stage; null: by the base again. Recovered:
missed at the stage before, reached here; its null is what unchanged models would show. New: never reached by
the base. Less null: points, and for new units their number."""

MASS = """\
## Mass of the base's own responses

Log-probs of the base's stored responses under the trained checkpoint less those under the base. cut: at least
ten times less likely. mass ×: probability of the kind by importance weights, trained / base (≥: part of it is
on responses that the base's samples do not show; –: it would rest on under ten problems). The null is exact:
an unchanged model has change 0, cut 0 and mass 1; chance lies in which responses and problems were looked at
(and seeds), which is what intervals are about. Any training lowers the mean change, so compare kinds."""

RECOVERY = """\
## Lost in the warm-up, recovered by RL?

Share of the base's responses that are cut at update 10 (the end of DSRL's warm-up) and at 40, and of those
cut at 10 the share that is not cut at 40."""

DISTANCE = """\
## How far it moved

KL(base || checkpoint) in nats per response to countdown, by the base's own responses, after the S updates of
the warm-up (of an arm without one: after as many as DSRL's has). Mean ± sd over seeds (their number); of one
seed its standard error over problems."""

EXPANSION_PARTS: tuple[Part, ...] = (
    (SUPPORT, expansion_table),
    (NEWLY, newly_table),
    (RARE, rare_table),
    (MASS, mass_table),
    (RECOVERY, recovery_table),
    (DISTANCE, kl_table),
)

ALIGNMENT = """\
# Gradient alignment of every base model

Do steps on log P(y) move log P(y|x)? `prerl-train align` on responses of each base to countdown; what is
measured and how to read it: docs/alignment.md. Base models of other corpora: norestate, responses do not
repeat their problem; allprompted, no document without a prompt; neither, both; seed1: the shipped corpus and
size with another seed. Intervals are 95% over problems. Made by `python -m results.study --tables`."""

CONTROL = """\
## Whole responses, and their control

Cosine of the two gradients over all parameters, with the own prompt and with another problem's; cosine of
tokens that repeat the problem and of others, one by one; mean gap of log p(y|x) and log p(y); realised over
predicted change of log P(y|x) by a small step on log P(y)."""

PREDICTORS = """\
## What predicts it

Rank correlation over tokens; for the shipped base also among the tokens that repeat the problem, and among
the others."""

ALIGNMENT_PARTS: tuple[Part, ...] = (
    (CONTROL, alignment_table),
    ("## Where: tokens by bin", bins_table),
    (PREDICTORS, predictors_table),
)

PAGES: Mapping[str, tuple[str, tuple[Part, ...]]] = {
    "expansion.md": (EXPANSION, EXPANSION_PARTS),
    "alignment.md": (ALIGNMENT, ALIGNMENT_PARTS),
}
PICTURE = "alignment.png"


def pages(study: Study) -> dict[str, str]:
    """File name -> the text of each page."""
    data = load_committed(study)
    return {
        name: "\n\n".join([introduction, *(f"{text}\n\n{made(data)}" for text, made in parts)])
        + _picture(name, data)
        for name, (introduction, parts) in PAGES.items()
    }


def _picture(page: str, data: Committed) -> str:
    there = page == "alignment.md" and tokens_of(data.study.folder)
    return f"\n\n![Mean cosine of tokens by bin]({PICTURE})\n" if there else "\n"


def write_pages(study: Study) -> list[Path]:
    """Write pages and picture beside the data; returns their files."""
    data = load_committed(study)
    written = []
    for name, text in pages(study).items():
        (study.folder / name).write_text(text, encoding="utf-8")
        written.append(study.folder / name)
    if tokens_of(study.folder):
        alignment_picture(data, study.folder / PICTURE)
        written.append(study.folder / PICTURE)
    return written
