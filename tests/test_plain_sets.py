"""Sets of which no clone is at hand: their cards on clones made here with the hub's columns."""

import json
from pathlib import Path

import pytest

from prerl_eval.cards import load_card
from prerl_eval.grading import GradingPool
from prerl_eval.problems import load_problems
from tests.test_problems import failure

AIME = {"id": "7", "problem": "Find $m + n$.", "answer": "277"}
HMMT = {
    "problem_idx": 4,
    "problem": "Compute the area.",
    "answer": "9\\sqrt{15}",
    "problem_type": ["Geometry"],
}
MATH = {"problem": "What is $1+1$?", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{2}$."}

SETS = [
    ("aime26", "math-ai/aime26/test.jsonl", AIME, "id", 30, "277", "so \\boxed{277}"),
    (
        "hmmt-feb-2025",
        "MathArena/hmmt_feb_2025/train.jsonl",
        HMMT,
        "problem_idx",
        30,
        "9\\sqrt{15}",
        "\\boxed{\\sqrt{1215}}",
    ),
    ("math5000", "DigitalLearningGmbH/MATH-lighteval/test.jsonl", MATH, None, 5000, "2", "\\boxed{2}"),
]


def clone(root: Path, file: str, row: dict, id_column: str | None, count: int) -> None:
    """`count` copies of a row, with ids of their own, as the hub's set would hold them."""
    path = root / file
    path.parent.mkdir(parents=True)
    ids = [{id_column: type(row[id_column])(number)} if id_column else {} for number in range(count)]
    path.write_text("".join(json.dumps({**row, **changed}) + "\n" for changed in ids), encoding="utf-8")


@pytest.mark.parametrize(("name", "file", "row", "id_column", "count", "gold", "answer"), SETS)
def test_the_card_reads_its_set_and_grades_it(name, file, row, id_column, count, gold, answer, tmp_path):
    clone(tmp_path, file, row, id_column, count)
    problems = load_problems(load_card(name), tmp_path)
    assert len(problems) == count
    assert len({problem.problem_id for problem in problems}) == count
    assert {problem.gold for problem in problems} == {gold}
    assert problems[-1].text == row["problem"]
    with GradingPool(1) as pool:
        right, wrong = pool.grade(
            [(problems[0], answer, "stop", False), (problems[0], "\\boxed{3}", "stop", False)]
        )
    assert (right.status, wrong.status) == ("correct", "wrong")


def test_another_number_of_rows_is_another_set(tmp_path):
    clone(tmp_path, "math-ai/aime26/test.jsonl", AIME, "id", 15)
    assert "15 rows in split test, the card allows 30" in failure(load_card("aime26"), tmp_path)


def test_the_training_clone_of_math_has_no_test_problems(hub):
    message = failure(load_card("math5000"), hub)
    assert message.startswith("math5000: ")
    assert "is it a complete clone" in message
