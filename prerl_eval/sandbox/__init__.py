"""The one place where code that a model wrote is run: isolated, bounded, judged from outside."""

from prerl_eval.sandbox.isolation import Isolation, unisolated
from prerl_eval.sandbox.limits import Limits
from prerl_eval.sandbox.runner import Job, Outcome, ProgramPool, find_isolation, run_job

__all__ = ["Isolation", "Job", "Limits", "Outcome", "ProgramPool", "find_isolation", "run_job", "unisolated"]
