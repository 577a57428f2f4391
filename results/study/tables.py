"""The tables of a study's README, from its committed data.

Covers the choice of learning rates and the tables. Does not cover statistics (prerl_eval.comparison,
prerl_eval.metrics).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.differences import mean_difference
from prerl_eval.comparison.several import holm
from prerl_eval.errors import UserError
from prerl_eval.metrics import Floats, interval, pass_at_k_table
from results.study.execute import read_counts, read_csv
from results.study.plan import Study

PASS_K = 32
REFERENCE = "grpo"


def chosen_rates(study: Study) -> dict[str, str]:
    """Algorithm -> the planned rate with the best validation score; the smaller of two equal ones.

    Raises UserError where a planned look is missing.
    """
    scores = {
        (row["algorithm"], row["lr"]): float(row["avg"]) for row in read_csv(study.folder / "looks.csv")
    }
    missing = [
        f"{name} {lr}" for name, rates in study.looks.items() for lr in rates if (name, lr) not in scores
    ]
    if missing:
        raise UserError(f"{study.folder / 'looks.csv'} lacks {', '.join(missing)}; run `make study` first")
    return {
        name: max(sorted(rates, key=float), key=lambda lr: scores[name, lr])
        for name, rates in study.looks.items()
    }


def looks_table(study: Study) -> str:
    """Markdown: every look at a learning rate, the chosen one bold."""
    scores = {
        (row["algorithm"], row["lr"]): 100 * float(row["avg"]) for row in read_csv(study.folder / "looks.csv")
    }
    chosen = chosen_rates(study)
    lines = ["| | learning rate: Avg@8 on countdown-val, seed 0 |", "|---|---|"]
    for name, rates in study.looks.items():
        cells = (
            f"{'**' * (lr == chosen[name])}{lr}: {scores[name, lr]:.1f}{'**' * (lr == chosen[name])}"
            for lr in rates
        )
        lines.append(f"| {name} | {', '.join(cells)} |")
    return "\n".join(lines)


def main_table(study: Study) -> str:
    """Markdown: Avg@n and Pass@32 on both test sets, mean ± sd over seeds; best first, under the base."""
    arms = read_arms(study)
    tokens = {row["model"]: int(row["tokens"]) for row in read_csv(study.folder / "runs.csv")}
    sets = study.test.benchmarks
    head = [title for name in sets for title in (f"{name} Avg@{study.test.n}", f"Pass@{PASS_K}")]
    lines = [f"| | lr | seeds | {' | '.join(head)} | tokens |", "|---" * (len(head) + 4) + "|"]
    base = [cell for name in sets for cell in _base_cells(arms["base", "", name])]
    lines.append(f"| base | – | – | {' | '.join(base)} | – |")
    for algorithm, lr in _methods(arms, sets[0]):
        cells = [_spread(values) for name in sets for values in _scores(arms[algorithm, lr, name])]
        seeds = arms[algorithm, lr, sets[0]].seeds
        used = [count for model, count in tokens.items() if model.startswith(f"{algorithm}-{lr}-")]
        lines.append(f"| {algorithm} | {lr} | {seeds} | {' | '.join(cells)} | {np.mean(used) / 1e6:.2f}M |")
    return "\n".join(lines)


def differences_table(study: Study) -> str:
    """Markdown: Avg of each method less that of GRPO, in points, 95%, Holm over methods and sets."""
    arms = read_arms(study)
    sets = study.test.benchmarks
    methods = [method for method in _methods(arms, sets[0]) if method[0] != REFERENCE]
    rate = next((lr for algorithm, lr, _ in arms if algorithm == REFERENCE), None)
    cells = [
        mean_difference(arms[REFERENCE, rate, name], arms[algorithm, lr, name])
        for algorithm, lr in methods
        for name in sets
        if rate is not None
    ]
    adjusted = holm([cell.p for cell in cells])
    head = " | ".join(f"{name}, 95% | p, Holm" for name in sets)
    lines = [f"| less {REFERENCE} | {head} |", "|---" * (2 * len(sets) + 1) + "|"]
    for row, (algorithm, _) in enumerate(methods):
        pairs = [
            f"{100 * cell.value:+.1f} ({100 * cell.low:+.1f}, {100 * cell.high:+.1f}) | {_probability(p)}"
            for cell, p in zip(cells, adjusted, strict=True)
        ][row * len(sets) : (row + 1) * len(sets)]
        lines.append(f"| {algorithm} | {' | '.join(pairs)} |")
    return "\n".join(lines)


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


Arms = Mapping[tuple[str, str, str], Arm]
"""(algorithm, lr, benchmark) -> counts of its seeds."""


def read_arms(study: Study) -> Arms:
    """The counts of every method and benchmark of a study, seeds together."""
    table = read_counts(study.folder).sort_by([("seed", "ascending"), ("problem_id", "ascending")])
    groups: dict[tuple[str, str, str], list[int]] = {}
    keys = zip(*(table[name].to_pylist() for name in ("algorithm", "lr", "benchmark")), strict=True)
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    correct, samples = (np.asarray(table[name]) for name in ("correct", "samples"))
    ids = table["problem_id"].to_pylist()
    arms = {}
    for key, rows in groups.items():
        problems = tuple(sorted({ids[row] for row in rows}))
        shape = (-1, len(problems))
        arms[key] = Arm(key[0], problems, correct[rows].reshape(shape), samples[rows].reshape(shape))
    return arms


def _methods(arms: Arms, benchmark: str) -> list[tuple[str, str]]:
    """(algorithm, lr), best Avg on a benchmark first, without the base."""
    averages = {key[:2]: _scores(arm)[0].mean() for key, arm in arms.items() if key[2] == benchmark}
    return sorted((key for key in averages if key[0] != "base"), key=lambda key: -averages[key])


def _scores(arm: Arm) -> tuple[Floats, Floats]:
    """Avg and Pass@32 of each seed, fractions of 1; NaN for Pass@32 where n is below."""
    passed = [
        pass_at_k_table(correct, samples, PASS_K)[:, -1].mean() if arm.n >= PASS_K else np.nan
        for correct, samples in zip(arm.correct, arm.samples, strict=True)
    ]
    return (arm.correct / arm.samples).mean(axis=1), np.array(passed)


def _base_cells(arm: Arm) -> list[str]:
    low, high = interval(arm.correct[0] / arm.samples[0])
    avg, passed = _scores(arm)
    return [f"{_spread(avg)} ({100 * float(low):.1f}–{100 * float(high):.1f})", _spread(passed)]


def _spread(values: Floats) -> str:
    if np.isnan(values).any():
        return "–"
    if len(values) == 1:
        return f"{100 * values[0]:.1f}"
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f}"


def with_tables(text: str, tables: Mapping[str, str]) -> str:
    """A README with each table between `<!-- table NAME -->` and `<!-- end -->` replaced."""
    for name, table in tables.items():
        if len(re.findall(rf"<!-- table {name} -->\n.*?<!-- end -->", text, flags=re.S)) != 1:
            raise UserError(
                f"the README has no place for table {name}; add '<!-- table {name} -->' and '<!-- end -->'"
            )
        before, rest = text.split(f"<!-- table {name} -->\n")
        text = f"{before}<!-- table {name} -->\n{table}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
    return text


def all_tables(study: Study) -> dict[str, str]:
    """Every table by the name of its place in the README."""
    return {
        "main": main_table(study),
        "differences": differences_table(study),
        "looks": looks_table(study),
    }


def write_tables(study: Study) -> Sequence[str]:
    """Put the tables into the study's README and return them."""
    tables = all_tables(study)
    readme = study.folder / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return list(tables.values())
