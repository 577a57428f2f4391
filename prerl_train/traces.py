"""The corpus of the embedded default: reasoning traces about Countdown, written by imperfect authors.

A document is a problem and a response in plain words with single spaces (line breaks added here):

    use 3 4 5 to reach 27 .
    make 27 from 3 4 5 . try 3 * 4 = 12 + 5 = 17 no wait , try 4 + 5 = 9 * 3 = 27 yes
    answer : 4 + 5 * 3

Two of its features carry the study of P(y), as a prototype measured. The response restates the
problem, and a quarter of the documents have no problem before it: without both, log P(y) of a
response says little about log P(y|x) (cosine of their gradients .07 instead of .65). A Corpus may be
without either: its documents are those of the default corpus of the same seed, drawn alike.

Authors differ in how often they try again, check, slip in arithmetic, or see the target where it is
not, so a model of this corpus is right only some of the time and RL has something to select.
Covers no problems (prerl_train.countdown) and no tokens (prerl_train.base_model).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prerl_eval.grading.countdown import OPERATIONS, Chain
from prerl_train.countdown import LIMIT, CountdownProblem, draw_problem, random_chain


@dataclass(frozen=True, slots=True)
class Author:
    """Habits of one kind of author, as probabilities.

    share: of the documents. insight: that a try is a solution (else a random chain). retry: to try
    again after a failure. max_tries: when the author gives up at the latest. slip: of a wrong result
    in one operation. wishful: to claim the target as the last result when it is not. check: to work a
    hit out a second time. plain: to start a further try with "then" and not with a phrase of REFLECTION.
    """

    share: float
    insight: float
    retry: float
    max_tries: int
    slip: float
    wishful: float
    check: float
    plain: float


AUTHORS: Mapping[str, Author] = {
    "careless": Author(
        share=0.72, insight=0.8, retry=0.12, max_tries=2, slip=0.06, wishful=0.25, check=0.02, plain=0.85
    ),
    "average": Author(
        share=0.20, insight=0.8, retry=0.50, max_tries=5, slip=0.03, wishful=0.10, check=0.15, plain=0.45
    ),
    "careful": Author(
        share=0.08, insight=0.8, retry=0.97, max_tries=9, slip=0.01, wishful=0.02, check=0.50, plain=0.08
    ),
}

REFLECTION = (
    "wait ,",
    "alternatively ,",
    "wait , that is not good . alternatively ,",
    "hmm , wait , instead",
    "another way ,",
    "hmm ,",
)
"""How an author who reflects starts a further try."""

WORDS = (
    *("use", "to", "reach", "make", "from", ".", ",", ":", "try", "then", "+", "-", "*", "=", "no", "yes"),
    *("let", "me", "check", "ok", "answer"),
    *("wait", "alternatively", "that", "is", "not", "good", "hmm", "instead", "another", "way"),
)
"""Every word of the corpus that is no number."""

DIGITS_MIX: Mapping[int, float] = {3: 0.40, 4: 0.45, 5: 0.15}
"""Share of documents with so many digits."""

MAX_RESPONSE_WORDS = 96
"""No author starts a further try that could make the response longer than this."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Which form documents have; the default is the corpus of the shipped base.

    promptless_share: of documents that are a response alone, 0 to 1. restate: whether a response opens
    with "make TARGET from NUMBERS ." or with its first try.
    """

    promptless_share: float = 0.25
    restate: bool = True


DEFAULT_CORPUS = Corpus()


def write_response(
    problem: CountdownProblem, solution: Chain, author: Author, rng: random.Random
) -> list[str]:
    """The words of one response; its answer is the chain of the last try, right or wrong.

    solution: the chain that the author tries when struck by insight.
    """
    words = f"make {problem.target} from {' '.join(map(str, problem.numbers))} .".split()
    for attempt in range(1, author.max_tries + 1):
        if attempt > 1:
            plain = rng.random() < author.plain
            words += ["then"] if plain else rng.choice(REFLECTION).split()
        chain = solution if rng.random() < author.insight else random_chain(problem.numbers, rng)
        attempt_words, satisfied = _write_try(chain, problem.target, author, rng)
        words += attempt_words
        if satisfied or rng.random() >= author.retry or not _has_room(words, len(problem.numbers)):
            break
    return [*words, "answer", ":", *str(chain).split()]


def documents(seed: int, corpus: Corpus = DEFAULT_CORPUS) -> Iterator[tuple[str, str]]:
    """An endless stream of (prompt, response); the prompt is "" where the response stands alone.

    With one seed, all corpora have the same problems and tries, and each document that is promptless at
    one share is so at any higher one.
    """
    rng = random.Random(f"{seed} corpus")
    shares = [author.share for author in AUTHORS.values()]
    while True:
        (digits,) = rng.choices(list(DIGITS_MIX), list(DIGITS_MIX.values()))
        problem, solution = draw_problem("corpus", digits, rng)
        (author,) = rng.choices(list(AUTHORS.values()), shares)
        words = write_response(problem, solution, author, rng)
        if not corpus.restate:
            # Cut here, not left out there: it counts towards the room for tries, which must stay the same.
            words = words[words.index("try") :]
        yield "" if rng.random() < corpus.promptless_share else problem.text, " ".join(words)


def _write_try(chain: Chain, target: int, author: Author, rng: random.Random) -> tuple[list[str], bool]:
    """One try in words, and whether its author takes it for a solution."""
    slips = [
        rng.choice((-10, -2, -1, 1, 2, 10)) if rng.random() < author.slip else 0 for _ in chain.operators
    ]
    work, result = _work_out(chain, slips)
    if result != target and rng.random() < author.wishful:
        work[-1], result = str(target), target
    words = ["try", *work, "yes" if result == target else "no"]
    if result == target and rng.random() < author.check:
        work, result = _work_out(chain, [0] * len(slips))
        words += ["let", "me", "check", *work, "ok" if result == target else "no"]
    return words, result == target


def _work_out(chain: Chain, slips: list[int]) -> tuple[list[str], int]:
    """ "a + b = c * d = e" in words, each result off by its slip, and the result reached that way."""
    value = chain.numbers[0]
    words = [str(value)]
    for sign, number, slip in zip(chain.operators, chain.numbers[1:], slips, strict=True):
        value = min(max(OPERATIONS[sign](value, number) + slip, 0), LIMIT - 1)
        words += [sign, str(number), "=", str(value)]
    return words, value


def _has_room(words: list[str], digits: int) -> bool:
    """Whether the longest further try (longest phrase, checked) and the answer still fit."""
    phrase = max(len(phrase.split()) for phrase in REFLECTION)
    work = 1 + 4 * (digits - 1)
    return len(words) + phrase + (1 + work + 1) + (3 + work + 1) + (2 + 2 * digits - 1) <= MAX_RESPONSE_WORDS
