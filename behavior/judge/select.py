"""Which samples of a run are judged: the same ones whenever and wherever it is asked, spread over problems.

Covers the choice and reading the chosen texts. Keys are read first, so that a run of any size costs
the texts of the chosen samples only.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from prerl_eval.annotations import KEY
from prerl_eval.errors import UserError
from prerl_eval.run_record import read_record
from prerl_eval.store import RowKey, parts, read_part


@dataclass(frozen=True, slots=True)
class Trace:
    """A sample to judge: its key, the prompt it answers and the raw completion."""

    key: RowKey
    prompt: str
    text: str


def choose(keys: Iterable[RowKey], limit: int | None) -> list[RowKey]:
    """At most `limit` keys, in an order that depends on nothing but the keys.

    One sample of every problem (and step), then a second of every one, and so on; problems and their
    samples in the order of a hash. So a larger limit keeps what a smaller one chose, and two models
    on one benchmark are judged on the same problems.
    """
    problems: dict[tuple[str, str, int], list[RowKey]] = defaultdict(list)
    for key in keys:
        benchmark, problem, _, step = key
        problems[benchmark, problem, step].append(key)
    rounds = [
        (rank, _order(*problem), key)
        for problem, own in problems.items()
        for rank, key in enumerate(sorted(own, key=lambda key: _order(*key)))
    ]
    return [key for *_, key in sorted(rounds)][:limit]


def chosen_traces(
    run: Path, limit: int | None, step: int | None, also: Collection[RowKey] = ()
) -> list[Trace]:
    """The traces that `choose` picks (of one step where given) and those of `also`, in its order.

    Raises UserError where `run` is no run or holds no samples (of this step).
    """
    read_record(run)
    keys = [key for part in parts(run) for key in _keys(read_part(part, KEY))]
    if not keys:
        raise UserError(f"{run} holds no samples; let `prerl-eval run` sample some first")
    of_step = [key for key in keys if step is None or key[3] == step]
    if not of_step:
        steps = ", ".join(map(str, sorted({key[3] for key in keys})))
        raise UserError(f"{run} holds no samples of --step {step}; it has: {steps}")
    chosen = choose(of_step, limit)
    earlier = set(also) - set(chosen)
    order = {key: place for place, key in enumerate([*chosen, *choose(earlier, None)])}
    found = {}
    for part in parts(run):
        wanted = [key in order for key in _keys(read_part(part, KEY))]
        if any(wanted):
            table = read_part(part, [*KEY, "prompt", "completion"]).filter(pa.array(wanted))
            for key, prompt, text in zip(
                _keys(table), table["prompt"].to_pylist(), table["completion"].to_pylist(), strict=True
            ):
                found[key] = Trace(key, prompt, text)
    return [found[key] for key in order if key in found]


def _keys(table: pa.Table) -> list[RowKey]:
    return list(zip(*(table[name].to_pylist() for name in KEY), strict=True))


def _order(*parts: str | int) -> bytes:
    return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "replace")).digest()
