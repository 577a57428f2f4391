"""What is collected from the runs beside counts: words, solutions, log-probs, gradients.

Covers the order, and what has to be there first. Each analysis is resumable and owns its file; what a file
says stands in its module, as do its tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from results.study.plan import Study
from results.study.traces import BASE_RUN, is_complete


def collect_analyses(study: Study, work: Path) -> Iterator[str]:
    """Add to the study's data what WORK holds and they lack; a line on each file.

    Log-probs are those of the base's own responses: without its measured run there are none. Raises UserError
    as the analyses do.
    """
    from results.study import alignment, behavior_course, paths

    into = study.folder
    yield _line(into / alignment.RESPONSES, len(alignment.collect(work, into)), "base models")
    yield _line(into / behavior_course.FILE, len(behavior_course.collect(work, into)), "runs")
    yield _line(into / paths.FILE, len(paths.collect(work, into)), "runs")
    if not is_complete(work / BASE_RUN):
        yield f"{into}: log-probs wait for {work / BASE_RUN}"
        return
    from results.study import kl, trace_mass

    yield _line(into / kl.FILE, len(kl.collect(work, into)), "checkpoints")
    yield _line(into / trace_mass.FILE, len(trace_mass.collect(work, into)), "checkpoints")


def _line(file: Path, added: int, what: str) -> str:
    return f"{file}: {added} {what} added"
