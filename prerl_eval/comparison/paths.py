"""Paths: the base's stored responses scored under the base and under trained checkpoints, side by side.

    prerl-eval score runs/base --ckpt BASE --ckpt TRAINED
    prerl-eval compare runs/base runs/trained --paths

Covers reading the annotations that `prerl-eval score` stores with the base's run, the checks that they
speak of the same P(y|x) and P(y). The statistics are mass.py's, the text is paths_render.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from prerl_eval.annotations import KEY, annotation_names, read_about, read_annotations
from prerl_eval.comparison.facts import plain
from prerl_eval.comparison.mass import PRUNED, Traces, path_mass
from prerl_eval.errors import UserError
from prerl_eval.grading.verdict import UNSCORED
from prerl_eval.run_record import read_record
from prerl_eval.scoring.plan import PREFIX
from prerl_eval.scoring.score import ALONE, GIVEN_PROMPT
from prerl_eval.store import RowKey, read_samples

Scores = Mapping[RowKey, tuple[float, float]]
"""log P(y|x) and log P(y) of each response."""

SHARED = ("start_token", "retokenize", "prompts")
"""Settings of a scoring without which two log-probs are of different things."""


def path_report(
    base_run: Path,
    trained: Sequence[str] = (),
    *,
    base: str | None = None,
    benchmarks: Sequence[str] = (),
    step: int | None = None,
    pruned: float = PRUNED,
) -> dict[str, Any]:
    """How the mass of the base's responses moved, JSON-able: {run, base, pruned_nats, notes, paths}.

    trained: names of annotations (with or without "logp-"); none stands for all that the run has besides
    the base's own. base: the annotation of the base's own, None to find it by the checkpoint that the run
    names (imported runs name none). benchmarks: only these. step: where the run holds several. pruned:
    nats by which a response must have lost to count as pruned. Raises UserError where the run was not
    scored, or under settings that differ.
    """
    record = read_record(base_run)
    own = _prefixed(base) if base else scored_under(base_run, record["settings"].get("checkpoint"))
    if own is None:
        raise _not_scored(base_run, record.get("checkpoint", {}).get("ref", "BASE"))
    names = [_prefixed(name) for name in trained] or [
        name for name in annotation_names(base_run) if name.startswith(PREFIX) and name != own
    ]
    if not names:
        raise UserError(
            f"{base_run} is scored under no trained checkpoint; run `prerl-eval score {base_run} --ckpt PATH`"
        )
    abouts = {name: read_about(base_run, name) for name in (own, *names)}
    for name in names:
        _check_alike(base_run, own, abouts[own], name, abouts[name])
    why_not = _no_weights(record, [abouts[own], *abouts.values()])
    verdicts = _verdicts(base_run, benchmarks, step)
    scores = {name: _scores(base_run, name) for name in (own, *names)}
    paths, notes = [], [f"no masses: {why_not}"] if why_not else []
    for benchmark, correct in verdicts.items():
        for name in names:
            facts, missing = _one(correct, scores[own], scores[name], not why_not, pruned)
            if missing:
                notes.append(
                    f"{missing:,} responses to {benchmark} are not scored under {name} or {own}: left out"
                )
            if facts is not None:
                paths.append(
                    {
                        "benchmark": benchmark,
                        "annotation": name,
                        "checkpoint": name.removeprefix(PREFIX),
                        **facts,
                    }
                )
    if not paths:
        raise UserError(
            f"no response of {base_run} is scored under both {own} and {', '.join(names)}; score it again"
        )
    notes += _dtype_notes(own, abouts)
    return {"run": str(base_run), "base": own, "pruned_nats": pruned, "notes": notes, "paths": paths}


def paths_of_runs(
    base_run: Path,
    trained: Sequence[tuple[str | None, str]],
    benchmarks: Sequence[str],
    step: int | None = None,
) -> dict[str, Any]:
    """`path_report` on checkpoints that are known by fingerprint. trained: (fingerprint, reference) each.

    Raises UserError, with the command that is missing, where the base's run was not scored under one.
    """
    names = []
    for fingerprint, ref in trained:
        name = scored_under(base_run, fingerprint)
        if name is None:
            raise _not_scored(base_run, ref)
        names.append(name)
    return path_report(base_run, names, benchmarks=benchmarks, step=step)


def scored_under(run: Path, fingerprint: str | None) -> str | None:
    """The annotation in which the run is scored under the checkpoint of this fingerprint, None without."""
    scored = (name for name in annotation_names(run) if name.startswith(PREFIX) and fingerprint is not None)
    return next(
        (name for name in scored if read_about(run, name)["settings"]["checkpoint"] == fingerprint), None
    )


def _not_scored(run: Path, ref: str) -> UserError:
    return UserError(f"{run} is not scored under {ref}; run `prerl-eval score {run} --ckpt {ref}`")


def _prefixed(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name


def _check_alike(run: Path, own: str, base: Mapping[str, Any], name: str, other: Mapping[str, Any]) -> None:
    for key in SHARED:
        here, there = base["settings"].get(key), other["settings"].get(key)
        if here != there:
            raise UserError(
                f"{own} and {name} of {run} were scored with different settings ({key}: {here!r} and "
                f"{there!r}); score the run again with equal ones"
            )


def _no_weights(record: Mapping[str, Any], abouts: Sequence[Mapping[str, Any]]) -> str:
    """Why importance weights do not hold for this run's responses; "" where they do."""
    settings = record["settings"]
    neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    for name, value in neutral.items():
        if settings.get(name) != value:
            found = settings.get(name)
            return (
                f"responses are no plain samples of the base ({name} {'unknown' if found is None else found})"
            )
    if any(sitting["retokenised"] for about in abouts for sitting in about["sessions"]):
        return "some responses were tokenised again, so that their tokens are not the sampled ones"
    return ""


def _dtype_notes(own: str, abouts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    expected = abouts[own]["dtype"]
    return [
        f"{name} was computed in {about['dtype']}, {own} in {expected}: small changes may be rounding"
        for name, about in abouts.items()
        if about["dtype"] != expected
    ]


def _verdicts(run: Path, benchmarks: Sequence[str], step: int | None) -> dict[str, dict[RowKey, bool]]:
    """Benchmark -> key -> whether the response is correct, of scored responses."""
    table = read_samples(run, [*KEY, "status"])
    table = table.filter(pc.not_equal(table["status"], UNSCORED))
    if step is not None:
        table = table.filter(pc.equal(table["step"], step))
    elif len(pc.unique(table["step"])) > 1:
        raise UserError(f"{run} holds several steps; choose one with --step")
    found: dict[str, dict[RowKey, bool]] = {name: {} for name in benchmarks}
    for *key, status in zip(*(column.to_pylist() for column in table.itercolumns()), strict=True):
        if not benchmarks or key[0] in benchmarks:
            found.setdefault(key[0], {})[key[0], key[1], key[2], key[3]] = status == "correct"
    empty = next((name for name, rows in found.items() if not rows), None)
    if empty is not None or not found:
        raise UserError(f"{run} holds no scored samples of {empty or 'any benchmark'}; name another --bench")
    return found


def _scores(run: Path, name: str) -> Scores:
    table = read_annotations(run, name, [*KEY, "label", "value"])
    parts = []
    for label in (GIVEN_PROMPT, ALONE):
        rows = table.filter(pc.equal(table["label"], label))
        keys = zip(*(rows[column].to_pylist() for column in KEY), strict=True)
        parts.append(dict(zip(keys, rows["value"].to_pylist(), strict=True)))
    return {key: (value, parts[1][key]) for key, value in parts[0].items()}


def _one(
    correct: Mapping[RowKey, bool], base: Scores, other: Scores, plain_samples: bool, pruned: float
) -> tuple[dict[str, Any] | None, int]:
    """Figures of one benchmark and checkpoint (None without a response), and how many are not scored."""
    keys = [key for key in correct if key in base and key in other]
    if not keys:
        return None, len(correct)
    _, problem = np.unique(np.asarray([key[1] for key in keys], dtype=object), return_inverse=True)
    changes = np.asarray([other[key] for key in keys]) - np.asarray([base[key] for key in keys])
    traces = Traces(problem, np.asarray([correct[key] for key in keys]), changes[:, 0], changes[:, 1])
    facts: dict[str, Any] = plain(path_mass(traces, plain_samples=plain_samples, pruned=pruned))
    return facts, len(correct) - len(keys)
