"""The `prerl-behavior` command: says what will come. It counts and judges nothing yet."""

from __future__ import annotations

import typer

from prerl_eval.console import run_app

app = typer.Typer(
    name="prerl-behavior",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def behavior() -> None:
    """See how a model's reasoning changed.

    There are no commands in this release. A later one counts reflection and transition thoughts and
    lets an LLM judge label behaviours, in the runs that `prerl-eval run` stores today.
    """
    typer.echo("prerl-behavior has no commands in this release; see prerl-behavior --help")


def main() -> None:
    """Entry point of the console script."""
    run_app(app, "prerl-behavior")


if __name__ == "__main__":
    main()
