"""Where the right answers of a multiple-choice set stand: counts by letter, and whether chance explains them.

Covers sets whose golds are letters. Does not cover drawing the order of options (prerl_eval.choices).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from prerl_eval.grading.choice import ALL_LETTERS, LETTERS
from prerl_eval.problems import Problem

DOUBTFUL = 0.001
"""Chance below which uneven positions are reported: some letters always lead by a little."""


def answer_positions(problems: Sequence[Problem]) -> dict[str, int]:
    """How often each letter is the answer of a multiple-choice set; {} for other sets."""
    counts = Counter(problem.gold for problem in problems)
    is_choice = all(len(gold) == 1 and gold in ALL_LETTERS for gold in counts)
    return dict(sorted(counts.items())) if is_choice else {}


def uneven_positions(problems: Sequence[Problem], positions: Mapping[str, int]) -> list[str]:
    """A note where the right answers favour some letter more than chance does.

    A model that guesses that letter gains by it. Pearson's chi-square against one answer in as many as
    the problem has options (approximate where their numbers differ), at DOUBTFUL.
    """
    from scipy.special import chdtrc

    expected: dict[str, float] = defaultdict(float)
    for problem in problems:
        letters = str(problem.extra.get(LETTERS, ""))
        for letter in letters:
            expected[letter] += 1 / len(letters)
    if not positions or not set(positions) <= set(expected):
        return []
    excess = {letter: positions.get(letter, 0) - count for letter, count in expected.items()}
    square = sum(excess[letter] ** 2 / count for letter, count in expected.items())
    chance = float(chdtrc(len(expected) - 1, square))
    if chance >= DOUBTFUL:
        return []
    most = max(excess, key=excess.__getitem__)
    return [
        f"right answers favour {most}: {positions[most]} stand there, {expected[most]:.0f} would by "
        f"chance (chi-square {square:.0f}, p = {chance:.1g})"
    ]
