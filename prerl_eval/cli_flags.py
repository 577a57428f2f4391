"""Flags that several commands of `prerl-eval` share, and how these commands print.

Imports nothing but typer: `--help` must not wait for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar="PRERL_DATA_ROOT",
        show_envvar=False,
        help="Folder of cloned hub data sets, DIR/<org>/<name>; default: the hub.",
    ),
]
Bench = Annotated[
    list[str], typer.Option("--bench", help="Benchmark name, group (math, all) or card path; repeatable.")
]
EngineName = Annotated[str, typer.Option(help="auto, transformers, vllm or openai (any compatible server).")]
TensorParallel = Annotated[int, typer.Option(help="Tensor-parallel size (vllm).")]
DataParallel = Annotated[int, typer.Option(help="Data-parallel size (vllm).")]
BatchSize = Annotated[int | None, typer.Option(help="Sequences per batch (transformers).")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
BaseUrl = Annotated[
    str | None, typer.Option(envvar="OPENAI_BASE_URL", show_envvar=False, help="Server address (openai).")
]
Workers = Annotated[int | None, typer.Option(help="Grading processes; default: one per core.", min=1)]
LooseBox = Annotated[
    bool,
    typer.Option("--accept-box-in-thinking", help="Also take a \\boxed answer from unfinished thinking."),
]
UnsafeCode = Annotated[
    bool,
    typer.Option(
        "--unsafe-code-execution",
        help="Run model-written code (humaneval) with your own rights where it cannot be isolated.",
    ),
]
Step = Annotated[int | None, typer.Option(help="Training step, where a run holds several.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SomeBench = Annotated[
    list[str] | None, typer.Option("--bench", help="Only this benchmark of the runs; repeatable.")
]
Null = Annotated[
    str | None,
    typer.Option(
        "--null", help="A second run of the base, with another seed: what an unchanged model shows."
    ),
]
AllowDifferences = Annotated[
    bool,
    typer.Option("--allow-differences", help="Compare runs although problems, prompts or sampling differ."),
]
Picture = Annotated[Path | None, typer.Option("--out", help="Picture: .png, .svg or .pdf.")]


def print_lines_or_json(lines: list[str], facts: object, json: bool) -> None:
    """Print a table's lines, or the facts it was made from."""
    if json:
        print_json(facts)
    else:
        typer.echo("\n".join(lines))


def print_json(value: object) -> None:
    """Print indented JSON."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
