"""`make study`: train and measure what the plan lists and is not there yet, then re-make the tables.

python -m results.study results/nano                      what its data lack yet, resumable
python -m results.study results/nano --dry-run            what that would be, and what it would cost
python -m results.study results/nano --only ARM           these arms (repeatable)
python -m results.study results/nano --collect            run nothing, take in what WORK holds
python -m results.study results/nano --tables             only the tables, from committed data
python -m results.study results/nano --fresh DIR          all of it again, data and README in DIR
python -m results.study results/nano --quick --work DIR   does it run at all; commits nothing
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from prerl_eval.console import run_app
from prerl_eval.errors import RunStopped
from results.study.alignment import responses_of
from results.study.analyses import collect_analyses
from results.study.behavior_page import write_page
from results.study.collect import chosen_rates, collect, not_committed
from results.study.cost import cost_plan
from results.study.execute import run_jobs
from results.study.jobs import Job, Jobs
from results.study.overview import write_overview
from results.study.plan import Point, Study
from results.study.plan_file import load_study
from results.study.tables import write_tables


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the study.")] = Path("results/nano"),
    work: Annotated[
        Path | None, typer.Option(help="Checkpoints and samples; default: runs/study/NAME.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Commands at a time, one core each.", min=1)] = 2,
    only: Annotated[list[str] | None, typer.Option(help="Only this arm; repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and its cost.")] = False,
    collect_only: Annotated[
        bool, typer.Option("--collect", help="Run nothing; take in what is finished.")
    ] = False,
    tables: Annotated[bool, typer.Option("--tables", help="Only make the tables again.")] = False,
    fresh: Annotated[
        Path | None, typer.Option(help="Make everything again and put data and README here.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One method and a fork of it, one update, five problems.")
    ] = False,
) -> None:
    """Run a study and make its tables."""
    study = load_study(folder)
    if tables:
        _write(study)
        return
    study = study.only(only) if only else study.quick() if quick else study
    if fresh or quick:
        work = work or (fresh / "work" if fresh else Path("runs/study") / folder.name / "quick")
        study = _elsewhere(study, fresh or work / "data")
    work = work or Path("runs/study") / folder.name
    if dry_run:
        typer.echo(cost_plan(study, _everything(study, work), workers))
        return
    faults = _make(study, work, 0 if collect_only else workers)
    if quick:
        for name in ("looks.csv", "runs.csv"):
            typer.echo((study.folder / name).read_text(encoding="utf-8"))
    else:
        for line in collect_analyses(study, work):
            typer.echo(line)
        _write(load_study(study.folder))  # all of it, also where --only ran a part
    if faults:
        raise RunStopped(f"{'; '.join(faults)}; run the same command to go on")


def _make(study: Study, work: Path, workers: int) -> list[str]:
    """Run and collect the looks, then what is trained at the rates that they chose; what failed.

    workers: 0 runs nothing.
    """
    faults = []
    for look in (True, False):
        rates = chosen_rates(study)
        points = study.look_points() if look else study.points(rates)
        if workers:
            faults += run_jobs(_planned(study, rates, points, work), work, workers)
        collected = collect(study, points, rates, work)
        left = len(not_committed(study, points))
        what = "looks" if look else "measurements"
        typer.echo(f"{study.folder}: {len(collected)} {what} added, {left} of {len(points)} still lacking")
    return faults


def _everything(study: Study, work: Path) -> list[Job]:
    """Every job that is known before any runs."""
    rates = chosen_rates(study)
    points = [*study.look_points(), *study.points(rates)]
    return _planned(study, rates, points, work)


def _planned(study: Study, rates: dict[str, str], points: list[Point], work: Path) -> list[Job]:
    """What the points and the alignment of base models take."""
    jobs = Jobs(study, rates, work)
    jobs.of(not_committed(study, points))
    return jobs.aligned(set(responses_of(study.folder)))


def _write(study: Study) -> None:
    """Every table, page and picture that is made from the study's data."""
    typer.echo("\n\n".join(write_tables(study)))
    for file in (*write_page(study.folder), *write_overview(study)):
        typer.echo(f"wrote {file}")


def _elsewhere(study: Study, folder: Path) -> Study:
    """The study with its data in another folder, which gets copies of plan and README."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("study.toml", "README.md"):
        shutil.copy(study.folder / name, folder)
    return replace(study, folder=folder)


def command() -> None:
    """Entry point."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app, "python -m results.study")


if __name__ == "__main__":
    command()
