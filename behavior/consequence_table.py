"""The table of `prerl-behavior consequence`. What the numbers are: behavior.consequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from behavior.consequence import NO_MARK, NONE_AFTER, NONE_BEFORE, WHOLE
from prerl_eval.layout import WIDTH, percent, shorten, wrapped

NOTE = (
    "In %, with 95% intervals over problems. marks: passages with words of the label; of them, none before: "
    "no answer stood yet, none after: no answer before the next mark. fixed: of wrong answers before the "
    "mark, those followed by a right one; other: by another wrong one. broken: of right answers, those "
    f"followed by a wrong one. {NO_MARK}: steps from one answer to the next without a mark between, to "
    f"compare with. {WHOLE}: a response's first answer and its last. A difference says what goes together, "
    "not what a reflection causes."
)


def render_consequence(found: Mapping[str, Any]) -> str:
    """A table of at most WIDTH columns per benchmark, and how to read it."""
    lexicon, step = found["lexicon"], found["step"]
    where = f"{found['run']}{'' if step is None else f', step {step}'}"
    lines = [
        f"{shorten(where, WIDTH - 30)}, lexicon {lexicon['name']} {lexicon['version']}",
        f"  {'':<16}  {'marks':>7}  {'none':>6}  {'none':>6}  {'fixed':>23}  {'other':>5}  {'broken':>23}",
        f"  {'':<16}  {'':>7}  {'before':>6}  {'after':>6}",
    ]
    for name, numbers in found["benchmarks"].items():
        lines.append(
            f"{name}: {numbers['candidates']:,} answers in {numbers['with_candidates']:,} of "
            f"{numbers['responses']:,} responses"
        )
        lines += [_line(label, row) for label, row in numbers["labels"].items()]
        lines += _notes(numbers)
        lines.append("")
    return "\n".join([*lines, *wrapped(NOTE, "")])


def _line(label: str, row: Mapping[str, Any]) -> str:
    outcomes, total = row["outcomes"], row["passages"]
    plain = label in (NO_MARK, WHOLE)
    cells = [
        f"{total:>7,}",
        f"{'' if plain else percent(outcomes[NONE_BEFORE] / total):>6}",
        f"{'' if plain else percent(outcomes[NONE_AFTER] / total):>6}",
        f"{_rate(row['rates']['fixed']):>23}",
        f"{percent(row['rates']['other']['value']):>5}",
        f"{_rate(row['rates']['broken']):>23}",
    ]
    return f"  {shorten(label, 16):<16}  {'  '.join(cells)}"


def _notes(numbers: Mapping[str, Any]) -> list[str]:
    notes = []
    rejected = sum(row["rejected"] for row in numbers["labels"].values())
    if rejected:
        shares = ", ".join(
            f"{label} {percent(row['rejected'] / row['passages'])}"
            for label, row in numbers["labels"].items()
            if label != WHOLE
        )
        notes += wrapped(f'the answer before had been refused by the response ("no") in {shares}', "  ")
    if numbers["unjudged"]:
        notes += wrapped(
            f"{numbers['unjudged']:,} answers that the grader could not judge are left out", "  "
        )
    return notes


def _rate(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "–"
    return f"{percent(rate['value'])} {percent(rate['low'])}–{percent(rate['high'])} of {rate['of']:,}"
