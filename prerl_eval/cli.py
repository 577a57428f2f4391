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

from prerl_eval.console import run_app

app = typer.Typer(
    name="prerl-eval",
    help="Measure a checkpoint: Avg@n and Pass@k with uncertainty, from runs that can be killed and resumed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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
        _print_json(summaries[0] if len(summaries) == 1 else summaries)
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


@app.command()
def budget(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, one line each.")],
    budgets: Annotated[
        list[int] | None,
        typer.Option("--budget", help="A budget in tokens; repeatable. Default: evenly spaced ones."),
    ] = None,
    bench: SomeBench = None,
    out: Picture = None,
    csv: Annotated[Path | None, typer.Option(help="The same points as CSV.")] = None,
    step: Step = None,
    json: Json = False,
) -> None:
    """Accuracy against token budget: a response that is longer than the budget counts as cut."""
    from prerl_eval.budget import draw_budget

    lines, facts = draw_budget(
        runs, benchmarks=bench or (), step=step, budgets=budgets or (), out=out, csv_file=csv
    )
    _print_lines_or_json(lines, facts, json)


@app.command()
def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="Run of the base, or NAME=RUN,RUN of several seeds.")
    ],
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs to compare with it; NAME=RUN,RUN,RUN: training seeds."),
    ],
    null: Null = None,
    bench: SomeBench = None,
    out: Picture = None,
    step: Step = None,
    allow_differences: AllowDifferences = False,
    paths: Annotated[
        bool, typer.Option("--paths", help="Also what became of the base's responses (see score).")
    ] = False,
    json: Json = False,
) -> None:
    """What training changed: Avg, Pass@k, saturation, rare paths, diversity, cost; with uncertainty."""
    from prerl_eval.comparison.compare import Options, draw_comparison
    from prerl_eval.comparison.compare import compare as compare_runs
    from prerl_eval.plots import check_files

    check_files(out, None)
    facts = compare_runs(Options(base, runs, null, bench or (), step, allow_differences, paths))
    _print_lines_or_json(draw_comparison(facts, out), facts, json)


@app.command()
def trajectory(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Evaluations of one training: runs, STEP=RUN, a folder of runs, or a training run.",
        ),
    ],
    null: Null = None,
    bench: SomeBench = None,
    out: Picture = None,
    csv: Annotated[Path | None, typer.Option(help="All figures as CSV.")] = None,
    allow_differences: AllowDifferences = False,
    json: Json = False,
) -> None:
    """Avg, Pass@k and saturation against the training step."""
    from prerl_eval.plots import check_files
    from prerl_eval.trajectory import measure_trajectory
    from prerl_eval.trajectory_table import draw_trajectory

    check_files(out, csv)
    facts = measure_trajectory(runs, benchmarks=bench or (), null=null, allow_differences=allow_differences)
    _print_lines_or_json(draw_trajectory(facts, out, csv), facts, json)


@app.command()
def power(
    bench: Annotated[str, typer.Argument(metavar="BENCH", help="Benchmark name or card path.")],
    n: Annotated[int, typer.Option("--n", help="Samples per problem.")],
    problems: Annotated[
        int | None, typer.Option(help="Problems; default: those of --from, else the card's.", min=2)
    ] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds of the method.")] = 1,
    runs: Annotated[
        list[str] | None,
        typer.Option("--from", help="A run of the base, then one of a method, to plan from what they show."),
    ] = None,
    correlation: Annotated[
        float | None, typer.Option(help="Between both models' chances, over problems.", min=-1, max=1)
    ] = None,
    seed_sd: Annotated[
        float | None,
        typer.Option(help="Standard deviation of Avg between training seeds, 0 to 1.", min=0, max=1),
    ] = None,
    json: Json = False,
) -> None:
    """The smallest difference that problems x samples (x seeds) detect in 80% of experiments."""
    from prerl_eval.comparison.planning import PowerOptions, plan_power, render_power

    facts = plan_power(PowerOptions(bench, n, problems, seeds, runs or (), correlation, seed_sd))
    _print_lines_or_json(render_power(facts), facts, json)


@app.command()
def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder whose responses are scored.")],
    ckpt: Annotated[
        list[str],
        typer.Option(help="Checkpoint folder, folder of checkpoints, PEFT adapter or hub id; repeatable."),
    ],
    name: Annotated[
        str | None, typer.Option(help="Stored as annotation logp-NAME; default: the checkpoint's name.")
    ] = None,
    bench: SomeBench = None,
    step: Annotated[int | None, typer.Option(help="Only this training step.")] = None,
    per_token: Annotated[bool, typer.Option(help="Store each token's log-prob too.")] = False,
    dtype: Dtype = "auto",
    batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a batch, padding included; less takes less memory.")
    ] = None,
    start_token: Annotated[
        str | None, typer.Option(help="Token or id that stands before y in P(y); default: as in training.")
    ] = None,
    retokenize: Annotated[
        bool, typer.Option("--retokenize", help="Score the texts in the checkpoint's own tokens.")
    ] = False,
    thinking: Annotated[
        bool | None, typer.Option("--thinking/--no-thinking", help="Imported runs: thinking mode of prompts.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Imported runs: system message of the prompts.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Imported runs: prompts by auto, chat or plain.")
    ] = None,
) -> None:
    """log P(y|x) and log P(y) of every stored response under any checkpoint; resumable."""
    from prerl_eval.scoring.plan import ScoreOptions
    from prerl_eval.scoring.score import score as score_run

    options = ScoreOptions(
        run=run,
        ckpt=ckpt,
        name=name,
        bench=bench or (),
        step=step,
        per_token=per_token,
        dtype=dtype,
        batch_tokens=batch_tokens,
        start_token=start_token,
        retokenize=retokenize,
        thinking=thinking,
        system=system,
        template=template,
    )
    for line in score_run(options):
        typer.echo(line)


@app.command()
def contamination(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_BENCH", help="Benchmark, group or card path; or a run, for its problems and Avg."
        ),
    ],
    ckpt: Annotated[
        list[str],
        typer.Option(help="Checkpoint folder, folder of checkpoints, PEFT adapter or hub id; repeatable."),
    ],
    prefix: Annotated[float, typer.Option(help="Share of a problem's words that the model is given.")] = 0.6,
    limit: Annotated[int | None, typer.Option(help="Only the first N problems of each benchmark.")] = None,
    max_tokens: Annotated[
        int, typer.Option(help="Tokens at most, for the rest of the problem and an answer.")
    ] = 2048,
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
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Does the model know the problems by heart: the share that it completes from their first part."""
    from prerl_eval.contamination import AuditOptions, audit
    from prerl_eval.contamination_facts import render_audit

    options = AuditOptions(
        target=target,
        ckpt=ckpt,
        prefix=prefix,
        limit=limit,
        max_tokens=max_tokens,
        engine=engine,
        tp=tp,
        dp=dp,
        batch_size=batch_size,
        base_url=base_url,
        dtype=dtype,
        data_root=data_root,
        out=out,
        workers=workers,
    )
    facts = audit(options)
    _print_lines_or_json(render_audit(facts), facts, json)


@app.command()
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Run folders, NAME=RUN, or NAME=RUN,RUN: training seeds."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page to write; default: report.html.")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="Run that the others are compared with.")] = None,
    null: Null = None,
    bench: SomeBench = None,
    step: Step = None,
    picture: Annotated[
        list[Path] | None,
        typer.Option("--picture", help="A picture (.svg, .png) to show too, as of `prerl-train plot`."),
    ] = None,
    allow_differences: AllowDifferences = False,
    index: Annotated[
        Path | None,
        typer.Option("--index", help="List the runs under this folder with their scores instead."),
    ] = None,
) -> None:
    """Tables, pictures and every trace in one HTML file that needs no network and no server."""
    from prerl_eval.errors import UserError
    from prerl_eval.report.sources import ReportOptions

    if index is not None:
        from prerl_eval.report.index import write_index

        if runs or base:
            raise UserError("--index lists a folder by itself; leave out RUN and --base")
        lines = write_index(index, out)
    else:
        from prerl_eval.report.report import write_report

        lines = write_report(
            ReportOptions(
                runs or (),
                out or Path("report.html"),
                base,
                null,
                bench or (),
                step,
                allow_differences,
                picture or (),
            )
        )
    for line in lines:
        typer.echo(line)


@app.command(name="list")
def list_benchmarks(json: Json = False) -> None:
    """The benchmarks that come with prerl."""
    from prerl_eval.preflight import list_cards

    rows = list_cards()
    if json:
        _print_json(rows)
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
        _print_json(report)
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


def _print_lines_or_json(lines: list[str], facts: object, json: bool) -> None:
    if json:
        _print_json(facts)
    else:
        typer.echo("\n".join(lines))


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Entry point of the `prerl-eval` script."""
    run_app(app, "prerl-eval")


if __name__ == "__main__":
    main()
