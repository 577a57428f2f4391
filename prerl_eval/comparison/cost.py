"""What answers cost: tokens per sample, and tokens spent for each correct answer.

Covers the two figures and their paired comparison; accuracy under a token budget is prerl_eval.budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.paired import PairedMeans, paired_means
from prerl_eval.metrics import Floats


@dataclass(frozen=True)
class TokenCost:
    """tokens: mean completion tokens of a sample, problems weighing alike.

    per_correct_base, per_correct_other: tokens spent for each correct sample, None where none is
    correct; ratio: other over base, with its 95% interval, None where one of them is.
    """

    tokens: PairedMeans
    per_correct_base: float | None
    per_correct_other: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None


def token_cost(
    base: Arm, base_tokens: NDArray[np.int64], other: Arm, other_tokens: NDArray[np.int64]
) -> TokenCost:
    """Compare the cost of two sides. tokens: int[S, P], all completion tokens of a problem's samples.

    Tokens per correct answer is mean tokens over Avg, both over problems and seeds; the interval of the
    ratio of two such is by the delta method on its logarithm, with problems (and seeds) as in
    `paired_means`: poor where few samples are correct.
    """
    tokens = paired_means(base_tokens / base.samples, other_tokens / other.samples)
    ours, our_parts = _log_cost(base_tokens / base.samples, base.correct / base.samples)
    theirs, their_parts = _log_cost(other_tokens / other.samples, other.correct / other.samples)
    per_correct = (None if ours is None else math.exp(ours), None if theirs is None else math.exp(theirs))
    if ours is None or theirs is None:
        return TokenCost(tokens, *per_correct, None, None, None)
    spread = paired_means(our_parts, their_parts)
    ratio = theirs - ours
    low = None if spread.low is None else math.exp(ratio + spread.low)
    high = None if spread.high is None else math.exp(ratio + spread.high)
    return TokenCost(tokens, *per_correct, math.exp(ratio), low, high)


def _log_cost(tokens: Floats, accuracy: Floats) -> tuple[float | None, Floats]:
    """log of mean tokens over mean accuracy, and each problem's share in its error: float[S, P]."""
    spent, right = float(tokens.mean()), float(accuracy.mean())
    if spent == 0 or right == 0:
        return None, np.zeros_like(tokens)
    return math.log(spent / right), tokens / spent - accuracy / right
