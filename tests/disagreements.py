"""Where this grader and the publishers of real outputs differ: `python -m tests.disagreements`.

Writes results/grading/disagreements.jsonl: one line per differing row with its file, the row number,
both verdicts, a class (`theirs-wrong`, `ours-wrong`, `debatable`) and a reason. Classes and reasons
are judgements made by hand and kept over a rewrite; a new row comes out as `unclassified`, which
tests/test_grading_outputs.py refuses. No texts of the sets are written.
"""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prerl_eval.cards import load_card
from prerl_eval.grading import GradingPool
from prerl_eval.problems import Problem, load_problems

REPO = Path(__file__).resolve().parent.parent
LIST = REPO / "results" / "grading" / "disagreements.jsonl"
BENCHMARKS = {"aime24": "aime24", "amc23": "amc23", "math500": "math500", "minerva_math": "minerva"}


@dataclass
class Row:
    """One response of a publisher. theirs: the publisher's verdict."""

    file: str
    row: int
    problem: Problem
    text: str
    theirs: bool


def published_rows(shared: Path) -> Iterator[Row]:
    """Every response of math_runs, the token sweep and the majority example, with its card's gold."""
    by_text = {
        name: {" ".join(p.text.split()): p for p in load_problems(load_card(name), shared / "hub")}
        for name in BENCHMARKS.values()
    }
    outputs = shared / "outputs"
    for file in sorted((outputs / "math_runs").glob("*.jsonl.gz")):
        problems = by_text[BENCHMARKS[file.name.split("--")[1].split(".")[0]]]
        for number, row in enumerate(read(file)):
            problem = problems[" ".join(row["question"].split())]
            yield Row(f"math_runs/{file.name}", number, problem, row["code"][0], row["score"][0])
    for file in sorted((outputs / "deepscaler_aime24_token_sweep").glob("*.jsonl.gz")):
        for number, row in enumerate(read(file)):
            problem = by_text["aime24"][" ".join(row["question"].split())]
            text = row["generated_responses"][0]
            yield Row(f"deepscaler_aime24_token_sweep/{file.name}", number, problem, text, row["is_correct"])
    file = outputs / "qwen25_math_eval_rm_maj_example" / "math_cot_100.jsonl.gz"
    for number, row in enumerate(read(file)):
        problem = Problem("math", str(number), row["question"], row["answer"], "math")
        for index, (text, theirs) in enumerate(zip(row["code"], row["score"], strict=True)):
            yield Row(f"{file.parent.name}/{file.name}", number * 8 + index, problem, text, theirs)


def read(file: Path) -> Iterator[dict]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def grade_all(shared: Path) -> list[tuple[Row, str]]:
    """(row, our status) of every published row."""
    rows = list(published_rows(shared))
    with GradingPool() as pool:
        verdicts = pool.grade((row.problem, row.text, "", False) for row in rows)
    return [(row, verdict.status) for row, verdict in zip(rows, verdicts, strict=True)]


def committed() -> dict[tuple[str, int], dict]:
    """The committed list by (file, row)."""
    if not LIST.exists():
        return {}
    entries = map(json.loads, LIST.read_text(encoding="utf-8").splitlines())
    return {(entry["file"], entry["row"]): entry for entry in entries}


def main() -> None:
    """Rewrite the list, keeping the classes of rows that still differ."""
    shared = Path(os.environ.get("PRERL_TEST_SHARED", REPO.parent / "shared"))
    known = committed()
    lines = []
    for row, status in grade_all(shared):
        if row.theirs == (status == "correct"):
            continue
        entry = {"file": row.file, "row": row.row, "benchmark": row.problem.benchmark}
        entry |= {"problem_id": row.problem.problem_id, "theirs": row.theirs, "ours": status}
        judged = known.get((row.file, row.row), {"class": "unclassified", "reason": ""})
        lines.append(json.dumps(entry | {"class": judged["class"], "reason": judged["reason"]}))
    LIST.parent.mkdir(parents=True, exist_ok=True)
    LIST.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    print(f"{LIST}: {len(lines)} rows differ, {sum('unclassified' in line for line in lines)} unclassified")


if __name__ == "__main__":
    main()
