"""The `prerl-eval` command: flags and help here, all work in the modules that the commands import.

    prerl-eval run --ckpt PATH --bench aime24      sample and grade (resumable)
    prerl-eval summary RUN...                      Avg@n, Pass@k, maj@k, rates
    prerl-eval passk RUN... --out curve.png        Pass@k curves
    prerl-eval compare BASE RUN...                 what training changed, with uncertainty
    prerl-eval trajectory RUN...                   scores and saturation, training step by step
    prerl-eval power BENCH --n N                   the smallest difference that could be seen
    prerl-eval budget RUN                          accuracy against token budget
    prerl-eval score RUN --ckpt PATH               log P(y|x) and log P(y) of the stored responses
    prerl-eval report RUN... --out report.html     tables, pictures and every trace in one file
    prerl-eval contamination BENCH --ckpt PATH     how many problems the model completes by heart

Imports nothing but typer at the top: `--help` must not wait for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prerl_eval import cli_analysis
from prerl_eval.cli_flags import (
    BaseUrl,
    BatchSize,
    Bench,
    DataParallel,
    DataRoot,
    Dtype,
    EngineName,
    Json,
    LooseBox,
    Step,
    TensorParallel,
    UnsafeCode,
    Workers,
    print_json,
)
from prerl_eval.console import run_app

app = typer.Typer(
    name="prerl-eval",
    help="Measure a checkpoint: Avg@n and Pass@k with uncertainty, from runs that can be killed and resumed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    ckpt: Annotated[
        list[str],
        typer.Option(help="Checkpoint folder, folder of checkpoints, PEFT adapter or hub id; repeatable."),
    ],
    bench: Bench,
    n: Annotated[
        int | None, typer.Option("--n", help="Samples per problem; default: the card's. Raising it tops up.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N problems of each benchmark.")] = None,
    seed: Annotated[int, typer.Option(help="Seed that every request's own seed is derived from.")] = 0,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus mass; 1 is off.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Top-k; 0 is off.")] = 0,
    max_tokens: Annotated[
        int | None, typer.Option(help="Completion tokens at most; default: the card's.")
    ] = None,
    thinking: Annotated[
        bool | None,
        typer.Option(
            "--thinking/--no-thinking", help="Switch the chat template's thinking mode; default: its own."
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message of the chat.")] = None,
    template: Annotated[
        str, typer.Option(help="auto (chat where the tokenizer has a chat template), chat or plain.")
    ] = "auto",
    engine: EngineName = "auto",
    tp: TensorParallel = 1,
    dp: DataParallel = 1,
    batch_size: BatchSize = None,
    dtype: Dtype = "auto",
    base_url: BaseUrl = None,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default: runs/<checkpoint>-<hash of the settings>.")
    ] = None,
    accept_box_in_thinking: LooseBox = False,
    unsafe_code_execution: UnsafeCode = False,
    workers: Workers = None,
) -> None:
    """Sample and grade; the same command goes on where it stopped."""
    from prerl_eval.plan import RunOptions
    from prerl_eval.run import evaluate
    from prerl_eval.summary import render_summary, summarize

    options = RunOptions(
        ckpt=ckpt,
        bench=bench,
        n=n,
        limit=limit,
        seed=seed,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_tokens=max_tokens,
        thinking=thinking,
        system=system,
        template=template,
        engine=engine,
        tp=tp,
        dp=dp,
        batch_size=batch_size,
        base_url=base_url,
        dtype=dtype,
        data_root=data_root,
        out=out,
        accept_box_in_thinking=accept_box_in_thinking,
        unsafe_code_execution=unsafe_code_execution,
        workers=workers,
    )
    runs = evaluate(options)
    typer.echo(render_summary([summarize(path) for path in runs]))


@app.command()
def summary(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    step: Step = None,
    json: Json = False,
) -> None:
    """Avg@n, Pass@k, maj@k, truncation and token counts, with how they were made."""
    from prerl_eval.summary import render_summary, summarize

    summaries = [summarize(path, step) for path in runs]
    if json:
        print_json(summaries[0] if len(summaries) == 1 else summaries)
    else:
        typer.echo(render_summary(summaries))


@app.command()
def passk(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, one line each.")],
    out: Annotated[Path | None, typer.Option(help="Picture: .png, .svg or .pdf.")] = None,
    csv: Annotated[Path | None, typer.Option(help="The same points as CSV.")] = None,
    k: Annotated[
        int | None, typer.Option("--k", help="Largest k; default: n. More than n is refused.")
    ] = None,
    step: Step = None,
) -> None:
    """Unbiased Pass@k curves with bands over problems."""
    from prerl_eval.plots import draw_passk

    for line in draw_passk(runs, out=out, csv=csv, k=k, step=step):
        typer.echo(line)


for analysis in (
    cli_analysis.budget,
    cli_analysis.compare,
    cli_analysis.trajectory,
    cli_analysis.power,
    cli_analysis.score,
    cli_analysis.contamination,
    cli_analysis.report,
):
    app.command()(analysis)


@app.command(name="list")
def list_benchmarks(json: Json = False) -> None:
    """The benchmarks that come with prerl."""
    from prerl_eval.preflight import list_cards

    rows = list_cards()
    if json:
        print_json(rows)
    else:
        from prerl_eval.preflight import render_list

        typer.echo(render_list(rows))


@app.command()
def check(
    bench: Annotated[list[str] | None, typer.Argument(metavar="[BENCH...]", help="Default: all.")] = None,
    ckpt: Annotated[
        str | None, typer.Option(help="Also show the first prompt and stop ids of this checkpoint.")
    ] = None,
    data_root: DataRoot = None,
    unsafe_code_execution: UnsafeCode = False,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Preflight: do the golds grade themselves as right, is the prompt what the model expects."""
    from prerl_eval.preflight import preflight, render_report

    report = preflight(bench or ["all"], ckpt, data_root, workers, unsafe_code_execution)
    if json:
        print_json(report)
    else:
        typer.echo(render_report(report))
    if not report["ok"]:
        raise typer.Exit(1)


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="Generations of any tool: jsonl, jsonl.gz or parquet.")],
    bench: Annotated[str, typer.Option("--bench", help="Benchmark name or card path.")],
    response_field: Annotated[
        str, typer.Option(help="Field of the response(s), dotted path; may hold a list.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    gold_field: Annotated[
        str | None, typer.Option(help="Field of the gold; default: the card's own golds.")
    ] = None,
    problem_field: Annotated[
        str | None, typer.Option(help="Field of the problem's id or text, or a pattern: {task}/{index}.")
    ] = None,
    data_root: DataRoot = None,
    accept_box_in_thinking: LooseBox = False,
    unsafe_code_execution: UnsafeCode = False,
    workers: Workers = None,
) -> None:
    """Import and grade generations that another tool made."""
    from prerl_eval.grade_file import grade_file
    from prerl_eval.summary import render_summary, summarize

    grade_file(
        file,
        bench,
        response_field=response_field,
        gold_field=gold_field,
        problem_field=problem_field,
        out=out,
        data_root=data_root,
        accept_box_in_thinking=accept_box_in_thinking,
        unsafe_code_execution=unsafe_code_execution,
        workers=workers,
    )
    typer.echo(render_summary([summarize(out)]))


@app.command()
def regrade(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    accept_box_in_thinking: LooseBox = False,
    unsafe_code_execution: UnsafeCode = False,
    workers: Workers = None,
) -> None:
    """Grade stored completions again with today's grader, and say which verdicts changed."""
    from prerl_eval.regrade import regrade as regrade_run

    for path in runs:
        lines = regrade_run(
            path,
            accept_box_in_thinking=accept_box_in_thinking,
            unsafe_code_execution=unsafe_code_execution,
            workers=workers,
        )
        for line in lines:
            typer.echo(line)


def main() -> None:
    """Entry point of the `prerl-eval` script."""
    run_app(app, "prerl-eval")


if __name__ == "__main__":
    main()
