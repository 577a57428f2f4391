"""Counting forty phrases in one pass against forty separate `re` passes, both timed in one run.

The text is made from a fixed seed: responses of about 10 kB, prose with formulas, two phrases per
thousand characters, and as often as in published traces of reasoning models a typographic apostrophe
or a mathematical sign, so that 60% of the characters stand in responses that are not ASCII. The `re`
passes run over text that is normalised already, with patterns in lower case: faster than passes that
ignore case. Counts must be identical. CPU seconds; then memory for 100 MB and for 2 GB.
"""

import argparse
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from behavior.finding import Finder
from behavior.lexicon import Lexicon, Phrase, load_lexicon, preset_names
from behavior.text import normalise

BOUND = 60.0
FLAT = 8.0
"""MB of memory that 2 GB of text may take more than 100 MB of it."""
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


def compare(quick: bool = False) -> bool:
    """Print the three rates, their ratios and the memory; true where the bounds hold and counts agree."""
    lexicon = forty()
    finder = Finder(lexicon)
    texts = make_responses(150 if quick else 500, lexicon)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    start = time.process_time()
    theirs = separate(normal := [normalise(text).text for text in texts], lexicon)
    separate_rate = megabytes / (time.process_time() - start)
    start = time.process_time()
    together = alternation(normal, lexicon)
    alternation_rate = megabytes / (time.process_time() - start)
    rounds = 20
    start = time.process_time()
    for _ in range(rounds):
        ours = finder.count_many(texts)
    rate = megabytes * rounds / (time.process_time() - start)
    start = time.process_time()
    for text in texts:
        finder.find(text, texts[0][:500])
    find_rate = megabytes / (time.process_time() - start)
    differing = sum(ours[phrase] != theirs[phrase] for phrase in ours)
    print(f"\nCounting {PHRASES} phrases in {megabytes:.1f} MB of text (MB per CPU-second)")
    print(f"  prerl                     {rate:8.1f}   {sum(ours.values())} occurrences")
    print(f"  {PHRASES} separate re passes     {separate_rate:8.1f}   {sum(theirs.values())} occurrences")
    print(
        f"  one re alternation        {alternation_rate:8.1f}   {together} occurrences, overlapping ones once"
    )
    print(f"  ratio to separate passes  {rate / separate_rate:8.1f}   (bound {BOUND:g})")
    print(f"  ratio to one alternation  {rate / alternation_rate:8.1f}")
    print(f"  prerl with offsets, thoughts and masks  {find_rate:.1f}")
    print(f"  phrases whose counts differ: {differing} of {PHRASES}")
    return compare_memory() and rate >= BOUND * separate_rate and differing == 0


def compare_memory() -> bool:
    """Print the peak memory of two processes that count 100 MB and 2 GB; true where it is the same."""
    peaks = {}
    for size in (100, 2000):
        command = [sys.executable, "-m", "tests.speed.counting", "--memory", str(size)]
        peaks[size] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(
        f"  peak memory, 100 MB and 2 GB of text: {peaks[100]:.1f} MB, {peaks[2000]:.1f} MB (bound +{FLAT:g})"
    )
    return peaks[2000] - peaks[100] <= FLAT


def stream(megabytes: int, texts: list[str]) -> Iterator[str]:
    """New responses, one at a time, until they make so many MB (10^6 characters)."""
    made = number = 0
    while made < megabytes * 1_000_000:
        text = f"{number}\n\n{texts[number % len(texts)]}"
        made, number = made + len(text), number + 1
        yield text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the text")
    parser.add_argument("--memory", type=int, help="count so many MB and print the peak memory only")
    options = parser.parse_args()
    if options.memory:
        lexicon = forty()
        Finder(lexicon).count_many(stream(options.memory, make_responses(20, lexicon)))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    sys.exit(0 if compare(quick=options.quick) else 1)


if __name__ == "__main__":
    main()
