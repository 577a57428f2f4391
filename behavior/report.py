"""`prerl-behavior count` on one page: sources -> counts -> figures -> table, JSON, CSV, picture, annotation.

Covers the order of the work: everything that can be refused is refused before anything is counted or
written. Each step is a module of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from behavior.annotate import WordsAnnotator
from behavior.cells import Problems
from behavior.count import Counted, count_source
from behavior.figures import figures
from behavior.finding import Finder
from behavior.lexicon import load_lexicon
from behavior.sources import Source, open_sources
from behavior.tables import write_csv
from behavior.tokens import token_counter
from prerl_eval.errors import UserError
from prerl_eval.plots import check_suffix


@dataclass(frozen=True)
class CountOptions:
    """The options of the command; see `prerl-behavior count --help`."""

    sources: Sequence[str]
    base: str | None = None
    lexicon: str = "seal"
    text_field: str | None = None
    prompt_field: str | None = None
    problem_field: str | None = None
    tokenizer: str | None = None
    csv: Path | None = None
    out: Path | None = None
    annotate: bool = False


def count_words(options: CountOptions) -> dict[str, Any]:
    """Count, write what the options ask for, and return all figures (see `figures`).

    Raises UserError for bad input before anything is written.
    """
    if options.out is not None:
        check_suffix(options.out)
        if options.csv is not None and options.csv.resolve() == options.out.resolve():
            raise UserError(f"--csv {options.csv} is the file of --out; give another --csv")
    finder = Finder(load_lexicon(options.lexicon))
    count_tokens = token_counter(options.tokenizer) if options.tokenizer is not None else None
    sources, base = _sources(options)
    if options.csv is not None and any(options.csv.resolve() == file.resolve() for file in _read(sources)):
        raise UserError(f"--csv {options.csv} is a file that is counted; give another --csv")
    problems = Problems()
    sinks = {source.name: WordsAnnotator(source, finder.lexicon) for source in sources if options.annotate}
    with ExitStack() as open_annotations:
        for sink in sinks.values():
            open_annotations.enter_context(sink)
        counted: list[Counted] = [
            count_source(source, finder, problems, count_tokens, sinks.get(source.name)) for source in sources
        ]
    made = figures(counted, finder.lexicon, base, options.tokenizer)
    if options.csv is not None:
        write_csv(made, options.csv)
    if options.out is not None:
        from behavior.plots import draw

        draw(made, options.out)
    return made


def _read(sources: Sequence[Source]) -> list[Path]:
    return [file for source in sources for file in source.files]


def _sources(options: CountOptions) -> tuple[list[Source], str | None]:
    """All sources and the base's name; the base is the first of them where it is not given among them."""
    fields = (options.text_field, options.prompt_field, options.problem_field)
    sources = open_sources(options.sources, *fields)
    if options.base is None:
        return sources, None
    names = [source.name for source in sources]
    if options.base in names:
        return sources, options.base
    (base,) = open_sources([options.base], *fields)
    for source in sources:
        if source.path.resolve() == base.path.resolve() and source.step == base.step:
            return sources, source.name
    if base.name in names:
        base = replace(base, name=str(base.path) if base.step is None else f"{base.path}@{base.step}")
    return [base, *sources], base.name
