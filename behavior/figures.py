"""From counts to figures: the JSON-able dictionary that tables, pictures and `--json` show.

Covers which figures are given, of which responses, and what must be said beside them. Does not cover
estimators (rates.py, ratios.py) or showing (tables.py, plots.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from behavior.cells import ENDS, PROBLEMS, Table
from behavior.count import Counted
from behavior.lexicon import Lexicon
from behavior.rates import LabelRates, Rate, label_rates
from behavior.ratios import Comparison, compare, compare_matched

WINDOWS = 20
"""A training run of more steps is shown in as many windows of about equally many steps."""

NO_BEHAVIOUR = (
    "Words are not behaviour: they may become more or fewer while judged behaviour does not, and the other "
    "way round (arXiv 2503.18892); see `prerl-behavior judge`."
)


def figures(
    counted: Sequence[Counted], lexicon: Lexicon, base: str | None = None, tokenizer: str | None = None
) -> dict[str, Any]:
    """All figures of some sources, JSON-able. base: name of the one that the others are compared with.

    tokenizer: what counted the tokens, None for the counts stored with the responses. Keys:

        lexicon    name, version, source, rule, unit, fingerprint
        token_unit what `tokens` counts: stored tokens, tokens of a tokenizer, or words where some
                   response has no count
        base       name or None
        notes      what a reader must know, in sentences
        runs.<name>:
            kind, steps, responses, tokens, characters, thoughts, masked_share (of characters)
            problems          None where they were more than are told apart
            labels.<label>    see `_label`
            phrases.<phrase>  occurrences between word boundaries, unmasked
            groups.<end>      {responses, tokens, labels} of the responses that finished, were clipped or
                              loop; each is in one of them
            windows           [{first, last, responses, tokens, labels}] where there are several steps
            against_base      {all, matched}, each {problems, left_out, labels}: see `_against`
    """
    labels = list(lexicon.labels)
    tokens, unit = _token_unit(counted, tokenizer)
    tables = {one.source.name: one.table for one in counted}
    runs = {}
    for one in counted:
        runs[one.source.name] = _run(one, labels, tokens)
        if base is not None and one.source.name != base:
            runs[one.source.name]["against_base"] = {
                "all": _against(compare(tables[base], one.table, labels, tokens)),
                "matched": _against(compare_matched(tables[base], one.table, labels, tokens)),
            }
    about = {key: getattr(lexicon, key) for key in ("name", "version", "source", "rule", "unit")}
    return {
        "lexicon": about | {"fingerprint": lexicon.fingerprint(), "labels": labels},
        "token_unit": unit,
        "base": base,
        "runs": runs,
        "notes": _notes(counted, unit, base),
    }


def _token_unit(counted: Sequence[Counted], tokenizer: str | None) -> tuple[str, str]:
    """One unit for all sources, else their rates could not be compared: (column, words for it)."""
    if tokenizer is not None:
        return "tokens", f"tokens of {tokenizer}"
    if all(one.table.total("known") == one.table.total("responses") for one in counted):
        return "tokens", "stored tokens"
    return "words", "words"


def _run(one: Counted, labels: Sequence[str], tokens: str) -> dict[str, Any]:
    table, steps = one.table, one.steps
    responses = table.total("responses")
    ends = {end: table.where(table.end == number) for number, end in enumerate(ENDS)}
    return {
        "kind": one.source.kind,
        "series": one.source.series,
        "steps": steps if steps != [0] else [],
        **_sums(table, tokens),
        "characters": round(table.total("characters")),
        "problems": None if (table.problem >= PROBLEMS).any() else len(np.unique(table.problem)),
        "thoughts": round(table.total("thoughts")),
        "masked_share": table.total("masked") / (table.total("characters") or 1),
        "end_unknown": table.total("unknown_ends") / responses,
        "labels": {
            label: _label(rates) | {"position": _shares(one.places[label].tolist())}
            for label, rates in label_rates(table, labels, tokens).items()
        },
        "phrases": one.phrases,
        "groups": {end: _part(part, labels, tokens) for end, part in ends.items()},
        "windows": [
            {"first": int(some[0]), "last": int(some[-1])}
            | _part(table.where(np.isin(table.step, some)), labels, tokens)
            for some in np.array_split(steps, min(WINDOWS, len(steps)))
            if len(steps) > 1
        ],
    }


def _part(table: Table, labels: Sequence[str], tokens: str) -> dict[str, Any]:
    rates = label_rates(table, labels, tokens)
    return _sums(table, tokens) | {"labels": {label: _label(rates[label]) for label in labels}}


def _sums(table: Table, tokens: str) -> dict[str, Any]:
    return {"responses": round(table.total("responses")), "tokens": round(table.total(tokens))}


def _label(rates: LabelRates) -> dict[str, Any]:
    """count (in the lexicon's unit), per_response, per_1k_tokens, presence (share of responses with any),
    share_of_thoughts (share of thoughts that bear the label), each with its 95% interval `<rate>_ci`;
    occurrences and masked (occurrences that were not counted), whatever the unit."""
    found: dict[str, Any] = {}
    for field in fields(rates):
        name, value = field.name, getattr(rates, field.name)
        if isinstance(value, Rate):
            found[name] = value.value
            found[f"{name}_ci"] = None if value.low is None else [value.low, value.high]
        else:
            found[name] = value
    return found


def _shares(counts: list[int]) -> list[float] | None:
    total = sum(counts)
    return [count / total for count in counts] if total else None


def _against(comparison: Comparison) -> dict[str, Any]:
    """problems: common ones. left_out: responses of {base, run} without a partner. labels.<label>.<rate>:
    {value, base, ratio, low, high} over what is left; a base of 0 yields no ratio."""
    return {
        "problems": comparison.problems,
        "left_out": dict(zip(("base", "run"), comparison.left_out, strict=True)),
        "labels": {
            label: {metric: asdict(ratio) for metric, ratio in ratios.items()}
            for label, ratios in comparison.ratios.items()
        },
    }


def _notes(counted: Sequence[Counted], unit: str, base: str | None) -> list[str]:
    notes = []
    if unit == "words":
        lacking = [
            one.source.name for one in counted if one.table.total("known") < one.table.total("responses")
        ]
        notes.append(
            f"token counts are not known for {_some(lacking)}: lengths are words between white space, "
            "everywhere; --tokenizer counts tokens"
        )
    blind = [one.source.name for one in counted if one.table.total("unknown_ends")]
    if blind:
        notes.append(
            f"how responses ended is not known for {_some(blind)}: those that do not loop are taken as "
            "finished"
        )
    alone = [one.source.name for one in counted if one.table.total("unprompted")]
    if alone:
        notes.append(f"prompts are not known for {_some(alone)}: text copied from them is not masked")
    if any((one.table.problem >= PROBLEMS).any() for one in counted):
        notes.append(
            f"more than {PROBLEMS:,} problems: the others are pooled by hash, and intervals draw whole groups"
        )
    for one in counted:
        if one.source.missing:
            notes.append(
                f"{one.source.name} is incomplete: {one.source.missing:,} planned samples are missing"
            )
    if any(len(one.steps) > 1 for one in counted):
        notes.append(
            "a training run's rates are over all its steps, which had different policies; see its windows"
        )
    if base is not None:
        notes += _unpaired(counted, base)
    return [*notes, NO_BEHAVIOUR]


def _unpaired(counted: Sequence[Counted], base: str) -> list[str]:
    tables = {one.source.name: one.table for one in counted}
    notes = []
    for name, table in tables.items():
        common = np.intersect1d(tables[base].problem, table.problem)
        if not len(common):
            notes.append(f"{name} and {base} have no problem in common: no ratio")
        elif name != base and (lost := len(np.setxor1d(tables[base].problem, table.problem))):
            notes.append(
                f"{name} against {base}: over the {len(common):,} problems of both; {lost:,} of one alone "
                "are left out"
            )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
