"""`prerl-behavior agree`: do judges, repeats, lexicons and people say the same of the same text?

Covers which items two voices are compared on, and the figures as a dictionary. Does not cover
reading judgements (behavior.judgements), estimators (behavior.agreement) or the table (agree_table).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from behavior.agreement import compare, correct_prevalence, fleiss
from behavior.judgements import JUDGE_LABELS, Item, Voice, open_voice, responses_of
from behavior.label_sheet import draw_items, write_sheet
from behavior.sources import open_source
from behavior.thoughts import split_thoughts
from prerl_eval.errors import UserError
from prerl_eval.store import RowKey, stored_keys

UNITS = ("response", "thought")


@dataclass(frozen=True)
class Panel:
    """The voices that are compared, and on what. unit: "response", "thought" or, of a sheet, "passage".

    spans: passages of every response, where the unit is not the response.
    """

    voices: tuple[Voice, ...]
    run: Path | None
    unit: str
    spans: Mapping[RowKey, tuple[Item, ...]]

    def tried(self, *voices: Voice) -> list[Item]:
        """The items that all of the voices were asked about."""
        sheet = next((voice for voice in voices if voice.kind == "sheet"), None)
        if sheet is not None:
            items = list(sheet.cells)
        else:
            keys = sorted(voices[0].tried)
            items = [item for key in keys for item in self.items_of(key)]
        return [item for item in items if all(voice.has_tried(item) for voice in voices)]

    def items_of(self, key: RowKey) -> tuple[Item, ...]:
        """The items that a response is judged by."""
        return (Item(key),) if self.unit == "response" else self.spans.get(key, ())


def agree(names: Sequence[str], unit: str = "response", same: Sequence[str] = ()) -> dict[str, Any]:
    """Agreement of every two of the voices, of all of them, and what the first sheet corrects.

    names: see `open_voice`. unit: what is judged, where no sheet says. same: "A=B", labels to be taken
    for each other. Returns {unit, run, voices, pairs, fleiss, corrected}, JSON-able; estimates are
    {value, low, high}. Raises UserError for fewer than two voices, voices of different runs, voices
    without a label in common, and as `open_voice` does.
    """
    panel = _panel(names, unit)
    matched = [_equal_labels(text) for text in same]
    pairs = [_pair(panel, a, b, matched) for a, b in combinations(panel.voices, 2)]
    if not any(pair["labels"] for pair in pairs):
        held = "; ".join(f"{voice.name}: {', '.join(voice.labels)}" for voice in panel.voices)
        raise UserError(f"no label is common to two of them ({held}); say which are the same with --same A=B")
    truth = next((voice for voice in panel.voices if voice.kind == "sheet"), None)
    judges = [voice for voice in panel.voices if voice.kind != "sheet"]
    return {
        "unit": panel.unit,
        "run": str(panel.run) if panel.run else None,
        "voices": {
            voice.name: {"kind": voice.kind, "labels": list(voice.labels), "statuses": dict(voice.statuses)}
            for voice in panel.voices
        },
        "pairs": pairs,
        "fleiss": _all_of_them(panel),
        "corrected": [] if truth is None else [_corrected(panel, judge, truth, matched) for judge in judges],
    }


def _panel(names: Sequence[str], unit: str) -> Panel:
    _check_unit(unit)
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError("give two or more different judges, each as RUN:ANNOTATION or a csv file")
    voices = tuple(open_voice(name) for name in names)
    run = _one_run(voices)
    kinds = {item.start is not None for voice in voices for item in voice.cells}
    if len(kinds) > 1:
        raise UserError("one sheet labels responses and one passages; compare those of one kind")
    if kinds:
        unit = "passage" if kinds.pop() else "response"
    spans = {}
    if unit != "response" and run is not None:
        spans = {
            response.key: tuple(Item(response.key, *place) for place in split_thoughts(response.text))
            for response in responses_of(run)
        }
    return Panel(voices, run, unit, spans)


def _one_run(voices: Sequence[Voice]) -> Path | None:
    """The run that the voices speak of, None where all are sheets; it must hold what the sheets name."""
    runs = {voice.run.resolve(): voice.run for voice in voices if voice.run is not None}
    if len(runs) > 1:
        raise UserError(f"{' and '.join(map(str, runs.values()))} are different runs, with other responses")
    run = next(iter(runs.values()), None)
    known = stored_keys(run) if run is not None else set()
    for voice in voices if run is not None else ():
        lost = next((item.key for item in voice.cells if item.key not in known), None)
        if lost:
            raise UserError(
                f"{voice.name}: {run} holds no sample {'/'.join(map(str, lost))}; "
                "restore the columns that say which sample a row is about"
            )
    return run


def _check_unit(unit: str) -> None:
    if unit not in UNITS:
        raise UserError(f"--unit {unit}: choose one of {', '.join(UNITS)}")


def _equal_labels(text: str) -> tuple[str, str]:
    one, equals, other = text.partition("=")
    if not equals or not one.strip() or not other.strip():
        raise UserError(f"--same {text}: write A=B, two labels that are to be taken for each other")
    return one.strip(), other.strip()


def _comparisons(a: Voice, b: Voice, matched: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Labels of a, and of b, that mean the same."""
    both_ways = [*matched, *((other, one) for one, other in matched)]
    pairs = [(label, label) for label in a.labels if label in b.labels]
    pairs += [(one, other) for one, other in both_ways if one in a.labels and other in b.labels]
    return list(dict.fromkeys(pairs))


def _judged(items: Sequence[Item], *asked: tuple[Voice, str]) -> tuple[list[Item], list[list[bool]]]:
    """The items that every (voice, label) judged, and what each said of them."""
    kept: list[Item] = []
    said: list[list[bool]] = [[] for _ in asked]
    for item in items:
        answers = [voice.says(item, label) for voice, label in asked]
        if None in answers:
            continue
        kept.append(item)
        for column, answer in zip(said, answers, strict=True):
            column.append(bool(answer))
    return kept, said


def _pair(panel: Panel, a: Voice, b: Voice, matched: Sequence[tuple[str, str]]) -> dict[str, Any]:
    items = panel.tried(a, b)
    labels = {}
    for of_a, of_b in _comparisons(a, b, matched):
        kept, (says_a, says_b) = _judged(items, (a, of_a), (b, of_b))
        found = compare(says_a, says_b, [item.problem for item in kept])
        name = of_a if of_a == of_b else f"{of_a}={of_b}"
        labels[name] = asdict(found) | {"few": found.few, "left_out": len(items) - len(kept)}
    return {"a": a.name, "b": b.name, "items": len(items), "labels": labels}


def _all_of_them(panel: Panel) -> dict[str, Any]:
    """Fleiss' kappa of each label that three voices or more have, on the items that all of them judged."""
    found = {}
    for label in dict.fromkeys(label for voice in panel.voices for label in voice.labels):
        voices = [voice for voice in panel.voices if label in voice.labels]
        if len(voices) < 3:
            continue
        items = panel.tried(*voices)
        kept, said = _judged(items, *((voice, label) for voice in voices))
        yes = [sum(answers) for answers in zip(*said, strict=True)]
        kappa = fleiss([[n, len(voices) - n] for n in yes], [item.problem for item in kept])
        found[label] = {
            "kappa": asdict(kappa),
            "judges": [voice.name for voice in voices],
            "items": len(kept),
            "left_out": len(items) - len(kept),
        }
    return found


def _corrected(
    panel: Panel, judge: Voice, truth: Voice, matched: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The prevalence that the sheet gives to the judge's labels, over all that the judge judged."""
    everything = [item for key in sorted(judge.seen) for item in panel.items_of(key)]
    labels = {}
    for of_judge, of_truth in _comparisons(judge, truth, matched):
        known, (says, is_so) = _judged(list(truth.cells), (judge, of_judge), (truth, of_truth))
        judged = [bool(judge.says(item, of_judge)) for item in everything]
        found = correct_prevalence(
            judged, [item.problem for item in everything], is_so, says, [item.problem for item in known]
        )
        name = of_judge if of_judge == of_truth else f"{of_judge}={of_truth}"
        labels[name] = asdict(found) | {"judged": len(judged), "known": len(known)}
    return {"judge": judge.name, "truth": truth.name, "labels": labels}


def write_template(
    names: Sequence[str],
    file: Path,
    count: int,
    labels: str | None = None,
    unit: str = "response",
    step: int | None = None,
    seed: int = 0,
) -> str:
    """Write a sheet to fill in for the one run in `names`; returns what was written, in a line.

    labels: names with commas between; None takes the judge's four. Raises UserError as `open_source`
    and `write_sheet` do.
    """
    _check_unit(unit)
    if len(names) != 1:
        raise UserError(f"--template is made for one RUN, {len(names)} are given")
    source = open_source(names[0] if step is None else f"{names[0]}@{step}")
    if source.fields is not None:
        raise UserError(
            f"{names[0]} is no prerl run, so nothing else can speak of its responses; grade it first"
        )
    spans = {one.key: split_thoughts(one.text) if unit == "thought" else [] for one in source.responses()}
    drawn = draw_items(list(spans), spans if unit == "thought" else None, count, seed)
    wanted = {key for key, _, _ in drawn}
    shown = {one.key: one for one in source.responses() if one.key in wanted}
    columns = [name.strip() for name in labels.split(",")] if labels else list(JUDGE_LABELS)
    write_sheet(file, drawn, shown, columns)
    problems = len({key[:2] for key in wanted})
    return (
        f"{file}: {len(drawn):,} {unit}s of {problems:,} problems; write 1 or 0 under "
        f"{', '.join(columns)}, leave blank what you cannot tell"
    )
