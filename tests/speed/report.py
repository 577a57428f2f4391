"""A report of 30 problems x 32 samples x 3 runs x 4,000 tokens: its size against the gzip of its texts.

The texts are made from a fixed seed: pieces of 3 to 15 words of published traces of reasoning models
(the folder of shared data; without it, of the words that the counting comparison uses), so that they
compress as such traces do, short of whole repeated ones. Each run has counted words and log-probs. Time
and memory of the command are printed beside it; how fast a browser opens the page is
tests/test_report_browser.py's.
"""

import argparse
import gzip
import json
import os
import random
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from prerl_eval import store
from prerl_eval.annotations import Annotation, write_about, write_annotations
from prerl_eval.run_record import write_record
from tests.conftest import REPO
from tests.speed.counting import PLAIN
from tests.speed.process import run_command
from tests.speed.rows import Measured, Row, show

BOUND = 1.4
PROBLEMS, SAMPLES, RUNS, TOKENS = 30, 32, ("base", "grpo", "dsrl"), 4000
CHARACTERS = 4 * TOKENS
SETTINGS = {"engine": "transformers", "temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 0}
MARKED = re.compile(r"\b(?:wait|alternatively|however|try again|recheck)\b", re.IGNORECASE)


def published_words() -> list[str]:
    """Words of published traces with the white space before them; without the shared data, a few dozen."""
    shared = Path(os.environ.get("PRERL_TEST_SHARED", REPO.parent / "shared"))
    words: list[str] = []
    for file in sorted((shared / "outputs" / "math_runs").glob("Sky-T1*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                words += re.findall(r"\s*\S+", json.loads(line)["code"][0][:60_000])
    return words or [f" {word}" for word in PLAIN]


def make_text(source: random.Random, words: list[str]) -> str:
    """About 4,000 tokens."""
    pieces: list[str] = []
    length = 0
    while length < CHARACTERS:
        start = source.randrange(max(1, len(words) - 15))
        piece = "".join(words[start : start + source.randint(3, 15)])
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces)


def write_runs(folder: Path, problems: int = PROBLEMS, samples: int = SAMPLES) -> list[Path]:
    """Three runs with marks and log-probs."""
    words = published_words()
    return [
        _write(folder / name, random.Random(number), words, problems, samples)
        for number, name in enumerate(RUNS)
    ]


def _write(run: Path, source: random.Random, words: list[str], problems: int, samples: int) -> Path:
    entry = {"n": samples, "problems": problems, "max_tokens": TOKENS, "card_hash": "c", "title": "Made up"}
    settings = SETTINGS | {"checkpoint": run.name}
    write_record(run, {"schema": 1, "run_id": run.name, "settings": settings, "benchmarks": {"set": entry}})
    for problem in range(problems):
        prompt = make_text(random.Random(problem), words)[:600]
        rows = [
            _row(run.name, problem, index, prompt, make_text(source, words), source.random() < 0.4)
            for index in range(samples)
        ]
        store.write_part(run, store.rows_to_table(rows))
        marks = [mark for row in rows for mark in _marks(row)]
        write_annotations(run, "words-made-up", marks)
        logps = [mark for row in rows for mark in _logps(row, source)]
        write_annotations(run, "logp-base", logps)
    write_about(run, "words-made-up", {"settings": {}, "complete": True})
    write_about(run, "logp-base", {"settings": {}})
    return run


def _row(run: str, problem: int, index: int, prompt: str, text: str, correct: bool) -> store.SampleRow:
    answer = str(problem if correct else index)
    return store.SampleRow(
        run_id=run,
        benchmark="set",
        problem_id=str(problem + 60),
        sample_index=index,
        step=0,
        prompt=f"{problem}. {prompt}",
        completion=rf"{text} \boxed{{{answer}}}",
        token_ids=None,
        tokens=TOKENS,
        finish_reason="stop",
        opens_thinking=False,
        status="correct" if correct else "wrong",
        answer=answer,
        answer_class="=" if correct else answer,
        gold=str(problem),
        extra="{}",
        grader="math/1",
        detail="",
        seed=index,
        seconds=12.5,
    )


def _marks(row: store.SampleRow) -> Iterator[Annotation]:
    key = (row.benchmark, row.problem_id, row.sample_index, row.step)
    for found in MARKED.finditer(row.completion):
        yield Annotation(*key, "reflection", start=found.start(), end=found.end(), note=found[0])


def _logps(row: store.SampleRow, source: random.Random) -> Iterator[Annotation]:
    key = (row.benchmark, row.problem_id, row.sample_index, row.step)
    for label in ("logp_given_prompt", "logp_alone"):
        yield Annotation(*key, label, value=-2000 * source.random())


def gzip_of_texts(runs: list[Path]) -> tuple[int, int]:
    """Bytes of all completions and of each problem's prompt, as they are and in one gzip stream of level 9.

    Texts of one problem follow each other, as in the report.
    """
    tables = [store.read_samples(run, ["problem_id", "prompt", "completion"]).to_pylist() for run in runs]
    texts: dict[str, dict[str, None]] = {}
    for row in (row for table in tables for row in table):
        texts.setdefault(row["problem_id"], {}).update({row["prompt"]: None, row["completion"]: None})
    stream = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    raw = packed = 0
    for text in (text.encode() for own in texts.values() for text in own):
        raw += len(text)
        packed += len(stream.compress(text))
    return raw, packed + len(stream.flush())


def measure(quick: bool = False) -> Measured:
    """The size of the page and of the gzip of its texts; time and memory of the command as a note."""
    problems = 6 if quick else PROBLEMS
    with tempfile.TemporaryDirectory() as folder:
        runs = write_runs(Path(folder), problems)
        raw, packed = gzip_of_texts(runs)
        out = Path(folder) / "report.html"
        base, *others = map(str, runs)
        cost = run_command("prerl_eval.cli", "report", *others, "--base", base, "--out", out)
        size = out.stat().st_size
    traces = problems * SAMPLES * len(RUNS)
    row = Row(
        name=f"the size of a report of {traces:,} traces of {TOKENS:,} tokens",
        unit="MB",
        prerl=size / 1e6,
        peer_name="gzip -9 of its texts",
        peer=packed / 1e6,
        ratio=size / packed,
        ratio_is="times its size",
        bound=BOUND,
    )
    note = (
        f"The report's texts are {raw / 1e6:.1f} MB; the command took {cost.cpu:.1f} CPU s and at most "
        f"{cost.memory:.0f} MB of memory."
    )
    return Measured([row], notes=[note])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="6 problems")
    parser.add_argument("--keep", type=Path, help="write the three runs into this folder and do nothing else")
    options = parser.parse_args()
    if options.keep:
        print(*write_runs(options.keep))
        sys.exit(0)
    measured = measure(options.quick)
    show(measured)
    sys.exit(0 if measured.held else 1)
