"""Grading: the project's only grader, for evaluation and for the training reward."""

from prerl_eval.grading.math import stored_facts
from prerl_eval.grading.pool import GradingPool, grader_version
from prerl_eval.grading.verdict import STATUSES, UNSCORED, Status, Verdict

__all__ = ["STATUSES", "UNSCORED", "GradingPool", "Status", "Verdict", "grader_version", "stored_facts"]
