"""Options of multiple choice: the drawn order of GPQA, listed options, and what can be wrong with them."""

import json
from collections import Counter

import pytest
from scipy.stats import chisquare

from prerl_eval import store
from prerl_eval.cards import load_card
from prerl_eval.choices import drawn_order, lettered
from prerl_eval.errors import UserError
from prerl_eval.grade_file import grade_file
from prerl_eval.grading import GradingPool
from prerl_eval.preflight import preflight, render_report
from prerl_eval.problems import load_problems
from prerl_eval.prompts import fill
from prerl_eval.regrade import stored_problem
from prerl_eval.rows import graded_row
from tests.test_problems import failure, make

COLUMNS = ["Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]
GPQA = {
    "fields": {"id": "Record ID", "problem": "Question", "answer": "Correct Answer"},
    "choices": COLUMNS,
    "prompt": "{problem}\n\n{options}",
    "grader": "choice",
    "answer_format": "stated",
}
LISTED = {
    "fields": {"problem": "question", "answer": "answer"},
    "choices": ["options"],
    "grader": "choice",
}


def gpqa_rows(count):
    """Rows of GPQA's schema; the options tell what they are."""
    return [
        {
            "Record ID": f"rec{number}",
            "Question": f"Which is right, {number}?",
            **{column: f"{column} of {number}\n" for column in COLUMNS},
        }
        for number in range(count)
    ]


def listed(**changes):
    return {"question": "Which?", "options": ["x", "y", "z"], "answer": "B", **changes}


def test_gold_positions_over_ten_thousand_problems_are_uniform(tmp_path):
    card = make(tmp_path, gpqa_rows(10_000), **GPQA)
    problems = load_problems(card)
    counts = Counter(problem.gold for problem in problems)
    assert chisquare([counts[letter] for letter in "ABCD"]).pvalue > 0.001
    orders = Counter(tuple(problem.extra["order"]) for problem in problems)
    assert len(orders) == 24
    assert chisquare(list(orders.values())).pvalue > 0.001


def test_the_order_depends_on_seed_and_problem_alone(tmp_path):
    card = make(tmp_path, gpqa_rows(50), **GPQA)
    problems = load_problems(card)
    assert load_problems(card) == problems
    assert load_problems(card, limit=7) == problems[:7]
    reseeded = load_problems(card, seed=1)
    same = sum(a.extra["order"] == b.extra["order"] for a, b in zip(problems, reseeded, strict=True))
    assert same < 10  # 50 / 24 are expected
    # Stored runs are continued by later versions: these three must never change.
    assert [drawn_order(0, "gpqa-diamond", f"rec{number}", 4) for number in range(3)] == [
        [2, 1, 3, 0],
        [2, 1, 0, 3],
        [3, 1, 2, 0],
    ]


def test_the_letter_and_the_facts_belong_to_the_order_shown(tmp_path):
    for problem in load_problems(make(tmp_path, gpqa_rows(30), **GPQA)):
        number = problem.problem_id.removeprefix("rec")
        expected = [f"{COLUMNS[column]} of {number}" for column in problem.extra["order"]]
        assert list(problem.options) == expected
        assert problem.options["ABCD".index(problem.gold)] == f"Correct Answer of {number}"
        assert problem.extra["letters"] == "ABCD"
        assert fill("{problem}\n{options}", problem).splitlines() == [
            problem.text,
            *(f"{letter}. {text}" for letter, text in zip("ABCD", expected, strict=True)),
        ]


def test_a_stored_row_is_graded_again_by_its_own_order(tmp_path):
    problem = load_problems(make(tmp_path, gpqa_rows(3), **GPQA), seed=5)[2]
    with GradingPool() as pool:
        verdict = pool.submit(problem, f"Answer: {problem.gold}", finish_reason="stop").result()
        row = graded_row(
            "r", problem, verdict, sample_index=0, prompt="p", completion="c", finish_reason="stop"
        )
        again = stored_problem(
            {
                name: getattr(row, name)
                for name in ("benchmark", "problem_id", "prompt", "gold", "grader", "extra")
            }
        )
        assert json.loads(row.extra)["order"] == problem.extra["order"]
        assert (again.gold, again.extra) == (problem.gold, problem.extra)
        assert pool.submit(again, f"Answer: {problem.gold}", finish_reason="stop").result() == verdict
    assert verdict.status == "correct"


def test_generations_of_another_tool_bring_their_own_letters(tmp_path):
    card = make(tmp_path, gpqa_rows(2), **GPQA)
    file = tmp_path / "g.jsonl"
    rows = [{"Record ID": f"rec{number}", "out": "Answer: C", "letter": "CD"[number]} for number in range(2)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = {"response_field": "out", "out": tmp_path / "run"}
    message = failure(file, str(card.file), call=lambda *args: grade_file(*args, **options))
    assert message.endswith("is not known; name the field of the right letters with --gold-field")
    run = grade_file(file, str(card.file), gold_field="letter", **options)
    stored = store.read_samples(run).to_pylist()
    assert [row["status"] for row in stored] == ["correct", "wrong"]
    assert all("order" not in json.loads(row["extra"]) for row in stored)


@pytest.mark.parametrize(("answer", "gold"), [("B", "B"), (" C ", "C"), (0, "A"), (2, "C")])
def test_listed_options_keep_their_order(tmp_path, answer, gold):
    (problem,) = load_problems(make(tmp_path, [listed(answer=answer)], **LISTED))
    assert (problem.gold, problem.options) == (gold, ("x", "y", "z"))
    assert problem.extra == {"answer_format": "boxed", "letters": "ABC"}
    assert lettered(problem.options) == "A. x\nB. y\nC. z"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (listed(answer="D"), "row 0 has 'D' in column 'answer', which is neither one of its letters ABC nor"),
        (listed(answer=3), "row 0 has 3 in column 'answer', which is neither"),
        (listed(options=["x"]), "row 0 has 1 options; 2 to 26 work"),
        (listed(options=["x", " "]), "row 0 has an empty option in column 'options'; mend the row"),
        (listed(options="x"), "row 0 has a str in column 'options'; name a column of lists as `choices`"),
    ],
)
def test_bad_options_are_one_line(tmp_path, row, message):
    assert message in failure(make(tmp_path, [row], **LISTED))


def test_the_answer_s_column_must_be_among_several(tmp_path):
    card = make(tmp_path, gpqa_rows(1), **GPQA | {"choices": COLUMNS[1:]})
    assert "lacks the answer's column 'Correct Answer'; list it among them" in failure(card)


def test_the_check_counts_positions_and_says_where_letter_and_index_disagree(tmp_path):
    rows = [listed(index=1), listed(index=2, answer="C", question="What?"), listed(index=0, question="Who?")]
    fields = LISTED["fields"] | {"answer_index": "index"}
    card = make(tmp_path, rows, **LISTED | {"fields": fields, "answer_format": "stated"})
    report = preflight([str(card.file)])
    assert report["ok"], report
    text = render_report(report)
    assert "answer positions: B 2, C 1" in text
    assert "letter and index of the answer disagree: 2 (1)" in text
    assert "12 correct completions graded" in text


def test_the_gated_set_is_one_line_away(tmp_path):
    with pytest.raises(UserError) as error:
        load_problems(load_card("gpqa-diamond"), tmp_path)
    message = str(error.value)
    assert "\n" not in message
    clone = tmp_path / "Idavidrein" / "gpqa"
    assert f"git clone https://huggingface.co/datasets/Idavidrein/gpqa {clone}" in message
    assert "accept its terms" in message
