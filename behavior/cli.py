"""The `prerl-behavior` command: flags and help here, all work in the modules that the commands import.

    prerl-behavior count RUN_OR_FILE...            words of reflection: rates, ratios, pictures
    prerl-behavior judge RUN... --model NAME       four behaviours, labelled by an LLM (resumable)
    prerl-behavior agree A B...                    do judges, lexicons and people say the same?
    prerl-behavior consequence RUN                 what became of the answer after a reflection

Imports nothing but typer at the top: `--help` must not wait for the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prerl_eval.console import run_app

app = typer.Typer(
    name="prerl-behavior",
    help="See how a model's reasoning changed: words counted, behaviour judged, answers followed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def behavior() -> None:
    """Makes every function below a command of its own, however few there are."""


@app.command()
def count(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_FILE...",
            help="Run folders, or jsonl, jsonl.gz and parquet files (or folders of them) of any tool; "
            "NAME=PATH names one, PATH@STEP picks a step.",
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="What the others are compared with: a path, or a NAME given above.")
    ] = None,
    lexicon: Annotated[
        str, typer.Option(help="seal, oat-zero, r1-zero, simplerl, underthinking, or path of a TOML file.")
    ] = "seal",
    text_field: Annotated[
        str | None, typer.Option(help="Files: field of the response(s), dotted path; default: found by name.")
    ] = None,
    prompt_field: Annotated[
        str | None, typer.Option(help="Files: field of the prompt, whose copies are masked.")
    ] = None,
    problem_field: Annotated[
        str | None, typer.Option(help="Files: field that tells problems apart; default: an id or the prompt.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Count tokens with this one (folder or hub id), not as stored.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="All figures as CSV.")] = None,
    out: Annotated[Path | None, typer.Option(help="Picture: .png, .svg or .pdf.")] = None,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Store what was found as annotation words-<lexicon>.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count words of reflection and the like: rates with intervals, and ratios against a base.

    Words are not behaviour; docs/behavior.md says what each figure means and where it fails.
    """
    from behavior.report import CountOptions, count_words
    from behavior.tables import render

    options = CountOptions(
        sources=sources,
        base=base,
        lexicon=lexicon,
        text_field=text_field,
        prompt_field=prompt_field,
        problem_field=problem_field,
        tokenizer=tokenizer,
        csv=csv,
        out=out,
        annotate=annotate,
    )
    found = count_words(options)
    _print_json(found) if json else typer.echo(render(found))
    for file in (csv, out):
        if file is not None:
            typer.echo(f"wrote {file}", err=json)


@app.command()
def judge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    model: Annotated[str, typer.Option(help="The judge, as the server calls it.")],
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="OPENAI_BASE_URL",
            show_envvar=False,
            help="Server address, such as http://localhost:8000/v1; default: OpenAI's. Key: OPENAI_API_KEY.",
        ),
    ] = None,
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens in.", min=0)] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens out.", min=0)] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Spend no more on these runs, all sittings together.", min=0)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate requests, tokens, cost.")] = False,
    limit: Annotated[
        int | None, typer.Option(help="Samples of each run, spread over its problems; default: all.", min=1)
    ] = None,
    step: Annotated[int | None, typer.Option(help="Only samples of this training step.")] = None,
    repeat: Annotated[int, typer.Option(help="Which repeat this is: 2 judges a second time.", min=1)] = 1,
    again: Annotated[
        bool, typer.Option("--again", help="Also ask again where a reply was invalid, refused or truncated.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Annotation; default: judge-<model>[-rN].")] = None,
    concurrency: Annotated[int, typer.Option(help="Requests in flight.", min=1)] = 16,
    rpm: Annotated[float | None, typer.Option(help="Requests per minute at most.", min=0.001)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for one reply.", min=0.001)] = 600.0,
    temperature: Annotated[float, typer.Option(help="Of the judge; 0 is greedy.", min=0)] = 0.0,
    max_output: Annotated[int, typer.Option(help="Tokens of a reply at most.", min=1)] = 4096,
    chunk_chars: Annotated[int, typer.Option(help="Characters of trace per request at most.")] = 12_000,
    canaries: Annotated[
        bool, typer.Option("--canaries/--no-canaries", help="Also test whether the judge obeys traces.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Subgoal setting, enumeration, verification, backtracking: labelled by an LLM, each with a quote.

    Stored beside the samples as an annotation; the same command goes on where it stopped, and buys
    no reply twice. docs/judge.md says what the figures mean.
    """
    from behavior.judge.judge import estimate, judge, render_estimate
    from behavior.judge.options import JudgeOptions
    from behavior.judge.results import render

    options = JudgeOptions(
        runs=runs,
        model=model,
        base_url=base_url,
        price_in=price_in,
        price_out=price_out,
        max_cost=max_cost,
        limit=limit,
        step=step,
        repeat=repeat,
        again=again,
        name=name,
        concurrency=concurrency,
        rpm=rpm,
        timeout=timeout,
        temperature=temperature,
        max_output=max_output,
        chunk_chars=chunk_chars,
        canaries=canaries,
    )
    if dry_run:
        told = estimate(options)
        _print_json(told) if json else typer.echo(render_estimate(told))
        return
    report = judge(options)
    _print_json(report.results) if json else typer.echo(render(report.results))
    if report.stopped is not None:
        raise report.stopped


@app.command()
def agree(
    judges: Annotated[
        list[str], typer.Argument(metavar="A B...", help="RUN:ANNOTATION, RUN:words-LEXICON or FILE.csv.")
    ],
    same: Annotated[
        list[str] | None, typer.Option(metavar="A=B", help="Labels to take for each other; repeatable.")
    ] = None,
    unit: Annotated[str, typer.Option(help="What is judged: response or thought. A csv says it itself.")] = (
        "response"
    ),
    template: Annotated[
        Path | None, typer.Option(help="Write a csv to fill in, for the one RUN given, and stop.")
    ] = None,
    items: Annotated[int, typer.Option(help="Rows of the template, spread over problems.", min=1)] = 100,
    labels: Annotated[str | None, typer.Option(help="Columns of the template; default: the judge's.")] = None,
    step: Annotated[int | None, typer.Option(help="The template: only samples of this step.")] = None,
    seed: Annotated[int, typer.Option(help="Which rows the template draws.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Do judges, repeats, lexicons and people agree? Kappa with intervals, prevalence corrected.

    prerl-behavior agree RUN --template labels.csv writes a sheet for people; docs/agreement.md.
    """
    if template is not None:
        from behavior.agree import write_template

        typer.echo(write_template(judges, template, items, labels, unit, step, seed))
        return
    from behavior.agree import agree
    from behavior.agree_table import render_agreement

    found = agree(judges, unit, same or [])
    _print_json(found) if json else typer.echo(render_agreement(found))


@app.command()
def consequence(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    lexicon: Annotated[str, typer.Option(help="Preset, or path of a TOML file.")] = "seal",
    step: Annotated[int | None, typer.Option(help="Only samples of this training step.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Did the answer change after a reflection or transition, and which way?

    Candidate answers along each response, judged by the one grader; docs/agreement.md says the limits.
    """
    from behavior.consequence import consequence
    from behavior.consequence_table import render_consequence

    found = consequence(run, lexicon, step)
    _print_json(found) if json else typer.echo(render_consequence(found))


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    """Entry point of the console script."""
    run_app(app, "prerl-behavior")


if __name__ == "__main__":
    main()
