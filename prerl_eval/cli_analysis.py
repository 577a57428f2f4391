"""The commands of `prerl-eval` that read finished runs or ask more of a checkpoint: flags and help.

Comparison, budgets, power, course of training, log-probs, contamination, report; all work in the
modules that they import. Registered in prerl_eval.cli.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prerl_eval.cli_flags import (
    AllowDifferences,
    BaseUrl,
    BatchSize,
    DataParallel,
    DataRoot,
    Dtype,
    EngineName,
    Json,
    Null,
    Picture,
    SomeBench,
    Step,
    TensorParallel,
    Workers,
    print_lines_or_json,
)


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
    print_lines_or_json(lines, facts, json)


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
    print_lines_or_json(draw_comparison(facts, out), facts, json)


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
    print_lines_or_json(draw_trajectory(facts, out, csv), facts, json)


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
    print_lines_or_json(render_power(facts), facts, json)


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
    print_lines_or_json(render_audit(facts), facts, json)


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
