"""The runs of `make demo` without their texts, so that the scores in the project's README can be made again.

python -m results.study.demo runs/demo --into results/demo      after make demo
prerl-eval summary results/demo/base results/demo/grpo results/demo/dsrl

Kept are every sample's verdict, answer, length and end; completions, token ids and seeds are left out, and
so is what the machine was. Does not cover making the runs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from prerl_eval import store
from prerl_eval.console import run_app
from prerl_eval.errors import UserError
from prerl_eval.run_record import read_record, write_record

RUNS = ("base", "grpo", "dsrl")
LEFT_OUT = ("prompt", "completion", "extra")


def without_texts(samples: pa.Table) -> pa.Table:
    """Sample rows with empty prompts, completions and token ids, and seed 0."""
    rows = len(samples)
    empty = {name: pa.array([""] * rows, pa.string()) for name in LEFT_OUT}
    empty["token_ids"] = pa.nulls(rows, samples.schema.field("token_ids").type)
    empty["seed"] = pa.array([0] * rows, pa.int64())
    for name, column in empty.items():
        place = samples.column_names.index(name)
        samples = samples.set_column(place, samples.schema.field(name), column)
    return samples


def keep(run: Path, into: Path) -> None:
    """Write a run folder `into` with the scores of `run`, in place of what is there."""
    record = read_record(run)
    for session in record["sessions"]:
        session["platform"] = session["platform"].partition("-")[0]
    shutil.rmtree(into, ignore_errors=True)
    write_record(into, record)
    store.write_part(into, without_texts(store.read_samples(run)))


def main(
    demo: Annotated[Path, typer.Argument(help="Folder of make demo.")] = Path("runs/demo"),
    into: Annotated[Path, typer.Option(help="Folder of what is kept.")] = Path("results/demo"),
) -> None:
    """Keep the scores of a demo."""
    for name in RUNS:
        if not (demo / name / "run.json").is_file():
            raise UserError(f"{demo / name} is no run; run make demo first")
    for name in RUNS:
        keep(demo / name, into / name)
        typer.echo(f"wrote {into / name}")


def command() -> None:
    """Entry point."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app, "python -m results.study.demo")


if __name__ == "__main__":
    command()
