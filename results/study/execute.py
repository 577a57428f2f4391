"""Running a study's jobs, several at a time, each resumable because its commands are.

Covers the commands and the collection of what they wrote. Does not cover tables.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prerl_eval.console import progress
from prerl_eval.errors import RunStopped
from prerl_eval.metrics import interval
from prerl_eval.tally import tally_run
from results.study.plan import Job, Study

LOOKS = ("algorithm", "lr", "seed", "benchmark", "problems", "n", "avg", "low", "high")
RUNS = ("model", "algorithm", "lr", "seed", "updates", "samples", "tokens", "contributing_tokens")
COUNTS = pa.schema(
    [
        ("model", pa.string()),
        ("algorithm", pa.string()),
        ("lr", pa.string()),
        ("seed", pa.int32()),
        ("benchmark", pa.string()),
        ("problem_id", pa.string()),
        ("samples", pa.int32()),
        ("correct", pa.int32()),
    ]
)


def run_jobs(study: Study, jobs: Sequence[Job], work: Path, workers: int) -> None:
    """Train and measure what is not there yet, `workers` jobs at a time, one thread each.

    Raises RunStopped where a command failed, naming its log; the others finish first.
    """
    work.mkdir(parents=True, exist_ok=True)
    failed: list[Path] = []
    waiting = [job for job in jobs if not _measured(job, work)]
    with (
        ThreadPoolExecutor(workers) as pool,
        progress("study", len(jobs), done=len(jobs) - len(waiting), unit="models") as advance,
    ):
        futures = {pool.submit(_run, study, job, work): job for job in waiting}
        for future in as_completed(futures):
            job = futures[future]
            if not future.result():
                failed.append(_log(job, work))
            advance(1, job.model)
    if failed:
        raise RunStopped(
            f"{len(failed)} jobs failed, see {', '.join(map(str, failed[:3]))}; run the same command to go on"
        )


def _log(job: Job, work: Path) -> Path:
    return work / f"{job.model}.log"


def measured_run(job: Job, work: Path) -> Path:
    """The evaluation's run folder of a job."""
    return work / f"{job.model}-{job.measurement.name}"


def _measured(job: Job, work: Path) -> bool:
    """Whether the evaluation ran to its end; a change of n or of problems is found by the command itself."""
    file = measured_run(job, work) / "run.json"
    if not file.is_file():
        return False
    sessions = json.loads(file.read_text(encoding="utf-8")).get("sessions", [{}])
    return set(sessions[-1].get("sampled", {})) >= set(job.measurement.benchmarks)


def _run(study: Study, job: Job, work: Path) -> bool:
    checkpoint = Path(study.base)
    if job.algorithm != "base":
        trained = work / job.model
        checkpoint = trained / f"checkpoint-{study.steps}"
        steps = ["--steps", str(study.steps), "--save-every", str(study.steps)]
        if job.algorithm == "dsrl" and study.steps < 10:
            steps += ["--warmup-steps", "0"]
        train = [
            "prerl_train",
            job.algorithm,
            "--recipe",
            study.recipe,
            "--lr",
            job.lr,
            "--seed",
            str(job.seed),
        ]
        if not checkpoint.is_dir() and not _command([*train, *steps, "--out", str(trained)], _log(job, work)):
            return False
    asked = job.measurement
    benches = [flag for name in asked.benchmarks for flag in ("--bench", name)]
    limit = [] if asked.limit is None else ["--limit", str(asked.limit)]
    evaluate = ["prerl_eval.cli", "run", "--ckpt", str(checkpoint), *benches, "--n", str(asked.n), *limit]
    out = ["--workers", "1", "--out", str(measured_run(job, work))]
    return _command([*evaluate, *out], _log(job, work))


def _command(arguments: Sequence[str], log: Path) -> bool:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("a") as stream:
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, env=environment, stdout=stream, stderr=stream).returncode == 0


# --- what is committed -------------------------------------------------------------------------


def collect_looks(study: Study, jobs: Iterable[Job], work: Path) -> None:
    """Add the validation scores of finished looks to looks.csv; rows that are there stay."""
    file = study.folder / "looks.csv"
    rows = {(row["algorithm"], row["lr"], row["seed"]): row for row in read_csv(file)}
    for job in jobs:
        key = (job.algorithm, job.lr, str(job.seed))
        if job.measurement != study.validation or key in rows or not _measured(job, work):
            continue
        for name, tally in tally_run(measured_run(job, work)).items():
            means = tally.correct / tally.samples
            low, high = (round(float(edge), 4) for edge in interval(means))
            facts = (*key, name, len(means), tally.n, round(float(means.mean()), 4), low, high)
            rows[key] = dict(zip(LOOKS, map(str, facts), strict=True))
    _write_csv(
        file, LOOKS, [rows[key] for key in sorted(rows, key=lambda key: (key[0], float(key[1]), key[2]))]
    )


def collect_tests(study: Study, jobs: Iterable[Job], work: Path) -> None:
    """Add finished measurements on the test problems to runs.csv and counts.parquet; rows there stay."""
    models = {row["model"]: row for row in read_csv(study.folder / "runs.csv")}
    tables = [read_counts(study.folder)]
    for job in jobs:
        if job.measurement == study.validation or job.model in models or not _measured(job, work):
            continue
        models[job.model] = _trained(job, work)
        rows = [
            (job.model, job.algorithm, job.lr, job.seed, name, problem, int(samples), int(correct))
            for name, tally in tally_run(measured_run(job, work)).items()
            for problem, samples, correct in zip(tally.problem_ids, tally.samples, tally.correct, strict=True)
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        tables.append(pa.table(columns, schema=COUNTS))
    _write_csv(study.folder / "runs.csv", RUNS, models.values())
    pq.write_table(pa.concat_tables(tables), study.folder / "counts.parquet", compression="zstd")


def read_counts(folder: Path) -> pa.Table:
    """counts.parquet of a study's folder; no rows where there is none yet."""
    file = folder / "counts.parquet"
    return pq.read_table(file) if file.is_file() else COUNTS.empty_table()


def not_committed(study: Study, jobs: Iterable[Job]) -> list[Job]:
    """The jobs whose results are not among the study's data yet."""
    looks = {(row["algorithm"], row["lr"], row["seed"]) for row in read_csv(study.folder / "looks.csv")}
    tested = {row["model"] for row in read_csv(study.folder / "runs.csv")}
    return [
        job
        for job in jobs
        if (
            (job.algorithm, job.lr, str(job.seed)) not in looks
            if job.measurement == study.validation
            else job.model not in tested
        )
    ]


def _trained(job: Job, work: Path) -> dict[str, str]:
    file = work / job.model / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    facts = (
        job.model,
        job.algorithm,
        job.lr,
        job.seed,
        len(lines),
        *(sum(line[key] for line in lines) for key in ("samples", "tokens", "contributing_tokens")),
    )
    return dict(zip(RUNS, map(str, facts), strict=True))


def read_csv(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; none where there is no file."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _write_csv(file: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
