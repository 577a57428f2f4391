"""Each lexicon against the labels that an LLM gave to 5,814 sentences of 40 published traces.

`python -m tests.lexicon_agreement OUTPUTS` prints the tables of docs/agreement.md, from
OUTPUTS/thought_anchors_labelled_cot/traces.jsonl.gz (Thought Anchors, arXiv 2506.19143; MIT). Its
self_checking is taken for verification, its uncertainty_management, which "includes backtracking", for
backtracking; every sentence has exactly one label. Items are sentences; the cluster is the problem, ten
in all, each with four traces.
"""

import gzip
import json
import re
import sys
from pathlib import Path

from behavior.agreement import compare
from behavior.finding import Finder
from behavior.lexicon import load_lexicon, preset_names

TRACES = "thought_anchors_labelled_cot/traces.jsonl.gz"

TARGETS = {
    "verification": {"self_checking"},
    "backtracking": {"uncertainty_management"},
    "either": {"self_checking", "uncertainty_management"},
}


def read_traces(file):
    """(problem, prompt, text, [(start, end, label)]) of each trace, and how many sentences are not in it."""
    traces, lost = [], 0
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            solution = row["base_solution"]
            places, missing = place_sentences(solution["full_cot"], row["chunks"])
            lost += missing
            traces.append((row["problem_id"], solution["prompt"], solution["full_cot"], places))
    return traces, lost


def place_sentences(text, chunks):
    """Where each sentence stands, sought from the end of the one before; white space may differ."""
    places, at, missing = [], 0, 0
    for chunk in chunks:
        words = r"\s+".join(map(re.escape, chunk["chunk"].split()))
        found = re.compile(words).search(text, at) if words else None
        if found is None:
            missing += 1
            continue
        places.append((found.start(), found.end(), chunk["function_tags"][0]))
        at = found.end()
    return places, missing


def says(finder, prompt, text, places, unit):
    """Per sentence the lexicon's labels in it: by its words, its thought, or as a thought of its own."""
    found = finder.find(text, prompt)
    if unit == "words":
        spans = [(mark.start, mark.end, mark.label) for mark in found.marks if not mark.masked]
    elif unit == "thought":
        spans = [(one.start, one.end, one.label) for one in found.thoughts if one.label]
    else:
        own = ((start, finder.find(text[start:end], prompt).thoughts) for start, end, _ in places)
        spans = [
            (at + one.start, at + one.end, one.label) for at, all_of in own for one in all_of if one.label
        ]
    return [{label for a, b, label in spans if a < end and start < b} for start, end, _ in places]


def table(file):
    """Lines of the table: one per lexicon, label and unit."""
    traces, lost = read_traces(file)
    sentences = sum(len(places) for *_, places in traces)
    problems = len({problem for problem, *_ in traces})
    yield (
        f"{sentences:,} sentences placed, {lost} not found in their trace; {len(traces)} traces of "
        f"{problems} problems"
    )
    for target, tags in TARGETS.items():
        count = sum(label in tags for *_, places in traces for *_, label in places)
        yield f"{target}: {count} sentences, {count / sentences:.1%}"
    yield ""
    yield "| lexicon, label, unit | marked | κ verification | κ backtracking | κ either | found | right |"
    yield "|---|---|---|---|---|---|---|"
    for name in preset_names():
        lexicon = load_lexicon(name)
        finder = Finder(lexicon)
        for unit in ("words", "thought", "sentence") if lexicon.unit == "thoughts" else ("words",):
            said = [says(finder, *trace[1:], unit) for trace in traces]
            for label in lexicon.labels:
                yield _line(f"{name}, {label}, {unit}", label, said, traces)


def _line(title, label, said, traces):
    pairs = {}
    for target, tags in TARGETS.items():
        a = [label in labels for one in said for labels in one]
        b = [tag in tags for *_, places in traces for *_, tag in places]
        problems = [problem for problem, _, _, places in traces for _ in places]
        pairs[target] = compare(a, b, problems)
    either = pairs["either"]
    marked = either.both + either.only_a
    cells = []
    for pair in pairs.values():
        value, low, high = (
            f"{round(edge, 2) + 0.0:.2f}" for edge in (pair.kappa.value, pair.kappa.low, pair.kappa.high)
        )
        cells.append(f"{value} ({low} to {high})")
    found = f"{100 * either.both / (either.both + either.only_b):.0f}%"
    right = f"{100 * either.both / marked:.0f}%" if marked else "–"
    return f"| {title} | {100 * marked / either.items:.1f}% | {' | '.join(cells)} | {found} | {right} |"


def main():
    for line in table(Path(sys.argv[1]) / TRACES):
        print(line)


if __name__ == "__main__":
    main()
