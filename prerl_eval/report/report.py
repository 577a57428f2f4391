"""`prerl-eval report` on one page: runs -> figures, pictures and traces -> one HTML file.

Everything that can be refused is refused before the file is begun. Covers putting the report together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from markupsafe import Markup

import prerl_eval
from prerl_eval.console import progress
from prerl_eval.errors import UserError
from prerl_eval.metrics import Curve
from prerl_eval.plots import passk_curves, plot_passk
from prerl_eval.report.behaviour import behaviour_table, draw_behaviour, measure
from prerl_eval.report.compared import compare_with_base, listed
from prerl_eval.report.marks import Marks, Names, kind_of
from prerl_eval.report.payload import script_json
from prerl_eval.report.pictures import Picture, drawn, given, passk_words
from prerl_eval.report.render import render, writing
from prerl_eval.report.samples import Samples
from prerl_eval.report.settings import settings_of
from prerl_eval.report.sources import Cast, ReportOptions, find_sources
from prerl_eval.report.tables import pass_table, score_table
from prerl_eval.report.traces import Browsed, Traces
from prerl_eval.report.training import Training, describe_training, draw_rollouts
from prerl_eval.store import parts, read_part
from prerl_eval.summary import SCORES_LEGEND, how_made, summarize
from prerl_eval.training_summary import LEGEND

Facts = Mapping[str, Any]


def write_report(options: ReportOptions) -> list[str]:
    """Write the report of some runs; returns lines to print.

    Raises UserError for runs that cannot be read or, with a base, compared, for pictures and for a file
    that cannot be written; RunStopped on a full disk.
    """
    cast = find_sources(options)
    pictures = [given(file) for file in options.pictures]
    summaries = {
        source.name: _only(summarize(source.path, source.step), options.benchmarks) for source in cast.sources
    }
    _check_benchmarks(options, summaries)
    compared, left_out = compare_with_base(cast, options, summaries)
    with writing(options.out) as put, tempfile.TemporaryFile(dir=options.out.parent) as texts:
        traces = _read(cast, options, summaries, texts)
        facts = _facts(cast, options, summaries, traces)
        facts |= {"compared": compared, "left_out": left_out, "given": pictures}
        with progress("writing", sum(len(run.samples) for run in traces.runs)) as advance:
            put(render("report.html.j2", facts | {"chunks": traces.chunks(advance)}))
    return [f"wrote {options.out}"]


def _only(summary: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    kept = {name: row for name, row in summary["benchmarks"].items() if not wanted or name in wanted}
    return summary | {"benchmarks": kept}


def _check_benchmarks(options: ReportOptions, summaries: Mapping[str, Facts]) -> None:
    present = {name for summary in summaries.values() for name in summary["benchmarks"]}
    for name in options.benchmarks:
        if name not in present:
            raise UserError(f"--bench {name} is in no run; leave it out, or evaluate it first")


def _read(cast: Cast, options: ReportOptions, summaries: Mapping[str, Facts], texts: IO[bytes]) -> Traces:
    names = Names()
    sources = [source for source in cast.sources if not source.training]
    total = sum(len(read_part(part, ["step"])) for source in sources for part in parts(source.path))
    runs = []
    with progress("reading", total) as advance:
        for source in sources:
            samples = Samples(
                source.path, texts, step=source.step, benchmarks=options.benchmarks, advance=advance
            )
            marks = Marks(source.path, samples, names)
            runs.append(Browsed(source, how_made(summaries[source.name]), samples, marks))
    return Traces(runs, names)


def _facts(
    cast: Cast, options: ReportOptions, summaries: Mapping[str, Facts], traces: Traces
) -> dict[str, Any]:
    """What the template shows, without the comparison and the traces themselves."""
    measured = {source.name: summaries[source.name] for source in cast.sources if not source.training}
    scored = any(row["n"] for summary in measured.values() for row in summary["benchmarks"].values())
    curves = _curves(cast, options) if scored else {}
    titles = _titles(cast)
    rates = measure(traces)
    return {
        "title": _title(cast),
        "version": prerl_eval.__version__,
        "scores": score_table(measured, titles) if measured else None,
        "scores_legend": SCORES_LEGEND,
        "passk": _passk_picture(curves) if curves else None,
        "passk_table": pass_table(curves, titles) if curves else None,
        "training": _training(cast, summaries),
        "training_picture": _rollouts(cast, summaries),
        "training_legend": LEGEND,
        "behaviour": behaviour_table(rates) if rates else None,
        "behaviour_picture": _behaviour_picture(rates) if rates else None,
        "settings": [settings_of(source, how_made(summaries[source.name])) for source in cast.sources],
        "meta": Markup(script_json(traces.meta(_hints(traces)))),
        "browsed": bool(traces.runs),
    }


def _curves(cast: Cast, options: ReportOptions) -> dict[str, dict[str, Curve]]:
    """Pass@k of every run and benchmark with more than one sample per problem."""
    found = {}
    for source in cast.sources:
        if not source.training:
            own = passk_curves(source.path, source.step)
            found[source.name] = {
                name: curve
                for name, curve in own.items()
                if curve.n > 1 and (not options.benchmarks or name in options.benchmarks)
            }
    return {name: own for name, own in found.items() if own}


def _passk_picture(curves: Mapping[str, Mapping[str, Curve]]) -> Picture:
    return drawn(lambda out: plot_passk(list(curves.items()), out), passk_words(curves), "Pass@k")


def _behaviour_picture(rates: Sequence[Any]) -> Picture:
    words = "; ".join(f"{rate.run}, {rate.benchmark}, {rate.label}: {rate.mean:.2f}" for rate in rates)
    return drawn(
        lambda out: draw_behaviour(rates, out), f"Marks per response as bars. {words}.", "Marks per response"
    )


def _training(cast: Cast, summaries: Mapping[str, Facts]) -> list[Training]:
    return [
        describe_training(source, summaries[source.name], how_made(summaries[source.name]))
        for source in cast.sources
        if source.training
    ]


def _rollouts(cast: Cast, summaries: Mapping[str, Facts]) -> Picture | None:
    trained = {source.name: summaries[source.name] for source in cast.sources if source.training}
    return draw_rollouts(trained) if trained else None


def _titles(cast: Cast) -> dict[str, str]:
    """How cards call their benchmarks, with the name that commands take."""
    titles = {}
    for source in cast.sources:
        for name, card in source.record["benchmarks"].items():
            title = card.get("title") or name
            titles[name] = name if title == name else f"{title} ({name})"
    return titles


def _title(cast: Cast) -> str:
    names = listed([group.name for group in cast.others])
    if cast.base is None:
        return names
    return f"{names} against {cast.base.name}" if names else cast.base.name


def _hints(traces: Traces) -> list[str]:
    """What could be added to the traces, and by which command."""
    bare = [
        run.source.name
        for run in traces.runs
        if not any(kind_of(name) == "words" for name in run.marks.complete)
    ]
    hints = []
    if bare:
        hints.append(
            f"No words are marked in the traces of {', '.join(bare)}; `prerl-behavior count RUN --annotate` "
            "stores them, and a new report shows them."
        )
    for run in traces.runs:
        for name, complete in run.marks.complete.items():
            if complete is False:
                hints.append(f"{name} of {run.source.name} is not complete: give its command again.")
    return hints
