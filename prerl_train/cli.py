"""The `prerl-train` command: flags and help here, all work in the modules that the commands import.

    prerl-train base --out DIR      pre-train the small base model of the embedded default

Imports nothing but typer at the top: `--help` must not wait for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from prerl_eval.console import run_app

app = typer.Typer(
    name="prerl-train",
    help="Make the models that prerl measures. This release pre-trains base models for the embedded default; "
    "the training commands (DSRL, PreRL, GRPO and the other baselines) come with a later release.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _commands() -> None:
    """Keep `base` a subcommand while it is the only one."""


@app.command()
def base(
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint; must be empty or not there yet.")],
    size: Annotated[
        Literal["nano", "tiny"],
        typer.Option(help="nano: 0.6M parameters, for CPU; tiny: 1.8M, for a GPU."),
    ] = "nano",
    seed: Annotated[
        int, typer.Option(help="Seed of the weights and of the corpus.", min=0, max=2**63 - 1)
    ] = 0,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens to train on; default: the size's own.", min=1)
    ] = None,
    threads: Annotated[
        int, typer.Option(help="CPU threads of torch; more than one is slower at these sizes.", min=1)
    ] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
) -> None:
    """Pre-train a base model on Countdown reasoning traces (nano: about five minutes on one CPU thread)."""
    from prerl_train.base_checkpoint import train_base

    record = train_base(out, size_name=size, seed=seed, tokens=tokens, threads=threads, device=device)
    typer.echo(
        f"{out}: {record['parameters']:,} parameters, {record['tokens']:,} tokens "
        f"in {record['seconds']:.0f} s ({record['tokens_per_second']:,} tokens/s)"
    )


def main() -> None:
    """Entry point of the console script."""
    run_app(app, "prerl-train")


if __name__ == "__main__":
    main()
