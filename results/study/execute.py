"""Running a study's jobs, several at a time, each resumable because its command is.

Covers the order, logs and failures. Does not cover what the jobs are (results.study.jobs).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from prerl_eval.console import progress
from results.study.jobs import Job


def run_jobs(jobs: Sequence[Job], work: Path, workers: int) -> list[str]:
    """Run the jobs, `workers` at a time with one thread each, earlier ones of the list first.

    One that failed keeps back those that need it; the others go on. Returns what failed, naming logs;
    nothing where all did well.
    """
    if not jobs:
        return []
    work.mkdir(parents=True, exist_ok=True)
    waiting, names = list(jobs), {job.name for job in jobs}
    done: set[str] = set()
    failed: list[Job] = []
    running: dict[Future[bool], Job] = {}
    commands = _Commands(work)
    with ThreadPoolExecutor(workers) as pool, progress("study", len(jobs), unit="jobs") as advance:
        try:
            while True:
                ready = [job for job in waiting if not (set(job.needs) & names) - done]
                for job in ready[: workers - len(running)]:
                    waiting.remove(job)
                    running[pool.submit(commands.run, job)] = job
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    if future.result():
                        done.add(job.name)
                    else:
                        failed.append(job)
                    advance(1, job.name)
        except BaseException:
            commands.stop()
            raise
    if not failed:
        return []
    logs = ", ".join(str(job.log(work)) for job in failed[:3])
    kept = f", and {len(waiting)} jobs wait for what they would have made" if waiting else ""
    return [f"{len(failed)} jobs failed, see {logs}{kept}"]


class _Commands:
    """The processes that run now, so that none outlives the study."""

    def __init__(self, work: Path):
        self.work = work
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def run(self, job: Job) -> bool:
        """Run one job's command to its end; whether it did well."""
        if self._stopped:
            return False
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with job.log(self.work).open("a") as log:
            command = [sys.executable, "-m", *job.arguments]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            self._processes.append(process)
            return process.wait() == 0

    def stop(self) -> None:
        """End what runs; each command stores what it has."""
        self._stopped = True
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.terminate()
