"""Updates against their peers on the same batch: the released warm-up, and stock GRPOTrainer.

A warm-up (NSR-PreRL) update of DSRLTrainer against the released implementation's arithmetic
(released.py), padded and with the padding removed; a GRPO update of DSRLTrainer against
GRPOTrainer's on the same rollouts. CPU seconds of one torch thread, sides in turn, medians; gradients
must be equal. A trainer's update is its whole step less rollout and reward, so all that it does around
the arithmetic counts against it; the released peer is a bare loop. Whole steps are in steps.py.
"""

import statistics
import warnings
from collections.abc import Sequence

import torch

from prerl_train import DSRLConfig, DSRLTrainer
from tests.speed.injected import LONGEST, Injected, Rows, distance, first_rows, gradient
from tests.speed.released import ReleasedWarmup, padding
from tests.speed.rows import Measured, Row, script

CONTRIBUTING = 0.40
PADDED_BOUND, REMOVED_BOUND = 4.0, 2.0
GRPO_BOUND = 1.8
EQUAL = 1e-5
PROBLEMS = 8
USEFUL = ((0.35, 128, 0.75), (0.50, 200, 0.60))
"""(useful share of a padded batch, median length, sigma) of the GRPO comparison: the middle of the
20-50% that is reported at 8,192 tokens, and the end that favours the peer."""


def measure_warmup(quick: bool) -> Measured:
    """The released update's seconds over ours."""
    rows = first_rows(
        lambda rows: is_long(rows) and abs(rows.contributing - CONTRIBUTING) < 0.005,
        problems=PROBLEMS, median=128, sigma=0.75, mixed=0.75,
    )  # fmt: skip
    peers = {"padded": ReleasedWarmup(rows, "padded"), "padding removed": ReleasedWarmup(rows, "removed")}
    ours = Injected(DSRLTrainer, DSRLConfig, rows, 2, algorithm="dsrl", dsrl_warmup_steps=3)
    for peer in peers.values():
        peer.update()
        peer.seconds.clear()
    pairs: list[tuple[float, ...]] = []
    for _ in range(2 if quick else 6):
        pairs.append((statistics.median(ours.run()), *(peer.update() for peer in peers.values())))
    measured = Measured(notes=[f"The NSR-PreRL batch: {describe(rows)}."])
    for place, (name, peer) in enumerate(peers.items(), start=1):
        parts = ", ".join(f"{part} {seconds / len(pairs):.2f}" for part, seconds in peer.seconds.items())
        measured.notes.append(f"Released, {name}, {padding(peer.prompted):.0%} padding, CPU s: {parts}.")
        measured.rows.append(
            Row(
                name=f"one NSR-PreRL update, {rows.contributing:.0%} of tokens contribute",
                unit="CPU s",
                prerl=median(pairs, 0),
                peer_name=f"the released implementation's arithmetic, {name}",
                peer=median(pairs, place),
                ratio=statistics.median(pair[place] / pair[0] for pair in pairs),
                ratio_is="times less time",
                bound=PADDED_BOUND if name == "padded" else REMOVED_BOUND,
                bound_is="at least",
                differing=int(distance(ours.clock.gradient, gradient(peer.model)) >= EQUAL),
            )
        )
    return measured


def measure_grpo(quick: bool, useful: float, median_length: int, sigma: float) -> Measured:
    """Stock GRPOTrainer's seconds over ours."""
    from trl import GRPOConfig, GRPOTrainer

    rows = first_rows(
        lambda rows: is_long(rows) and abs(rows.useful - useful) < 0.005,
        problems=PROBLEMS, median=median_length, sigma=sigma, mixed=1.0,
    )  # fmt: skip
    # TRL's own number beside the std, so that both make the same advantages.
    ours = Injected(DSRLTrainer, DSRLConfig, rows, 2, algorithm="grpo", advantage_eps=1e-4)
    stock = Injected(GRPOTrainer, GRPOConfig, rows, 2)
    pairs: list[tuple[float, ...]] = []
    for _ in range(2 if quick else 5):
        pairs.append((statistics.median(ours.run()), statistics.median(stock.run())))
    row = Row(
        name=f"one GRPO update, {rows.useful:.0%} useful tokens when padded, no group degenerate",
        unit="CPU s",
        prerl=median(pairs, 0),
        peer_name="`trl.GRPOTrainer`",
        peer=median(pairs, 1),
        ratio=statistics.median(peer / own for own, peer in pairs),
        ratio_is="times less time",
        bound=GRPO_BOUND,
        bound_is="at least",
        differing=int(distance(ours.clock.gradient, stock.clock.gradient) >= EQUAL),
    )
    return Measured([row], notes=[f"A GRPO batch: {describe(rows)}."])


def is_long(rows: Rows) -> bool:
    """Whether a completion is as long as it may be."""
    return max(map(len, rows.completions)) == LONGEST


def describe(rows: Rows) -> str:
    """Size and spread of a batch."""
    count = len(rows.completions)
    mean = sum(map(len, rows.completions)) / count
    return (
        f"{count} completions of up to {LONGEST} tokens, {mean:.0f} on average, {rows.useful:.0%} useful "
        "when padded"
    )


def median(pairs: Sequence[Sequence[float]], place: int) -> float:
    """Of one side of the pairs."""
    return statistics.median(pair[place] for pair in pairs)


def measure(quick: bool = False) -> Measured:
    """All comparisons of updates, and of whole steps."""
    from transformers.utils import logging

    from tests.speed import steps

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    # TRL's and transformers' notes on deprecated settings of their own.
    warnings.simplefilter("ignore")
    measured = measure_warmup(quick)
    for spread in USEFUL:
        measured += measure_grpo(quick, *spread)
    return measured + steps.measure(quick)


if __name__ == "__main__":
    script(measure)
