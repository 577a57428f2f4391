"""Runs for the tests of a report's page: ordinary traces with marks, and hostile ones that must stay text."""

from prerl_eval.annotations import Annotation, write_about, write_annotations
from tests.runs import sample, write_run

PLAIN = "So 2 + 2 = 5. Wait, that is wrong: let me recheck. 2 + 2 = 4. The answer is \\boxed{4}."
HOSTILE = {
    "script": "<script>document.title = 1; fetch('http://127.0.0.1:9')</script><img src=x onerror=alert(1)>",
    "end": "</textarea></script></style>--><h1>out</h1><iframe src='http://127.0.0.1:9/'></iframe>",
    "link": '<a href="javascript:alert(1)">press</a> [x](javascript:alert(1)) data:text/html,<b>b</b>',
    "long": "0123456789 wait \\frac{1}{2} = 0.5 and so on.\n" * 23_000,
    "line": "x" * 200_000,
    "emoji": "Yes 👩‍👩‍👧 👍🏽 ✈️ café e\u0301",
    "arabic": "الجواب هو ٤ لأن 2 + 2 = 4",
    "unseen": "zero\u200bwidth\u2060 nul\u0000 bell\u0007 esc\u001b[31m soft\u00ad bom\ufeff del\u007f",
    "bidi": "abc \u202egnp.exe\u202c \u2066iso\u2069 \u200frtl",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7} &lt;b&gt; &amp;",
}
"""Completions of problem "61" of run grpo, by their place."""
RUNS = ("base", "grpo", "ds<b>rl")
NAME = "words-counted"


def write_report_runs(folder):
    """Three runs of two benchmarks: the runs' paths. Run grpo answers problem 61 with HOSTILE."""
    return [_write(folder / str(number), name, number) for number, name in enumerate(RUNS)]


def _write(folder, name, number):
    rows = [
        _row(
            problem,
            place,
            f"{PLAIN} This is {name}, problem {problem}, sample {place}.",
            (place + number) % 3,
        )
        for problem in ("60", "61", "100")
        for place in range(len(HOSTILE))
        if (name, problem) != ("grpo", "61")
    ]
    if name == "grpo":
        rows += [_row("61", place, text, 1) for place, text in enumerate(HOSTILE.values())]
    rows += [_row("1", 0, "Only one here.", 0, benchmark="second")]
    benchmarks = {
        "aime24": {
            "n": len(HOSTILE),
            "problems": 3,
            "max_tokens": 4000,
            "card_hash": "c",
            "title": "AIME <2024>",
        },
        "second": {"n": 1, "problems": 1, "max_tokens": 4000, "card_hash": "c", "title": "Second"},
    }
    settings = {"engine": "transformers", "temperature": 1.0, "seed": 0, "checkpoint": name}
    run = write_run(folder / f"run{number}", rows, benchmarks, settings=settings, run_id=name)
    write_annotations(run, NAME, [mark for row in rows for mark in _words(row)])
    write_annotations(run, "judge-made-up", [mark for row in rows for mark in _judged(row)])
    write_annotations(run, "logp-base", [mark for row in rows for mark in _logp(row)])
    for annotation in (NAME, "judge-made-up", "logp-base"):
        write_about(run, annotation, {"settings": {}, "complete": True})
    return run


def _row(problem, place, text, status, benchmark="aime24"):
    return sample(
        problem,
        place,
        ("correct", "wrong", "truncated")[status],
        benchmark=benchmark,
        prompt=f"Problem {problem}: what is <b>2 + 2</b>?",
        completion=text,
        answer="4" if status == 0 else "<5>",
        gold="4",
        tokens=1000 + place,
        finish_reason="length" if status == 2 else "stop",
    )


def _key(row):
    return (row.benchmark, row.problem_id, row.sample_index, row.step)


def _words(row):
    start = row.completion.find("Wait")
    if start >= 0:
        yield Annotation(*_key(row), "reflection", start=start, end=start + 4, note="Wait")


def _judged(row):
    """A quote that holds the word, and one that begins inside it and ends after it: marks that overlap."""
    start = row.completion.find("Wait, that is wrong")
    if start >= 0:
        yield Annotation(*_key(row), "backtracking", start=start, end=start + 19, note="")
        yield Annotation(*_key(row), "checking", start=start + 6, end=start + 37, note="")


def _logp(row):
    yield Annotation(*_key(row), "logp_alone", value=-12.5)
