"""The code grader: which program a completion holds, its verdict, and HumanEval's own solutions."""

import importlib.util
import json

import pytest

from prerl_eval.cards import load_card
from prerl_eval.grading import UNSCORED, GradingPool, Verdict, grader_version
from prerl_eval.grading.code import MAX_PROGRAM, STOPS, fenced_blocks, read_program
from prerl_eval.problems import Problem, load_problems
from tests.conftest import REPO

CASES = json.loads((REPO / "tests/cases/code.json").read_text(encoding="utf-8"))
TESTS = "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(70, 7) == 77\n"


def problem(tests=TESTS, **facts):
    return Problem("b", "0", "", tests, "code", {"entry_point": "add", "prompt": CASES["prompt"], **facts})


def read(case):
    return read_program(
        problem(), case["text"], case.get("finish_reason", "stop"), case.get("opens_thinking", False)
    )


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_program(case):
    found = read(case)
    if "answer" not in case:
        assert found == Verdict(case["status"])
        return
    assert found.answer == case["answer"]
    assert found.job.program == ("" if case["whole"] else CASES["prompt"]) + case["answer"]
    assert found.cut == case.get("cut", False)
    assert (found.job.entry_point, found.job.tests, found.job.prompt) == ("add", TESTS, CASES["prompt"])


@pytest.mark.parametrize("case", CASES["graded"], ids=lambda case: case["name"])
def test_verdict(case, isolation, code_pool):
    if "needs" in case and importlib.util.find_spec(case["needs"]) is None:
        pytest.skip(f"{case['needs']} is not installed")
    verdict = code_pool.submit(
        problem(), case["text"], finish_reason=case.get("finish_reason", "stop")
    ).result()
    assert verdict.status == case["status"], verdict
    assert verdict.answer_class == case.get("class", verdict.answer_class)
    assert bool(verdict.answer_class) == (verdict.status in ("correct", "wrong"))
    assert verdict.detail == ""


@pytest.fixture(scope="module")
def code_pool(isolation):
    with GradingPool(2) as pool:
        yield pool


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (problem(entry_point=None), "entry_point"),
        (problem(entry_point="a b"), "entry_point"),
        (problem(tests="  "), "no tests"),
        (problem(tests="def check(candidate) assert"), "no Python"),
        (problem(tests="def check(candidate):\n    pass"), "call no function"),
    ],
)
def test_a_problem_that_cannot_judge_is_unscored(changed, expected, code_pool):
    verdict = code_pool.submit(changed, "    return x + y\n", finish_reason="stop").result()
    assert verdict.status == UNSCORED
    assert expected in verdict.detail


def test_tests_without_check_call_the_function_by_its_name(code_pool):
    listed = problem(tests="assert add(2, 3) == 5\nassert add(1, 1) == 2")
    futures = [code_pool.submit(listed, f"    return {it}\n", finish_reason="stop") for it in ("x+y", "5")]
    assert [future.result().status for future in futures] == ["correct", "wrong"]


def test_wrong_programs_that_differ_in_blanks_share_a_class(code_pool):
    texts = ("    return x\n", "\n    return x   \n\n", "    return y\n")
    first, second, third = (
        code_pool.submit(problem(), text, finish_reason="stop").result() for text in texts
    )
    assert first.answer_class == second.answer_class != third.answer_class


def test_babble_is_read_in_linear_time():
    for text in (
        "```" + " " * 200_000 + "`",
        "`" * 200_000,
        "```\n" * 50_000,
        " " * 200_000 + "x",
        "\n" * 200_000,
    ):
        fenced_blocks(text)
        read_program(problem(), text, "stop", False)
    assert read_program(problem(), "    " + "x" * MAX_PROGRAM, "stop", False).status == "unparsed"


def test_the_card_and_the_grader_stop_at_the_same_strings():
    card = load_card("humaneval")
    assert card.stop == STOPS
    assert grader_version(problem()) == "code/1"


@pytest.fixture(scope="module")
def humaneval(hub):
    return load_problems(load_card("humaneval"), hub)


def test_every_canonical_solution_passes(humaneval, isolation):
    items = [(problem, problem.extra["solution"], "stop", False) for problem in humaneval]
    with GradingPool(2) as pool:
        statuses = {p.problem_id: v.status for p, v in zip(humaneval, pool.grade(items), strict=True)}
    assert len(statuses) == 164
    assert {name: status for name, status in statuses.items() if status != "correct"} == {}


def test_no_empty_body_passes(humaneval, isolation):
    items = [(problem, "    pass\n", "stop", False) for problem in humaneval]
    with GradingPool(1) as pool:
        statuses = {p.problem_id: v.status for p, v in zip(humaneval, pool.grade(items), strict=True)}
    assert {name: status for name, status in statuses.items() if status != "wrong"} == {}
