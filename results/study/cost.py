"""The cost plan: what would run, in order, and about how many seconds of one core each job takes.

Estimates come from the plan's table [cost]. Covers the text; does not cover which jobs there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from results.study.jobs import Job
from results.study.plan import Study


def cost_plan(study: Study, jobs: Sequence[Job], workers: int) -> str:
    """One line per job, then the sum. Arms that wait for looks are named: their jobs are not known yet."""
    lines = [f"{job.seconds:7.0f} s  {job.name}" for job in jobs]
    total = sum(job.seconds for job in jobs)
    lines.append(
        f"{len(jobs)} jobs, about {total:,.0f} s of one core, {total / workers / 3600:.1f} hours on {workers}"
    )
    return "\n".join(lines)
