"""`prerl-eval regrade`: stored completions judged again by today's grader.

Every row holds what its grader needs (gold, facts, prompt), so no data set is read. Parts are
replaced one by one, each atomically: after a kill every row is there with its old or its new
verdict, and the same command finishes the work.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prerl_eval import provenance, store
from prerl_eval.errors import RunStopped
from prerl_eval.grading import GradingPool, Verdict, grader_version
from prerl_eval.grading.code import code_execution, isolation_notes, unisolated
from prerl_eval.problems import Problem
from prerl_eval.run_lock import RunLock
from prerl_eval.run_record import read_record, write_record

Changes = dict[str, Counter[tuple[str, str]]]
"""benchmark -> (old status, new status) -> rows."""


def regrade(
    run: Path,
    *,
    accept_box_in_thinking: bool = False,
    unsafe_code_execution: bool = False,
    workers: int | None = None,
) -> list[str]:
    """Grade every stored row of `run` again; returns lines that say what changed.

    accept_box_in_thinking: the rule from now on, whatever the run was made with; run.json records
    it. unsafe_code_execution: run model-written code also where it cannot be isolated. Raises UserError
    where `run` is no run, is being written, or has a damaged part, and where its code cannot be isolated.
    """
    graders = [card.get("grader", "") for card in read_record(run).get("benchmarks", {}).values()]
    execution = code_execution(graders, unsafe_code_execution)
    changes: Changes = {}
    rules = {"accept_box_in_thinking": accept_box_in_thinking, "unsafe_code": unsafe_code_execution}
    with RunLock(run), GradingPool(workers, **rules) as pool:
        record = read_record(run)  # again: a run that held the lock may just have written it
        lines = _set_rules(run, record, accept_box_in_thinking, execution)
        for part in store.parts(run):
            _regrade_part(part, pool, changes)
        record["regrades"][-1]["finished"] = provenance.now()
        write_record(run, record)
    return lines + [_line(run, benchmark, counts) for benchmark, counts in sorted(changes.items())]


def _set_rules(run: Path, record: dict[str, Any], accept: bool, execution: str) -> list[str]:
    settings = record.setdefault("settings", {})
    before = settings.get("accept_box_in_thinking", False)
    settings["accept_box_in_thinking"] = accept
    settings.pop("unisolated_code", None)
    settings.update(unisolated(execution))
    entry = {"started": provenance.now(), "versions": provenance.versions(), "finished": None}
    record["regrades"] = [*record.get("regrades", []), entry]
    write_record(run, record)
    changed = [f"{run}: accept_box_in_thinking: {before} -> {accept}"] if before != accept else []
    return changed + [f"{run}: {note}" for note in isolation_notes(execution)]


def _regrade_part(part: Path, pool: GradingPool, changes: Changes) -> None:
    table = store.read_part(part)
    rows = table.select([name for name in table.column_names if name != "token_ids"]).to_pylist()
    problems = [stored_problem(row) for row in rows]
    verdicts = pool.grade(
        (problem, row["completion"], row["finish_reason"], row["opens_thinking"])
        for problem, row in zip(problems, rows, strict=True)
    )
    for row, verdict in zip(rows, verdicts, strict=True):
        changes.setdefault(row["benchmark"], Counter())[row["status"], verdict.status] += 1
    new = _with_verdicts(table, problems, verdicts)
    if not new.equals(table):
        _replace(part, new)


def stored_problem(row: Mapping[str, Any]) -> Problem:
    """The problem of a stored row, as its grader needs it; its text is the whole prompt.

    row: columns benchmark, problem_id, prompt, gold, grader, extra of the store.
    """
    grader = row["grader"].partition("/")[0]
    extra = json.loads(row["extra"] or "{}")
    return Problem(row["benchmark"], row["problem_id"], row["prompt"], row["gold"], grader, extra)


def _with_verdicts(table: pa.Table, problems: list[Problem], verdicts: list[Verdict]) -> pa.Table:
    columns = {
        "grader": [grader_version(problem) for problem in problems],
        **{
            name: [getattr(verdict, name).encode("utf-8", "replace").decode() for verdict in verdicts]
            for name in ("status", "answer", "answer_class", "detail")
        },
    }
    for name, values in columns.items():
        index = table.column_names.index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(values, pa.string()))
    return table


def _replace(part: Path, table: pa.Table) -> None:
    temporary = part.with_name(f".{part.stem}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(part)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunStopped(
            f"{part}: {error.strerror or error}; every row is safe, make room and regrade again"
        ) from error


def _line(run: Path, benchmark: str, counts: Counter[tuple[str, str]]) -> str:
    changed = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    moves = ", ".join(f"{old} -> {new} {count}" for (old, new), count in sorted(changed.items()))
    total = f"{run}: {benchmark}: {sum(changed.values())} of {counts.total()} verdicts changed"
    return f"{total} ({moves})" if moves else total
