"""`make study`: train and measure what the plan lists and is not there yet, then re-make the tables.

python -m results.study results/nano                      what its data lack yet, resumable
python -m results.study results/nano --fresh DIR          all of it again, into DIR
python -m results.study results/nano --tables             only the tables, from committed data
python -m results.study results/nano --quick --work DIR   does it run at all; commits nothing
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from prerl_eval.console import run_app
from results.study.execute import collect_looks, collect_tests, not_committed, run_jobs
from results.study.plan import load_study
from results.study.tables import chosen_rates, write_tables


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the study.")] = Path("results/nano"),
    work: Annotated[
        Path | None, typer.Option(help="Checkpoints and samples; default: runs/study/NAME.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Models at a time, one core each.", min=1)] = 2,
    tables: Annotated[bool, typer.Option("--tables", help="Only make the tables again.")] = False,
    fresh: Annotated[
        Path | None, typer.Option(help="Make everything again and put data and README here.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One method, one update, five problems.")] = False,
) -> None:
    """Run a study and make its tables."""
    study = load_study(folder, quick)
    if tables:
        typer.echo("\n\n".join(write_tables(study)))
        return
    work = work or Path("runs/study") / folder.name / ("quick" if quick else "")
    if fresh or quick:
        study = replace(study, folder=fresh or work / "tables")
        study.folder.mkdir(parents=True, exist_ok=True)
        for name in ("study.toml", "README.md"):
            shutil.copy(folder / name, study.folder)
    first = study.first_jobs()
    run_jobs(study, not_committed(study, first), work, workers)
    collect_looks(study, first, work)
    second = study.second_jobs(chosen_rates(study))
    run_jobs(study, not_committed(study, second), work, workers)
    collect_tests(study, [*first, *second], work)
    typer.echo("\n\n".join(write_tables(study)))


def command() -> None:
    """Entry point."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app, "python -m results.study")


if __name__ == "__main__":
    command()
