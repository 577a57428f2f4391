"""`prerl-eval power`: the smallest difference that an experiment could see, before it is run.

Covers where the population comes from (assumed, or runs), the grid of samples, table and JSON. The
computation and its assumptions are power.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from prerl_eval.cards import load_card
from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.facts import plain
from prerl_eval.comparison.plan import plan_comparison
from prerl_eval.comparison.power import ASSUMED, Population, detectable, population_of
from prerl_eval.comparison.sides import parse_groups
from prerl_eval.errors import UserError
from prerl_eval.layout import percent, wrapped

LEVEL_WORDS = "seen in 80% of experiments, at the 5% level"


@dataclass(frozen=True)
class PowerOptions:
    """What `prerl-eval power` was asked for; names are the flags'.

    benchmark: of the card and of the runs. problems: None takes the runs' or the card's. seeds: training
    seeds of the method. runs (--from): a run of the base, and optionally one of a method, RUN or
    NAME=RUN,RUN. correlation, seed_sd: None takes the runs' or the assumed.
    """

    benchmark: str
    n: int
    problems: int | None = None
    seeds: int = 1
    runs: Sequence[str] = ()
    correlation: float | None = None
    seed_sd: float | None = None


def plan_power(options: PowerOptions) -> dict[str, Any]:
    """The detectable differences around n, JSON-able.

    {benchmark, problems, n, seeds, population: {mean, sd, correlation, seed_sd, source}, rows: [{n, k,
    difference, error, from_problems, from_samples, from_seeds, ...}]}: fractions of 1; see
    `power.Detectable`. Raises UserError for numbers that cannot be and for runs that cannot be read.
    """
    if options.n < 1:
        raise UserError(f"--n {options.n} is too small; give 1 or more")
    if options.seeds < 1:
        raise UserError(f"--seeds {options.seeds} is too small; give 1 or more")
    population, source, base = _population(options)
    seen = base.problems if base else None
    problems = options.problems or seen or _card_problems(options.benchmark)
    base_seeds = base.seeds if base else 1
    rows = []
    for n in sorted(
        {max(1, options.n // 4), max(1, options.n // 2), options.n, 2 * options.n, 4 * options.n}
    ):
        for k in sorted({1, min(8, n), n}):
            found = detectable(problems, n, population, k=k, seeds=options.seeds, base_seeds=base_seeds)
            rows.append({"n": n, "k": k, **plain(found)})
    return {
        "benchmark": options.benchmark,
        "problems": problems,
        "n": options.n,
        "seeds": options.seeds,
        "population": asdict(population) | {"source": source},
        "rows": rows,
    }


def _population(options: PowerOptions) -> tuple[Population, str, Arm | None]:
    """The population, where it is from, and the base that it was read from."""
    changes: dict[str, float] = {}
    if options.seed_sd is not None:
        changes["seed_sd"] = options.seed_sd
    if options.correlation is not None:
        changes["correlation"] = options.correlation
    if not options.runs:
        return replace(ASSUMED, **changes), "assumed", None
    if len(options.runs) > 2:
        raise UserError(
            "--from takes a run of the base and one of a method (NAME=RUN,RUN for seeds), no more"
        )
    groups = parse_groups(options.runs)
    plan = plan_comparison(groups[0], groups[1:], benchmarks=[options.benchmark])
    arms = [plan.arm(side, options.benchmark) for side in (plan.base, *plan.others)]
    population = population_of(arms[0], arms[1] if len(arms) > 1 else None)
    return replace(population, **changes), " and ".join(options.runs), arms[0]


def _card_problems(benchmark: str) -> int:
    rows = load_card(benchmark).rows
    if not rows:
        raise UserError(f"the card of {benchmark} does not say how many problems it has; give --problems")
    return rows[0]


def render_power(facts: Mapping[str, Any]) -> list[str]:
    """The answer in a sentence, the table around it, and what was assumed."""
    n, rows = facts["n"], facts["rows"]
    (here,) = [row for row in rows if row["n"] == n and row["k"] == 1]
    seeds = f", {facts['seeds']} training seeds of the method" if facts["seeds"] > 1 else ""
    lines = wrapped(
        f"{facts['benchmark']}, {facts['problems']} problems × {n} samples{seeds}: a difference in Avg of "
        f"{percent(here['difference'])} points or more is {LEVEL_WORDS}.",
        "",
    )
    lines += ["", f"  {'n':>6}  {'Avg@n':>7}  {'Pass@8':>7}  {'Pass@n':>7}"]
    for some in sorted({row["n"] for row in rows}):
        found = {row["k"]: row for row in rows if row["n"] == some}
        cells = (_points(found.get(k)) for k in (1, 8, some))
        lines.append(f"  {some:>6}  " + "  ".join(f"{cell:>7}" for cell in cells))
    if not all(row["reachable"] for row in rows):
        lines.append("  none: not even a perfect method would be called better in 80% of experiments")
    return [*lines, "", *wrapped(_parts(here), ""), *wrapped(_assumptions(facts), "")]


def _points(row: Mapping[str, Any] | None) -> str:
    """Points that can be seen; "none" where even a perfect model would not be called."""
    if row is None:
        return "–"
    return percent(row["difference"]) if row["reachable"] else "none"


def _parts(row: Mapping[str, Any]) -> str:
    total = row["error"] ** 2 or 1.0
    shares = {
        "that training moves problems unlike": row["from_problems"],
        "the samples": row["from_samples"],
        "training seeds": row["from_seeds"],
    }
    listed = ", ".join(f"{what} {100 * part / total:.0f}%" for what, part in shares.items())
    return f"Where the error of Avg comes from: {listed}."


def _assumptions(facts: Mapping[str, Any]) -> str:
    population = facts["population"]
    source = population["source"]
    text = (
        f"Population ({source}): problems' chances have mean {percent(population['mean'])}% and sd "
        f"{percent(population['sd'])} points over problems; base and method correlate by "
        f"{population['correlation']:.2f} over problems; sd between training seeds "
        f"{percent(population['seed_sd'])} points."
    )
    if source == "assumed":
        text += " --from BASE, or --from BASE --from METHOD, takes them from runs."
    if facts["seeds"] == 1:
        text += " With one training seed this is about two checkpoints, not about methods."
    elif population["seed_sd"] == 0:
        text += (
            " A spread of 0 between seeds is rarely true: --seed-sd, or --from BASE --from NAME=RUN,RUN,RUN."
        )
    return text
