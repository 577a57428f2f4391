"""Worked examples: of the problem's own task, never from the evaluated split; what is missing, in a line."""

import json
from dataclasses import replace

import pytest

from prerl_eval.cards import load_card
from prerl_eval.fewshot import read_shots
from prerl_eval.problems import load_problems
from prerl_eval.prompts import fill
from tests.test_problems import failure, make

SPLIT = {
    "number": 2,
    "split": "validation",
    "worked": "solution",
    "form": "Q: {problem}\n{options}\nA: {worked}\n\n",
}
FILES = {"number": 2, "folder": "prompts", "source": "https://example.org/prompts"}
CHOICE = {
    "fields": {"id": "key", "problem": "question", "answer": "answer", "task": "subject"},
    "choices": ["options"],
    "prompt": "About {task}. {braces}\n\n{shots}Q: {problem}\n{options}\nA:",
    "grader": "choice",
    "answer_format": "stated",
    "path": "data",
}


def row(key, subject, **more):
    question = f"{subject} question {key}?"
    return {
        "key": key,
        "subject": subject,
        "question": question,
        "options": ["u", "v"],
        "answer": "A",
        **more,
    }


def worked(key, subject):
    return row(key, subject, solution=f"A: Since {key}, the answer is (A).")


def card_of(folder, validation, shots=SPLIT, **keys):
    """A card on a folder with a test and a validation split."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for split, rows in {"test": [row("t1", "law"), row("t2", "art")], "validation": validation}.items():
        text = "".join(json.dumps(item) + "\n" for item in rows)
        (data / f"{split}.jsonl").write_text(text, encoding="utf-8")
    made = make(folder, data="unused.jsonl", **CHOICE | {"shots": shots} | keys)
    return load_card(made.file)


VALIDATION = [
    worked("v1", "art"),
    worked("v2", "law"),
    worked("v3", "law"),
    worked("v4", "art"),
    worked("v5", "law"),
]


def test_examples_are_the_first_of_the_problem_s_own_task(tmp_path):
    card = card_of(tmp_path, VALIDATION)
    law, art = load_problems(card)
    assert fill(card.prompt, law) == (
        "About law. {braces}\n\n"
        "Q: law question v2?\nA. u\nB. v\nA: Since v2, the answer is (A).\n\n"
        "Q: law question v3?\nA. u\nB. v\nA: Since v3, the answer is (A).\n\n"
        "Q: law question t1?\nA. u\nB. v\nA:"
    )
    assert [key for key in ("v1", "v2", "v3", "v4", "v5") if key in art.shots] == ["v1", "v4"]
    assert "solution" not in art.extra
    assert [problem.shots for problem in load_problems(card, shots=False)] == ["", ""]


def test_what_is_filled_in_is_not_filled_again(tmp_path):
    card = card_of(tmp_path, VALIDATION)
    problem = replace(load_problems(card)[0], text="{shots} {x}")
    assert fill("{problem}|{x}", problem, x="{problem}") == "{shots} {x}|{problem}"


def test_too_few_or_no_examples_are_one_line(tmp_path):
    message = failure(card_of(tmp_path, VALIDATION[:3]))
    assert message == "mine: split validation has 1 worked examples of task 'art', the card asks for 2"
    (tmp_path / "data" / "validation.jsonl").unlink()
    message = failure(load_card(tmp_path / "mine.toml"))
    assert "holds no validation.jsonl" in message
    assert message.endswith("(its 2 worked examples come from split validation)")


def test_a_clone_without_the_validation_split_names_the_set_that_needs_none(tmp_path, hub):
    if (hub / "TIGER-Lab" / "MMLU-Pro" / "validation.jsonl").exists():
        pytest.skip("this clone has the validation split")
    message = failure(load_card("mmlu-pro"), hub)
    assert "worked examples come from split validation; or take mmlu-pro-zero, which needs none)" in message
    assert len(load_problems(load_card("mmlu-pro-zero"), hub)) == 12032


@pytest.mark.parametrize(
    ("shots", "message"),
    [
        (SPLIT | {"split": "test"}, "shots.split = 'test' is the split that is evaluated"),
        (SPLIT | {"number": 0}, "shots.number = 0 should be 1 or more"),
        (SPLIT | {"folder": "prompts"}, "shots needs exactly one of split and folder"),
        (
            SPLIT | {"form": "Q: {problem}\n"},
            "shots of a split need worked, and form with {problem} and {worked}",
        ),
        (SPLIT | {"nmber": 5}, "shots.nmber = 5 is not one of its keys: number (int), split (str)"),
        (SPLIT | {"number": True}, "shots.number = True is not one of its keys"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, shots, message):
    assert message in failure(card_of(tmp_path, VALIDATION, shots))


def test_shots_without_a_place_in_the_prompt(tmp_path):
    card = card_of(tmp_path, VALIDATION, prompt="{problem}")
    assert "shots are given and the prompt has no {shots}" in failure(card)


def prompts(folder, text):
    (folder / "prompts").mkdir(exist_ok=True)
    for task in ("law", "art"):
        (folder / "prompts" / f"{task}.txt").write_text(text.replace("TASK", task), encoding="utf-8")


def test_prompt_files_lose_their_canary_and_nothing_else(tmp_path):
    text = "a canary\n-----\nAbout TASK.\n\nQ: one\nA: 1 --- yes.\n\nQ: two\nA: 2.\n"
    prompts(tmp_path, text)
    card = card_of(tmp_path, [], FILES)
    law, art = load_problems(card)
    assert law.shots == "About law.\n\nQ: one\nA: 1 --- yes.\n\nQ: two\nA: 2.\n\n"
    assert art.shots.startswith("About art.\n")
    prompts(tmp_path, "Q: one\nA: 1.\n")
    assert "law.txt holds 1 examples (lines 'Q: ...'), the card asks for 2" in failure(card).replace(
        "art", "law"
    )


def test_missing_prompt_files_say_where_they_are_to_be_had(tmp_path):
    message = failure(card_of(tmp_path, [], FILES))
    assert "no worked examples at" in message
    assert "put the folder prompts of https://example.org/prompts there" in message


def test_shipped_cards_ask_as_their_authors_do():
    mmlu, bbh = load_card("mmlu-pro"), load_card("bbh")
    assert (read_shots(mmlu).number, read_shots(mmlu).split) == (5, "validation")
    assert (read_shots(bbh).number, read_shots(bbh).folder) == (3, "cot-prompts")
    for card in (mmlu, bbh):
        zero = load_card(f"{card.name}-zero")
        assert zero.variant_of == card.name
        assert (zero.shots, zero.stop) == ({}, ())
        assert (zero.fields, zero.choices, zero.grader) == (card.fields, card.choices, card.grader)


def test_bbh_prompts_hold_three_examples_none_of_them_from_the_test_split(hub):
    problems = load_problems(load_card("bbh"), hub)
    assert len(problems) == 6511
    assert len({problem.extra["task"] for problem in problems}) == 27
    assert problems[250].problem_id == "causal_judgement/0"
    shots = {problem.extra["task"]: " ".join(problem.shots.split()) for problem in problems}
    assert not [text for text in shots.values() if "canary" in text.lower()]
    in_shots = [
        problem.problem_id
        for problem in problems
        if f"Q: {' '.join(problem.text.split())} A: " in shots[problem.extra["task"]]
    ]
    assert in_shots == []
    assert all(text.count("So the answer is") == 3 for text in shots.values())
