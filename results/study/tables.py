"""The tables of a study's README, from its committed data.

Covers the choice of learning rates and the tables. Does not cover the comparison of two methods
(prerl-eval compare on the runs themselves).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prerl_eval.errors import UserError
from prerl_eval.metrics import interval, pass_at_k_table
from results.study.execute import read_counts, read_csv
from results.study.plan import Study

PASS_K = 32


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
    scores = _scores(study.folder)
    tokens = {row["model"]: int(row["tokens"]) for row in read_csv(study.folder / "runs.csv")}
    sets = study.test.benchmarks
    head = [title for name in sets for title in (f"{name} Avg@{study.test.n}", f"Pass@{PASS_K}")]
    lines = [f"| | lr | seeds | {' | '.join(head)} | tokens |", "|---" * (len(head) + 4) + "|"]
    methods = sorted(
        {key[:2] for key in scores if key[0] != "base"},
        key=lambda method: -float(np.mean(_values(scores, method, sets[0])[0])),
    )
    for algorithm, lr in [("base", ""), *methods]:
        cells = []
        for name in sets:
            if algorithm == "base":
                avg, passed, (low, high) = scores["base", "", 0, name]
                cells += [f"{100 * avg:.1f} ({100 * low:.1f}–{100 * high:.1f})", f"{100 * passed:.1f}"]
            else:
                cells += [_spread(values) for values in _values(scores, (algorithm, lr), name)]
        models = [
            f"{algorithm}-{lr}-{key[2]}" for key in scores if key[:2] == (algorithm, lr) and key[3] == sets[0]
        ]
        sampled = [tokens.get(model, 0) for model in models]
        used = f"{np.mean(sampled) / 1e6:.2f}M" if algorithm != "base" else "–"
        seeds = len(models) if algorithm != "base" else "–"
        lines.append(f"| {algorithm} | {lr or '–'} | {seeds} | {' | '.join(cells)} | {used} |")
    return "\n".join(lines)


Scores = Mapping[tuple[str, str, int, str], tuple[float, float, tuple[float, float]]]
"""(algorithm, lr, seed, benchmark) -> (Avg, Pass@32, 95% interval of Avg over problems), fractions of 1."""


def _scores(folder: Path) -> Scores:
    table = read_counts(folder).to_pydict()
    groups: dict[tuple[str, str, int, str], list[int]] = {}
    keys = zip(*(table[name] for name in ("algorithm", "lr", "seed", "benchmark")), strict=True)
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    correct, samples = (np.asarray(table[name]) for name in ("correct", "samples"))
    scores = {}
    for key, rows in groups.items():
        means = correct[rows] / samples[rows]
        low, high = interval(means)
        passed = (
            pass_at_k_table(correct[rows], samples[rows], PASS_K)[:, -1]
            if samples[rows].min() >= PASS_K
            else [0]
        )
        scores[key] = float(means.mean()), float(np.mean(passed)), (float(low), float(high))
    return scores


def _values(scores: Scores, method: tuple[str, str], benchmark: str) -> tuple[NDArray[np.float64], ...]:
    found = [value for key, value in scores.items() if key[:2] == method and key[3] == benchmark]
    return np.array([value[0] for value in found]), np.array([value[1] for value in found])


def _spread(values: NDArray[np.float64]) -> str:
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


def write_tables(study: Study) -> Sequence[str]:
    """Put the tables into the study's README and return them."""
    tables = {"looks": looks_table(study), "main": main_table(study)}
    readme = study.folder / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return list(tables.values())
