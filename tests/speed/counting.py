"""Counting forty phrases in one pass against forty separate `re` passes, both timed in one run.

The text is made from a fixed seed: responses of about 10 kB, prose with formulas, two phrases per
thousand characters, and as often as in published traces of reasoning models a typographic apostrophe
or a mathematical sign, so that 60% of the characters stand in responses that are not ASCII. The `re`
passes run over text that is normalised already, with patterns in lower case: faster than passes that
ignore case. Counts must be identical. CPU seconds; then memory for 100 MB and for 2 GB.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from behavior.finding import Finder
from behavior.lexicon import Lexicon, Phrase, load_lexicon, preset_names
from behavior.text import normalise
from tests.speed.process import run_program
from tests.speed.rows import Measured, Row, script

T = TypeVar("T")

BOUND = 60.0
FLAT = 1.15
"""Memory for 2 GB of text over that for 100 MB of it."""
PHRASES = 40
MORE = ("hmm", "actually", "on second thought", "let me see", "going back", "that is wrong")
PLAIN = re.findall(
    r"\S+",
    """the sum of this number is equal to a we have so then by using which gives first second term consider
    triangle points on line where each value can be written as product and since it follows that waiter
    awaiting but for every positive integer there are exactly two possible cases left right therefore
    $x^2+3x-4=0$ \\frac{a+b}{2} \\(n-1\\) 12 105 0.75 (a,b) equation remainder modulo seven circle radius""",
)
SIGNS = ("Let\u2019s", "√2", "π", "x²", "≤", "that\u2019s", "90°", "so…")


def forty() -> Lexicon:
    """The phrases of all presets and a few more, as one lexicon."""
    phrases: dict[str, Phrase] = {}
    for name in preset_names():
        phrases |= {phrase.text: phrase for _, phrase in load_lexicon(name).entries()}
    phrases |= {text: Phrase(text) for text in MORE}
    assert len(phrases) == PHRASES
    return Lexicon(
        "forty", "1", "all presets", "occurrences", "occurrences", {"any": tuple(phrases.values())}
    )


def make_responses(count: int, lexicon: Lexicon, seed: int = 0) -> list[str]:
    """Responses of about 10 kB each."""
    source = random.Random(seed)
    phrases = [phrase.text for _, phrase in lexicon.entries()]
    return [_response(source, phrases, foreign=source.random() < 0.6) for _ in range(count)]


def _response(source: random.Random, phrases: list[str], foreign: bool) -> str:
    words = source.choices(PLAIN, k=2000)
    for place in source.sample(range(2000), 20):
        words[place] = source.choice(phrases)
    for place in source.sample(range(2000), 20 if foreign else 0):
        words[place] = source.choice(SIGNS)
    for place in source.sample(range(2000), 60):
        words[place] = words[place].capitalize() + source.choice((".", ",", ".\n\n", ":\n"))
    return " ".join(words)


def separate(texts: list[str], lexicon: Lexicon) -> dict[str, int]:
    """One `re` pass per phrase, as behavior.lexicon states word boundaries."""
    counts = {}
    for _, phrase in lexicon.entries():
        pattern = re.compile(_bounded(re.escape(phrase.text), phrase.before, phrase.after))
        counts[phrase.text] = sum(1 for text in texts for _ in pattern.finditer(text))
    return counts


def alternation(texts: list[str], lexicon: Lexicon) -> int:
    """One `re` pass with all phrases as alternatives; of phrases that overlap it sees one."""
    alike: dict[tuple[bool, bool], list[str]] = {}
    for _, phrase in lexicon.entries():
        alike.setdefault((phrase.before, phrase.after), []).append(re.escape(phrase.text))
    pattern = re.compile("|".join(_bounded(f"(?:{'|'.join(group)})", *ends) for ends, group in alike.items()))
    return sum(1 for text in texts for _ in pattern.finditer(text))


def _bounded(pattern: str, before: bool, after: bool) -> str:
    return (r"(?<!\w)" if before else "") + pattern + (r"(?!\w)" if after else "")


def measure(quick: bool = False) -> Measured:
    """The rates of the three on the same text, and the finder's memory for little and much text."""
    lexicon = forty()
    finder = Finder(lexicon)
    texts = make_responses(150 if quick else 500, lexicon)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    normal = [normalise(text).text for text in texts]
    theirs, separate_seconds = timed(lambda: separate(normal, lexicon))
    _, alternation_seconds = timed(lambda: alternation(normal, lexicon))
    rounds = 20
    ours, seconds = timed(lambda: [finder.count_many(texts) for _ in range(rounds)])
    _, find_seconds = timed(lambda: [finder.find(text, texts[0][:500]) for text in texts])
    rate = megabytes * rounds / seconds
    rows = [
        Row(
            name=f"counting {PHRASES} phrases in {megabytes:.1f} MB of text",
            unit="MB per CPU s",
            prerl=rate,
            peer_name=peer,
            peer=megabytes / spent,
            ratio=rate * spent / megabytes,
            ratio_is="times faster",
            bound=bound,
            bound_is="at least",
            differing=differing,
        )
        for peer, spent, bound, differing in (
            (
                f"{PHRASES} separate `re` passes",
                separate_seconds,
                BOUND,
                sum(ours[0][p] != theirs[p] for p in theirs),
            ),
            ("one `re` alternation, which sees overlapping phrases once", alternation_seconds, None, 0),
        )
    ]
    note = (
        "Counting with offsets, thoughts and masks, as `prerl-behavior count` does, runs at "
        f"{megabytes / find_seconds:.1f} MB per CPU second."
    )
    return Measured([*rows, memory_row()], notes=[note])


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and its CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def memory_row() -> Row:
    """The peak memory of two processes that count 100 MB and 2 GB."""
    small, large = (
        run_program(f"from tests.speed.counting import count_stream; count_stream({size})").memory
        for size in (100, 2000)
    )
    return Row(
        name="memory of the finder for 2 GB of text",
        unit="MB",
        prerl=large,
        peer_name="itself for 100 MB",
        peer=small,
        ratio=large / small,
        ratio_is="times as much",
        bound=FLAT,
    )


def count_stream(megabytes: int) -> None:
    """Count so much text, which is made as it is counted."""
    lexicon = forty()
    Finder(lexicon).count_many(stream(megabytes, make_responses(20, lexicon)))


def stream(megabytes: int, texts: list[str]) -> Iterator[str]:
    """New responses, one at a time, until they make so many MB (10^6 characters)."""
    made = number = 0
    while made < megabytes * 1_000_000:
        text = f"{number}\n\n{texts[number % len(texts)]}"
        made, number = made + len(text), number + 1
        yield text


if __name__ == "__main__":
    script(measure)
