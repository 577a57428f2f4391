"""Tiny runs for tests, written through the store."""

from prerl_eval import store
from prerl_eval.run_record import write_record


def sample(problem_id, sample_index, status, answer_class="", **changes):
    """A row; correct answers are of class "=" as the graders make them."""
    row = {
        "run_id": "r",
        "benchmark": "aime24",
        "problem_id": problem_id,
        "sample_index": sample_index,
        "step": 0,
        "prompt": "p",
        "completion": "c",
        "token_ids": [1, 2],
        "tokens": 2,
        "finish_reason": "stop",
        "opens_thinking": False,
        "status": status,
        "answer": "",
        "answer_class": answer_class or ("=" if status == "correct" else ""),
        "gold": "g",
        "extra": "{}",
        "grader": "math/1",
        "detail": "",
        "seed": 1,
        "seconds": 0.5,
    }
    return store.SampleRow(**(row | changes))


def write_run(folder, rows, benchmarks=None, **record):
    """A run folder with these rows in one part. benchmarks: {name: {"n": ..., "problems": ...}}."""
    write_record(
        folder, {"schema": 1, "run_id": "r", "settings": {}, "benchmarks": benchmarks or {}, **record}
    )
    if rows:
        store.write_part(folder, store.rows_to_table(rows))
    return folder
