"""The tables and pictures of a study by name, and the README that holds them.

A table is a function from the committed data to Markdown, a picture one that writes a file; each is made by
the module named like it. Covers which there are, and putting them into the README between
`<!-- table NAME -->` and `<!-- end -->`. Does not cover statistics (results.study.contrasts).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from prerl_eval.errors import UserError
from results.study.budgets import budgets_table
from results.study.committed import Committed, load_committed
from results.study.controls import controls_table
from results.study.expansion_page import write_pages
from results.study.forks import forks_table
from results.study.hard import hard_picture, hard_table, hard_tests_table, warmups_picture
from results.study.long_runs import long_table
from results.study.looks import looks_table
from results.study.main_table import base_differences_table, bases_table, differences_table, main_table
from results.study.mixed import mixed_table
from results.study.plan import Study
from results.study.temperature import temperature_picture, temperature_table, temperature_tests_table
from results.study.warmup import warmup_picture, warmup_table, warmup_tests_table

TABLES: Mapping[str, Callable[[Committed], str]] = {
    "main": main_table,
    "differences": differences_table,
    "budgets": budgets_table,
    "mixed": mixed_table,
    "controls": controls_table,
    "warmup": warmup_table,
    "warmup-tests": warmup_tests_table,
    "forks": forks_table,
    "long": long_table,
    "temperature": temperature_table,
    "temperature-tests": temperature_tests_table,
    "hard": hard_table,
    "hard-tests": hard_tests_table,
    "bases": bases_table,
    "base-differences": base_differences_table,
    "looks": looks_table,
}

PICTURES: Mapping[str, Callable[[Committed, Path], None]] = {
    "warmup.png": warmup_picture,
    "temperature.png": temperature_picture,
    "hard.png": hard_picture,
    "hard-warmups.png": warmups_picture,
}


def all_tables(study: Study) -> dict[str, str]:
    """Every table by the name of its place in the README."""
    data = load_committed(study)
    return {name: made(data) for name, made in TABLES.items()}


def write_tables(study: Study) -> list[str]:
    """Put the tables into the study's README, draw pictures and write pages beside it; the tables."""
    data = load_committed(study)
    made = {name: table(data) for name, table in TABLES.items()}
    readme = study.folder / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), made), encoding="utf-8")
    for name, draw in PICTURES.items():
        draw(data, study.folder / name)
    write_pages(study)
    return list(made.values())


def with_tables(text: str, tables: Mapping[str, str]) -> str:
    """A README with each table between `<!-- table NAME -->` and `<!-- end -->` replaced.

    Raises UserError for a table that has no place in it, or more than one.
    """
    for name, table in tables.items():
        if len(re.findall(rf"<!-- table {name} -->\n.*?<!-- end -->", text, flags=re.S)) != 1:
            raise UserError(
                f"the README has no place for table {name}; add '<!-- table {name} -->' and '<!-- end -->'"
            )
        before, rest = text.split(f"<!-- table {name} -->\n")
        text = f"{before}<!-- table {name} -->\n{table}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
    return text
