"""The grader on outputs of real models, against their publishers' verdicts."""

from collections import Counter, defaultdict

import pytest

from prerl_eval.cards import load_card
from prerl_eval.grading import GradingPool
from prerl_eval.problems import load_problems
from tests.disagreements import committed, grade_all, read

FLOORS = {"aime24": 0.995, "amc23": 0.995, "math500": 0.99, "minerva": 0.95}


@pytest.fixture(scope="module")
def graded(outputs):
    return grade_all(outputs.parent)


def test_boxed_answers_that_publishers_call_correct_are_correct_here(graded):
    counts = defaultdict(Counter)
    for row, status in graded:
        if row.file.startswith("math_runs/") and row.theirs and "boxed" in row.text:
            counts[row.problem.benchmark][status == "correct"] += 1
    shares = {name: count[True] / count.total() for name, count in counts.items()}
    assert shares.keys() == FLOORS.keys()
    assert {name: share for name, share in shares.items() if share < FLOORS[name]} == {}


def test_every_differing_row_is_listed_and_judged(graded):
    differing = {
        (row.file, row.row): (row.theirs, status)
        for row, status in graded
        if row.theirs != (status == "correct")
    }
    listed = {key: (entry["theirs"], entry["ours"]) for key, entry in committed().items()}
    assert listed == differing, "run `python -m tests.disagreements` and judge the new rows"
    classes = Counter(entry["class"] for entry in committed().values())
    assert set(classes) <= {"theirs-wrong", "ours-wrong", "debatable"}
    assert classes["debatable"] <= 0.01 * len(graded)
    assert all(entry["reason"] for entry in committed().values())


def test_the_majority_example_has_one_more_correct_than_published(graded):
    rows = [(row, status) for row, status in graded if row.file.startswith("qwen25")]
    assert len(rows) == 800
    assert sum(row.theirs for row, _ in rows) == 728
    assert sum(status == "correct" for _, status in rows) == 729


@pytest.mark.parametrize(
    ("loose", "correct"),
    [(False, [0, 0, 0, 0, 1, 3, 9]), (True, [0, 0, 0, 0, 1, 7, 9])],
    ids=["strict", "loose"],
)
def test_truncated_thinking_over_token_budgets(outputs, loose, correct):
    problems = {
        problem.text: problem for problem in load_problems(load_card("aime24"), outputs.parent / "hub")
    }
    found = []
    with GradingPool(accept_box_in_thinking=loose) as pool:
        for budget in (128, 256, 512, 1024, 2048, 4096, 8192):
            rows = read(outputs / "deepscaler_aime24_token_sweep" / f"{budget}.jsonl.gz")
            items = [(problems[row["question"]], row["generated_responses"][0], "", False) for row in rows]
            found.append(sum(verdict.status == "correct" for verdict in pool.grade(items)))
    assert found == correct


def test_gsm8k_solutions_get_their_publishers_verdicts(outputs):
    problems = {
        problem.text: problem for problem in load_problems(load_card("gsm8k"), outputs.parent / "hub")
    }
    file = outputs / "gsm8k_openai_example_solutions" / "example_model_solutions.jsonl.gz"
    items, expected = [], []
    for row in read(file):
        for solution in (value for value in row.values() if isinstance(value, dict)):
            items.append((problems[row["question"]], solution["solution"], "", False))
            expected.append(solution["is_correct"])
    with GradingPool() as pool:
        verdicts = pool.grade(items)
    assert len(verdicts) == 5276
    assert [verdict.status == "correct" for verdict in verdicts] == expected


NOTATIONS = {
    "as it is": lambda gold: gold,
    "display fractions": lambda gold: gold.replace("\\frac", "\\dfrac"),
    "full stop": lambda gold: gold + ".",
    "spaces": lambda gold: f"  {gold} ",
}


@pytest.mark.parametrize(
    "name", ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench", "math-train"]
)
def test_every_gold_grades_itself_as_correct(hub, name):
    problems = load_problems(load_card(name), hub)
    with GradingPool() as pool:
        statuses = Counter(
            (pool.submit(problem, f"\\boxed{{{write(problem.gold)}}}", finish_reason="stop").result().status)
            for problem in problems
            for write in NOTATIONS.values()
        )
    unscored = 5 if name == "math-train" else 0  # four empty golds and one with unbalanced braces
    assert statuses == Counter(
        {"correct": len(NOTATIONS) * (len(problems) - unscored)}
        | ({"unscored": len(NOTATIONS) * unscored} if unscored else {})
    )


def test_all_golds_in_e_notation_accept_powers_of_ten(hub):
    golds = [problem for problem in load_problems(load_card("minerva"), hub) if "e" in problem.gold.lower()]
    golds = [
        problem
        for problem in golds
        if problem.gold.lower().replace("e", "").replace("-", "").replace(".", "").isdigit()
    ]
    assert len(golds) == 58
    with GradingPool() as pool:
        for problem in golds:
            mantissa, exponent = problem.gold.lower().split("e")
            answer = rf"\boxed{{{mantissa} \times 10^{{{exponent}}} \text{{ m/s}}}}"
            assert pool.submit(problem, answer, finish_reason="stop").result().status == "correct"
