"""A study's committed data: reading them, and adding what WORK holds by now.

    looks.csv       validation scores of learning rates (and of other options that were looked at)
    runs.csv        per measured model and step: samples and tokens that its training had used by then
    counts.parquet  per measured model, step, measure and problem: samples, correct, finished

Rows that are there stay as they are, so that a study grows over days and machines. Does not cover
tables (results.study.tables).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prerl_eval.errors import UserError
from prerl_eval.grading.verdict import UNSCORED
from prerl_eval.metrics import interval
from prerl_eval.store import read_samples
from prerl_eval.tally import tally_run
from prerl_train import journal
from results.study.jobs import Jobs, measured_run
from results.study.plan import Arm, Point, Study

LOOKS = ("arm", "lr", "seed", "benchmark", "problems", "n", "avg", "low", "high")
SPENT = ("samples", "tokens", "contributing_tokens")
RUNS = ("model", "arm", "algorithm", "base", "lr", "seed", "step", *SPENT)
COUNTS = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("lr", pa.string()),
        ("seed", pa.int32()),
        ("step", pa.int32()),
        ("measure", pa.string()),
        ("benchmark", pa.string()),
        ("problem_id", pa.string()),
        ("samples", pa.int32()),
        ("correct", pa.int32()),
        ("finished", pa.int32()),
    ]
)
MEASUREMENT = ("model", "step", "measure", "benchmark")

Row = dict[str, str]


def chosen_rates(study: Study) -> dict[str, str]:
    """Arm -> its learning rate: the given one, or that of the best look, the smaller of two equal ones.

    Arms that a look still lacks are left out.
    """
    scores = {(row["arm"], row["lr"]): float(row["avg"]) for row in read_csv(study.folder / "looks.csv")}
    return {
        arm.name: max(sorted(arm.rates, key=float), key=lambda lr: scores.get((arm.name, lr), 0.0))
        for arm in study.arms.values()
        if arm.rates and all((arm.name, lr) in scores for lr in arm.looks)
    }


def not_committed(study: Study, points: Iterable[Point]) -> list[Point]:
    """The points of which any benchmark is not among the study's data yet."""
    looks = {(row["arm"], row["lr"], row["benchmark"]) for row in read_csv(study.folder / "looks.csv")}
    counted = _counted(read_counts(study.folder))

    def lacks(point: Point, benchmark: str) -> bool:
        model = point.model
        if _is_look(study, point):
            return (model.arm.name, model.lr, benchmark) not in looks
        return (model.name, point.step, point.measure.name, benchmark) not in counted

    return [point for point in points if any(lacks(point, name) for name in point.measure.benchmarks)]


def collect(study: Study, points: Sequence[Point], rates: Mapping[str, str], work: Path) -> list[Point]:
    """Add every point that WORK holds and the data lack; the points that were added."""
    jobs = Jobs(study, rates, work)
    found = [point for point in not_committed(study, points) if jobs.is_measured(point)]
    looks = [point for point in found if _is_look(study, point)]
    tests = [point for point in found if not _is_look(study, point)]
    if looks:
        _collect_looks(study.folder / "looks.csv", looks, work)
    if tests:
        _collect_runs(study, tests, rates, work)
        _collect_counts(study.folder, tests, work)
    _fill_finished(study.folder, [point for point in points if point not in found], jobs)
    return found


def _is_look(study: Study, point: Point) -> bool:
    return point.measure.name == study.look[1].name


def _collect_looks(file: Path, points: Iterable[Point], work: Path) -> None:
    rows = {(row["arm"], row["lr"], row["seed"], row["benchmark"]): row for row in read_csv(file)}
    for point in points:
        model = point.model
        for name, tally in tally_run(measured_run(point, work)).items():
            means = tally.correct / tally.samples
            low, high = (round(float(edge), 4) for edge in interval(means))
            key = (model.arm.name, model.lr, str(model.seed), name)
            facts = (*key, len(means), tally.n, round(float(means.mean()), 4), low, high)
            rows.setdefault(key, dict(zip(LOOKS, map(str, facts), strict=True)))
    _write_csv(
        file, LOOKS, [rows[key] for key in sorted(rows, key=lambda key: (key[0], float(key[1]), key[2:]))]
    )


def _collect_runs(study: Study, points: Iterable[Point], rates: Mapping[str, str], work: Path) -> None:
    file = study.folder / "runs.csv"
    rows = {(row["model"], int(row["step"])): row for row in read_csv(file)}
    for point in points:
        model = point.model
        facts = (
            model.name,
            model.arm.name,
            model.arm.algorithm,
            _base_name(model.arm),
            model.lr,
            model.seed,
            point.step,
            *spent(study, point, rates, work),
        )
        rows.setdefault((model.name, point.step), dict(zip(RUNS, map(str, facts), strict=True)))
    _write_csv(file, RUNS, rows.values())


def _collect_counts(folder: Path, points: Iterable[Point], work: Path) -> None:
    before = read_counts(folder)
    counted, tables = _counted(before), [before]
    for point in points:
        model, run = point.model, measured_run(point, work)
        finished = _finished(run)
        rows = [
            (
                *(model.name, model.arm.name, model.lr, model.seed, point.step, point.measure.name),
                *(name, problem, int(samples), int(correct), finished.get((name, problem), 0)),
            )
            for name, tally in tally_run(run).items()
            if (model.name, point.step, point.measure.name, name) not in counted
            for problem, samples, correct in zip(tally.problem_ids, tally.samples, tally.correct, strict=True)
        ]
        tables.append(pa.table([list(column) for column in zip(*rows, strict=True)], schema=COUNTS))
    _write_counts(folder, pa.concat_tables(tables))


def _fill_finished(folder: Path, points: Iterable[Point], jobs: Jobs) -> None:
    """Give rows that lack `finished` theirs, where WORK holds the measurement that they came from.

    It is taken for that one where samples and correct samples of every problem are the same.
    """
    table = read_counts(folder)
    lacking = _counted(table.filter(pc.is_null(table["finished"])))
    keys = list(zip(*(table[name].to_pylist() for name in (*MEASUREMENT, "problem_id")), strict=True))
    counts = list(zip(table["samples"].to_pylist(), table["correct"].to_pylist(), strict=True))
    known = dict(zip(keys, counts, strict=True))
    found: dict[tuple[str, int, str, str, str], int] = {}
    for point in points:
        name, run = (point.model.name, point.step, point.measure.name), measured_run(point, jobs.work)
        wanted = {benchmark for benchmark in point.measure.benchmarks if (*name, benchmark) in lacking}
        if not wanted or not jobs.is_measured(point):
            continue
        finished = _finished(run)
        for benchmark, tally in tally_run(run).items():
            rows = zip(tally.problem_ids, tally.samples, tally.correct, strict=True)
            stored = {(*name, benchmark, problem): (samples, correct) for problem, samples, correct in rows}
            if benchmark in wanted and all(known.get(key) == count for key, count in stored.items()):
                found |= {key: finished.get((benchmark, key[-1]), 0) for key in stored}
    if found:
        before = table["finished"].to_pylist()
        filled = [found.get(key, value) for key, value in zip(keys, before, strict=True)]
        place = table.column_names.index("finished")
        _write_counts(folder, table.set_column(place, COUNTS.field(place), pa.array(filled, pa.int32())))


def _write_counts(folder: Path, table: pa.Table) -> None:
    temporary = folder / ".counts.parquet.tmp"
    pq.write_table(table, temporary, compression="zstd")
    temporary.rename(folder / "counts.parquet")


def spent(study: Study, point: Point, rates: Mapping[str, str], work: Path) -> tuple[int, ...]:
    """Samples, tokens and contributing tokens up to a point, for a fork with those before it began.

    Raises UserError where the training run's metrics.jsonl lacks updates.
    """
    if point.model.is_base:
        return (0,) * len(SPENT)
    file = work / point.model.name / "metrics.jsonl"
    updates = [entry for entry in journal.read(file) if entry["step"] <= point.step]
    if len(updates) != point.step:
        raise UserError(f"{file} has {len(updates)} of {point.step} updates; bring the whole training run")
    own = [sum(entry[key] for entry in updates) for key in SPENT]
    origin, fork = study.origin(point.model, rates), point.model.arm.fork
    if origin is None or fork is None:
        return tuple(own)
    before = spent(study, Point(origin, fork.step, point.measure), rates, work)
    return tuple(one + other for one, other in zip(own, before, strict=True))


def _finished(run: Path) -> dict[tuple[str, str], int]:
    """(benchmark, problem) -> scored samples that ended by themselves."""
    table = read_samples(run, ["benchmark", "problem_id", "finish_reason", "status"])
    kept = table.filter(
        pc.and_(pc.equal(table["finish_reason"], "stop"), pc.not_equal(table["status"], UNSCORED))
    )
    counts = kept.group_by(["benchmark", "problem_id"]).aggregate([([], "count_all")])
    return {(row["benchmark"], row["problem_id"]): row["count_all"] for row in counts.to_pylist()}


def _base_name(arm: Arm) -> str:
    return f"base.{arm.base}" if arm.base else "base"


def _counted(table: pa.Table) -> set[tuple[str, int, str, str]]:
    columns = (table[name].to_pylist() for name in MEASUREMENT)
    return set(zip(*columns, strict=True))


# --- files -------------------------------------------------------------------------------------


def read_counts(folder: Path) -> pa.Table:
    """counts.parquet of a study's folder; no rows where there is none yet."""
    file = folder / "counts.parquet"
    return pq.read_table(file) if file.is_file() else COUNTS.empty_table()


def read_csv(file: Path) -> list[Row]:
    """Rows of a CSV file with a header; none where there is no file."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _write_csv(file: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.rename(file)
