"""The controls of DSRL's warm-up, each against the arm that is varied and against GRPO.

Covers equal updates. What each control changes is said in the study's README and its plan.
"""

from __future__ import annotations

import numpy as np

from results.study.committed import Committed
from results.study.main_table import DIFFERENCE_KS, less
from results.study.markdown import DASH, Cell, score_name, tables
from results.study.roles import REFERENCE, WARMUP, controls, varied, warmup


def controls_table(data: Committed) -> str:
    """Avg and Pass@32 less those of the arm that is varied, then less GRPO's, in points.

    Beside them the KL to the base that the warm-up moved.
    """
    columns = [f"{name} {score_name(k)}" for name in data.sets for k in DIFFERENCE_KS]
    there = [arm for arm in controls(data) if data.steps in data.steps_of(arm)]
    blocks: dict[str, list[list[Cell]]] = {}
    method = varied(data)
    for reference in (method, REFERENCE):
        if there and reference in data.rates:
            arms = [arm for arm in dict.fromkeys((method, *there)) if arm in data.rates and arm != reference]
            blocks[f"less {reference}"] = [
                [arm, warmup_kl(data, arm), *less(data, reference, arm)] for arm in arms
            ]
    return tables(["", "KL in warm-up", *columns], blocks)


def warmup_kl(data: Committed, arm: str) -> str:
    """KL to the base per response at the end of an arm's warm-up, in nats, over seeds; – where not measured.

    Of an arm without a warm-up it is the KL after as many updates as DSRL's warm-up has.
    """
    values = data.kl.get((arm, warmup(data, arm) or WARMUP))
    if not values:
        return DASH
    text = f"{np.mean(values):.2g}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.2g}"
