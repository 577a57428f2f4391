"""Comparing two models on their counts against reading their samples from the store, in one run.

500 problems x 128 samples x 2 models, drawn from a fixed seed: the second model is better on most
problems and never solves some; completions of about 400 characters, answers of a few classes. Reading
is what `compare` itself must read: verdicts, answers, token counts, prompts and golds, not the
completions. Comparing is everything it computes from them: differences, bands, crossover,
saturation, rare problems, diversity, cost, guessing floor.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from prerl_eval import store
from prerl_eval.comparison.compare import compare_sides
from prerl_eval.comparison.plan import Plan, plan_comparison
from prerl_eval.comparison.sides import parse_groups
from prerl_eval.run_record import write_record
from tests.speed.rows import Measured, Row, script

BOUND = 1.0
SAMPLES = 128
TEXT = "so the sum of the digits is even and "
SETTINGS = {"engine": "transformers", "temperature": 1.0, "top_p": 1.0, "top_k": 0}


def write_model(folder: Path, chances: np.ndarray, seed: int) -> Path:
    """A run whose problem i is solved with chance chances[i]; wrong answers are of ten classes."""
    source = np.random.default_rng(seed)
    problems = len(chances)
    entry = {"n": SAMPLES, "problems": problems, "max_tokens": 4096, "card_hash": "c"}
    settings = SETTINGS | {"checkpoint": folder.name, "seed": seed}
    write_record(
        folder, {"schema": 1, "run_id": folder.name, "settings": settings, "benchmarks": {"set": entry}}
    )
    for start in range(0, problems, 50):
        rows = [
            _row(folder.name, problem, index, source, chances[problem])
            for problem in range(start, min(start + 50, problems))
            for index in range(SAMPLES)
        ]
        store.write_part(folder, store.rows_to_table(rows))
    return folder


def _row(
    run_id: str, problem: int, index: int, source: np.random.Generator, chance: float
) -> store.SampleRow:
    correct = source.random() < chance
    answer = str(problem % 1000) if correct else str(source.integers(10))
    tokens = int(source.gamma(4, 200)) + 1
    return store.SampleRow(
        run_id=run_id,
        benchmark="set",
        problem_id=f"p-{problem:04d}",
        sample_index=index,
        step=0,
        prompt=f"Problem {problem}. " + 4 * TEXT,
        completion=f"{index} {tokens} " + 10 * TEXT + rf"\boxed{{{answer}}}",
        token_ids=None,
        tokens=tokens,
        finish_reason="stop",
        opens_thinking=False,
        status="correct" if correct else "wrong",
        answer=answer,
        answer_class="=" if correct else answer,
        gold=str(problem % 1000),
        extra="{}",
        grader="math/1",
        detail="",
        seed=index,
        seconds=1.0,
    )


def read_all(folders: list[Path]) -> Plan:
    """Everything that `compare` reads of two runs."""
    base, other = parse_groups([str(folder) for folder in folders])
    plan = plan_comparison(base, [other])
    assert plan.base.runs[0].guesses
    return plan


def measure(quick: bool = False) -> Measured:
    """CPU seconds of both, medians of rounds in turn."""
    problems, rounds = (100, 3) if quick else (500, 7)
    source = np.random.default_rng(0)
    chances = source.beta(0.4, 0.6, problems)
    trained = np.where(source.random(problems) < 0.1, 0.0, np.minimum(1.0, 1.4 * chances))
    with tempfile.TemporaryDirectory() as folder:
        folders = [
            write_model(Path(folder) / "base", chances, 1),
            write_model(Path(folder) / "trained", trained, 2),
        ]
        compare_sides(read_all(folders))  # imports and caches of the file system: not counted
        reading, comparing = [], []
        for _ in range(rounds):
            start = time.process_time()
            plan = read_all(folders)
            middle = time.process_time()
            compare_sides(plan)
            reading.append(middle - start)
            comparing.append(time.process_time() - middle)
    row = Row(
        name=f"the whole comparison of two models, {problems} problems × {SAMPLES} samples",
        unit="CPU s",
        prerl=statistics.median(comparing),
        peer_name="reading their samples",
        peer=statistics.median(reading),
        ratio=statistics.median(own / peer for own, peer in zip(comparing, reading, strict=True)),
        ratio_is="times its time",
        bound=BOUND,
    )
    return Measured([row])


if __name__ == "__main__":
    script(measure)
