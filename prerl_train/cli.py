"""The `prerl-train` command: flags and help here, all work in the modules that the commands import.

    prerl-train dsrl --recipe nano --out RUN       train; one command per algorithm, the same options
    prerl-train plot RUN... --out curves.png       the course of training runs
    prerl-train align --ckpt PATH --data CARD      do gradients of log P(y) and log P(y|x) agree
    prerl-train base --out DIR                     pre-train the small base model of the embedded default
    prerl-train config fsdp2                       where the shipped accelerate configs lie

The options of the training commands are the fields of `settings.TrainSettings`. Imports nothing
heavy at the top: `--help` must not wait for torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer

from prerl_eval.console import run_app
from prerl_train.catalogue import ALGORITHMS, users_of
from prerl_train.settings import OPTIONS, flag, value_type

app = typer.Typer(
    name="prerl-train",
    help="Train a reasoning model with verifiable rewards: DSRL, PreRL, their ablations and baselines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _training_command(name: str) -> Callable[..., None]:
    """The function behind one algorithm's subcommand; typer reads its options from the signature."""

    def command(**given: Any) -> None:
        from prerl_train.resolve import resolve

        settings = resolve(name, {key: _listed(value) for key, value in given.items()})
        from prerl_train.train import train

        run = train(settings)
        if os.environ.get("RANK", "0") == "0":
            typer.echo(run)

    options = [_parameter(name, option) for option in OPTIONS]
    command.__signature__ = Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {}
    command.__doc__ = ALGORITHMS[name].help
    return command


def _parameter(algorithm: str, name: str) -> Parameter:
    """One option as a parameter. It defaults to None, which stands for "not given".

    An option that the algorithm does not use is hidden from its help but taken, and refused by
    resolve, which can say what it is for.
    """
    kind, spec = value_type(name), OPTIONS[name]
    default = ALGORITHMS[algorithm].defaults.get(name, spec["default"])
    if not spec["shown"] and default not in (None, "", ()):
        shown = str(default).lower() if kind is bool else f"{default:g}" if kind is float else str(default)
    else:
        shown = spec["shown"]
    text = spec["help"].rstrip(".") + (f"; default: {shown}." if shown else ".")
    flags = f"{flag(name)}/--no-{flag(name)[2:]}" if kind is bool else flag(name)
    repeatable = get_origin(kind) is tuple
    info = typer.Option(
        flags,
        help=text,
        rich_help_panel=spec["panel"],
        show_default=False,
        hidden=algorithm not in users_of(name),
        metavar="<str>" if repeatable else None,
    )
    hint = list[str] if repeatable else kind
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint | None, info])


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


for _name in ALGORITHMS:
    app.command(_name, rich_help_panel="Train")(_training_command(_name))


@app.command(rich_help_panel="Look")
def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of training.")],
    out: Annotated[Path, typer.Option(help="Picture: .png, .svg or .pdf.")],
) -> None:
    """Draw reward, lengths, entropy and the rest over the updates, with the switch marked."""
    from prerl_train.plot import plot_runs

    plot_runs(runs, out)


@app.command(rich_help_panel="Look")
def align(
    ckpt: Annotated[str, typer.Option(help="Checkpoint folder or hub id.")],
    data: Annotated[str, typer.Option(help="Problems: card, hub id, or jsonl (problem, answer).")],
    samples: Annotated[int, typer.Option(help="Responses to measure.")] = 40,
    token_samples: Annotated[int, typer.Option(help="How many of them token by token.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: runs/align-<checkpoint>-<hash of the settings>.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of cloned hub data sets, DIR/<org>/<name>; default: the hub.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data; default: the card's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the problems and of the sampling.")] = 0,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    max_tokens: Annotated[
        int | None, typer.Option(help="Completion tokens at most; default: the card's.")
    ] = None,
    start_token: Annotated[
        str | None, typer.Option(help="Token (or id) before y in P(y); default: the tokenizer's.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Size of the step along grad log P(y); default: a small one.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the gradients.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32 or float64, of the gradients.")] = "float32",
    system: Annotated[str | None, typer.Option(help="System message of the chat.")] = None,
    thinking: Annotated[
        bool | None,
        typer.Option(
            "--thinking/--no-thinking", help="Switch the chat template's thinking mode; default: its own."
        ),
    ] = None,
    template: Annotated[str, typer.Option(help="auto, chat or plain.")] = "auto",
) -> None:
    """Do grad log P(y) and grad log P(y|x) agree? Per response and per token; the same command resumes."""
    given = dict(locals())
    from prerl_train.alignment.study import align as measure

    typer.echo(measure(**given))


@app.command(rich_help_panel="Prepare")
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
    promptless_share: Annotated[
        float, typer.Option(help="Share of documents that are a response without its problem, 0 to 1.")
    ] = 0.25,
    restate: Annotated[
        bool, typer.Option("--restate/--no-restate", help="Responses open by restating their problem.")
    ] = True,
) -> None:
    """Pre-train a base model on Countdown reasoning traces (nano: about five minutes on one CPU thread)."""
    from prerl_train.base_checkpoint import train_base
    from prerl_train.traces import Corpus

    record = train_base(
        out,
        size_name=size,
        seed=seed,
        tokens=tokens,
        threads=threads,
        device=device,
        corpus=Corpus(promptless_share, restate),
    )
    typer.echo(
        f"{out}: {record['parameters']:,} parameters, {record['tokens']:,} tokens "
        f"in {record['seconds']:.0f} s ({record['tokens_per_second']:,} tokens/s)"
    )


@app.command(rich_help_panel="Prepare")
def config(
    name: Annotated[
        Literal["fsdp2", "ddp"], typer.Argument(help="fsdp2: sharded weights; ddp: a copy per GPU.")
    ],
) -> None:
    """Print the path of a shipped accelerate config: accelerate launch --config_file $(...)."""
    typer.echo(Path(__file__).resolve().parent / "configs" / f"{name}.yaml")


def main() -> None:
    """Entry point of the console script."""
    run_app(app, "prerl-train")


if __name__ == "__main__":
    main()
