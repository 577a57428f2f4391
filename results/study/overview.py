"""What all of it comes to: the claims in results/README.md, and their verdicts in the project's README.

python -m results.study.overview results/nano      write both again

Covers where the tables stand. Does not cover what is in them (claims.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from prerl_eval.console import run_app
from results.study.claims import claims_table, verdicts_table
from results.study.committed import Committed, load_committed
from results.study.plan_file import load_study
from results.study.tables import with_tables

ROOT = Path(__file__).resolve().parents[2]


def overview_tables(data: Committed) -> Mapping[Path, Mapping[str, str]]:
    """File -> the tables in it."""
    return {
        ROOT / "results" / "README.md": {"claims": claims_table(data)},
        ROOT / "README.md": {"verdicts": verdicts_table(data)},
    }


def main(folder: Annotated[Path, typer.Argument(help="Folder of the study.")] = Path("results/nano")) -> None:
    """Write the tables of claims and verdicts from a study's committed data."""
    for file, tables in overview_tables(load_committed(load_study(folder))).items():
        file.write_text(with_tables(file.read_text(encoding="utf-8"), tables), encoding="utf-8")
        typer.echo(file.relative_to(ROOT))


def command() -> None:
    """Entry point."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app, "python -m results.study.overview")


if __name__ == "__main__":
    command()
