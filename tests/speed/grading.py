"""Grading a stated Avg@32-like set against sequential Math-Verify, both timed in one run.

The set is drawn from a fixed seed: 500 problems x 32 completions; golds are half integers, the rest
fractions, radicals, intervals and polynomials; each problem has few distinct answers, so that 83%
of the (gold, answer) pairs are repeats, as on MATH-500; 0.5% of the completions hang the comparison
but answer their alarm, and repeat like the rest. Math-Verify runs as its users run it: parse gold,
parse answer, verify, with its default timeouts. Verdicts must be equal wherever it answers.
"""

import logging
import random
import time

from prerl_eval.grading import GradingPool
from prerl_eval.problems import Problem
from tests.speed.rows import Measured, Row, script

BOUND = 10.0
SAMPLES = 32
DISTINCT = 0.17
HANGING = 0.005
KINDS = (("integer", 0.50), ("fraction", 0.20), ("radical", 0.12), ("interval", 0.06), ("expression", 0.12))


def fresh_answer(kind: str, source: random.Random) -> tuple[str, str]:
    """An answer of a kind and another way to write the same one."""
    a, b, c = (source.randint(2, 97) for _ in range(3))
    if kind == "integer":
        return str(a * b), f"{a * b}.0"
    if kind == "fraction":
        return rf"\frac{{{a}}}{{{b + 97}}}", rf"\dfrac{{{2 * a}}}{{{2 * (b + 97)}}}"
    if kind == "radical":
        return rf"{a}+{b}\sqrt{{{c}}}", rf"{b}\sqrt{{{c}}} + {a}"
    if kind == "interval":
        return rf"\left[{a},{a + b}\right)", rf"[{a}, {a + b})"
    return f"{a}x^2+{b}x-{c}", f"{b}x-{c}+{a}x^2"


def make_set(problems: int, seed: int = 0) -> list[tuple[str, str]]:
    """(gold, answer) of every completion, problem by problem."""
    source = random.Random(seed)
    kinds, weights = zip(*KINDS, strict=True)
    pairs = []
    hanging = round(problems * SAMPLES * HANGING)
    hang_each = round(1 / DISTINCT)
    for number in range(problems):
        kind = source.choices(kinds, weights)[0]
        gold, same = fresh_answer(kind, source)
        count = int(SAMPLES * DISTINCT) + number % 2
        answers = [gold, same, *(fresh_answer(kind, source)[0] for _ in range(count - 2))]
        chosen = answers + source.choices(answers, k=SAMPLES - count)
        # Only a number sends Math-Verify into evaluating the sum.
        hang_here = min(hanging, hang_each) if kind == "integer" else 0
        if hang_here:
            hanging -= hang_here
            chosen[-hang_here:] = [rf"\sum_{{k=1}}^{{10^{{9}}}} \sin(k^2+{number})"] * hang_here
        source.shuffle(chosen)
        pairs += [(gold, answer) for answer in chosen]
    return pairs


def sequential(pairs: list[tuple[str, str]]) -> list[bool | None]:
    """Math-Verify's verdicts, None where it gave up."""
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    verdicts: list[bool | None] = []
    for gold, answer in pairs:
        try:
            ours, theirs = parse(f"${gold}$"), parse(rf"\boxed{{{answer}}}", raise_on_error=True)
            verdicts.append(verify(ours, theirs, raise_on_error=True))
        except TimeoutException:
            verdicts.append(None)
    return verdicts


def measure(quick: bool = False) -> Measured:
    """Both wall times, their ratio, and the number of verdicts that differ."""
    logging.disable(logging.WARNING)
    problems = 60 if quick else 500
    pairs = make_set(problems)
    items = [
        (Problem("set", "0", "", gold, "math"), rf"\boxed{{{answer}}}", "stop", False)
        for gold, answer in pairs
    ]
    start = time.perf_counter()
    with GradingPool() as pool:
        ours = pool.grade(items)
    our_seconds = time.perf_counter() - start
    start = time.perf_counter()
    theirs = sequential(pairs)
    their_seconds = time.perf_counter() - start
    answered = [(a, b) for a, b in zip(ours, theirs, strict=True) if b is not None]
    differing = sum((a.status == "correct") != b for a, b in answered)
    repeats = 1 - len(set(pairs)) / len(pairs)
    timeouts = sum(verdict.status == "timeout" for verdict in ours)
    row = Row(
        name=f"grading {problems} × {SAMPLES} completions, {repeats:.0%} repeats, {HANGING:.1%} that hang",
        unit="s",
        prerl=our_seconds,
        peer_name="sequential math-verify",
        peer=their_seconds,
        ratio=their_seconds / our_seconds,
        ratio_is="times faster",
        bound=BOUND,
        bound_is="at least",
        differing=differing,
    )
    note = (
        f"Of the {len(answered):,} completions that math-verify answers, {differing} are graded differently; "
        f"it gives up on {len(theirs) - len(answered)}, prerl on {timeouts}."
    )
    return Measured([row], notes=[note])


if __name__ == "__main__":
    script(measure)
