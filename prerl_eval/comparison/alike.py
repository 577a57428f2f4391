"""Whether runs may be compared: did they ask the same problems, in the same words, with the same sampling.

Covers the differences between two runs, each as a clause that names both values, and what is wrong
with a group's training seeds or with a null. Does not cover what follows from them (plan.py refuses).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from prerl_eval.cards import UNHASHED
from prerl_eval.comparison.sides import Run, Side

SAMPLING = ("temperature", "top_p", "top_k", "stop", "stop_token_ids", "accept_box_in_thinking")
"""Settings that decide what a sample is. The seed is not one; n and the engine are said, not refused."""

PROMPTING = ("system", "thinking", "template")
"""Settings that matter through the prompt's text alone: named as the reason where prompts differ."""

NOT_OF_THE_CARD = UNHASHED | {"card_hash", "limit", "problems", "prompt_of_sample_0", "stop"}
"""What run.json says of a benchmark and its card's hash does not cover."""


def differences(one: Run, other: Run, benchmarks: Iterable[str]) -> list[str]:
    """What makes two runs incomparable, each as a clause that names both values; [] where nothing does."""
    found = []
    compared_prompts = not (one.imported or other.imported)
    if compared_prompts:
        found += _differing(one, other, SAMPLING)
    for name in benchmarks:
        found += _benchmark_differences(one, other, name)
        different = _question(name, one.asked, other.asked, compared_prompts)
        if different and different.startswith("the prompt"):
            found += _differing(one, other, PROMPTING)
        if different:
            found.append(f"{different} differs between {one.path} and {other.path}")
    return found


def _differing(one: Run, other: Run, keys: Sequence[str]) -> list[str]:
    ours, theirs = one.record["settings"], other.record["settings"]
    return [
        f"{key} is {ours.get(key)!r} in {one.path} and {theirs.get(key)!r} in {other.path}"
        for key in keys
        if ours.get(key) != theirs.get(key)
    ]


def _benchmark_differences(one: Run, other: Run, name: str) -> list[str]:
    found = []
    ours, theirs = (run.record["benchmarks"].get(name, {}) for run in (one, other))
    a, b = ours.get("max_tokens"), theirs.get("max_tokens")
    if a is not None and b is not None and a != b:
        found.append(f"the token limit of {name} is {a} in {one.path} and {b} in {other.path}")
    a, b = (list(facts.get("stop") or ()) for facts in (ours, theirs))
    if a != b:
        found.append(f"the stop strings of {name} are {a} in {one.path} and {b} in {other.path}")
    if ours.get("card_hash") != theirs.get("card_hash"):
        keys = sorted(key for key in set(ours) - NOT_OF_THE_CARD if ours[key] != theirs.get(key))
        found.append(
            f"the card of {name} differs between {one.path} and {other.path} ({', '.join(keys) or 'unknown'})"
        )
    one_tally, other_tally = one.tallies[name], other.tallies[name]
    if one_tally.graders != other_tally.graders:
        found.append(
            f"{name} was graded by {' and '.join(one_tally.graders)} in {one.path} and by "
            f"{' and '.join(other_tally.graders)} in {other.path} (`prerl-eval regrade` makes them equal)"
        )
    ours_only = set(one_tally.problem_ids) ^ set(other_tally.problem_ids)
    if ours_only:
        example = min(ours_only)
        holder = one if example in one_tally.problem_ids else other
        found.append(
            f"{name} has {len(one_tally.problem_ids)} scored problems in {one.path} and "
            f"{len(other_tally.problem_ids)} in {other.path} (first: {example} only in {holder.path})"
        )
    return found


def _question(
    name: str,
    ours: Mapping[tuple[str, str], tuple[str, str]],
    theirs: Mapping[tuple[str, str], tuple[str, str]],
    prompts: bool,
) -> str | None:
    """The first shared problem that was put otherwise or has another gold. prompts: are both known."""
    for key in sorted(key for key in ours if key[0] == name and key in theirs):
        (prompt, gold), (other_prompt, other_gold) = ours[key], theirs[key]
        if gold != other_gold:
            return f"the gold of {name} problem {key[1]}"
        if prompts and prompt != other_prompt:
            return f"the prompt of {name} problem {key[1]}"
    return None


def repeated_weights(side: Side) -> list[str]:
    """Runs of one checkpoint are more samples of it, not training seeds."""
    seen: dict[str, Path] = {}
    found = []
    for run in side.runs:
        if run.fingerprint is None:
            continue
        if run.fingerprint in seen:
            found.append(
                f"{seen[run.fingerprint]} and {run.path} of {side.name} are one checkpoint, which is one "
                "training seed (more samples of it: a larger --n)"
            )
        seen.setdefault(run.fingerprint, run.path)
    return found


def repeated_samples(base: Side, other: Side) -> list[str]:
    """Runs of the base's weights with the base's seed: the same samples, of which every figure is void."""
    return [
        f"{one.path} and {run.path} are one checkpoint sampled with one seed, so their samples are the same "
        "(sample one with another --seed)"
        for one in base.runs
        for run in other.runs
        if one.fingerprint
        and one.fingerprint == run.fingerprint
        and one.record["settings"].get("seed") == run.record["settings"].get("seed")
    ]


def null_faults(base: Side, null: Side) -> list[str]:
    """Why the second base run is none: other weights, or the same samples again."""
    found = []
    known = {run.fingerprint: run for run in base.runs if run.fingerprint}
    for run in null.runs:
        twin = known.get(run.fingerprint) if run.fingerprint else None
        if known and run.fingerprint and twin is None:
            found.append(f"the null {run.path} is another checkpoint than the base {base.runs[0].path}")
        elif twin and twin.record["settings"].get("seed") == run.record["settings"].get("seed"):
            found.append(
                f"the null {run.path} was sampled with the seed of {twin.path}, so its samples are the same"
                " (sample it with another --seed)"
            )
    return found
