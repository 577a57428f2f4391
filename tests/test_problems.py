"""Problems: the real sets through load_dataset, and small local ones for everything that goes wrong."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval.cards import load_card
from prerl_eval.errors import UserError
from prerl_eval.grading.pool import GRADERS
from prerl_eval.problems import find_gold, load_problems, training_problems
from tests.conftest import REPO

COUNTS = {
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "math500": 500,
    "minerva": 272,
    "olympiadbench": 675,
    "gsm8k": 1319,
    "math-train": 7500,
}

ROWS = [
    {"key": "a", "question": "What is 1 + 1?", "answer": "2", "unit": None},
    {"key": "b", "question": "How long is an hour?", "answer": "60", "unit": "min"},
    {"key": "c", "question": "How long is an hour?", "answer": "3600", "unit": "s"},
]


def make(folder, rows=ROWS, data="mine.jsonl", **keys):
    """A card, and its rows as jsonl beside it."""
    file = folder / data
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    content = {
        "name": "mine",
        "path": data,
        "split": "test",
        "prompt": "{problem}",
        "grader": "math",
        "fields": {"id": "key", "problem": "question", "answer": "answer", "unit": "unit"},
        **keys,
    }
    card = folder / "mine.toml"
    card.write_text("\n".join(f"{key} = {toml(value)}" for key, value in content.items()), encoding="utf-8")
    return load_card(card)


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def failure(*arguments, call=load_problems):
    with pytest.raises(UserError) as error:
        call(*arguments)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_real_sets_load_from_clones(name, hub):
    problems = load_problems(load_card(name), hub)
    assert len(problems) == COUNTS[name]
    assert len({problem.problem_id for problem in problems}) == COUNTS[name]
    assert all(problem.text and problem.benchmark == name for problem in problems)
    expected = "final-line" if name == "gsm8k" else "boxed"
    assert {problem.extra["answer_format"] for problem in problems} == {expected}


def test_golds_stand_where_the_cards_say(hub):
    def golds(name):
        return [problem.gold for problem in load_problems(load_card(name), hub)]

    assert sum(gold.startswith("0") for gold in golds("aime24")) == 7
    assert golds("amc23")[0] == "27.0"
    assert "-1.0" in golds("amc23")
    assert sum(bool(re.search(r"\de-?\d", gold)) for gold in golds("minerva")) == 58
    assert [gold for gold in golds("gsm8k") if "#" in gold or not gold] == []
    assert golds("gsm8k")[0] == "18"
    train = golds("math-train")
    assert train.count("") == 4
    assert train[0] == "0"
    assert not any("boxed" in gold for gold in train)


def test_facts_for_the_grader(hub):
    problems = {problem.problem_id: problem for problem in load_problems(load_card("olympiadbench"), hub)}
    assert sum(problem.extra["is_multiple_answer"] for problem in problems.values()) == 94
    assert sum("unit" in problem.extra for problem in problems.values()) == 8
    assert problems["2592"].extra == {
        "answer_format": "boxed",
        "is_multiple_answer": False,
        "unit": "%",
        "tolerance": "1e-1",
    }
    minerva = load_problems(load_card("minerva"), hub, limit=1)
    assert minerva[0].extra["relative_tolerance"] > 0
    json.dumps([dict(problem.extra) for problem in problems.values()])


def test_the_shipped_sets_train_on_train_and_evaluate_test():
    card = load_card("countdown")
    test, train = load_problems(card), training_problems(card)
    assert len(test) == 200
    assert len(train) > len(test)
    assert not {problem.text for problem in test} & {problem.text for problem in train}
    assert {"numbers", "target"} <= set(test[0].extra)
    message = failure(load_card("countdown-ood"), call=training_problems)
    assert "training on the split that is evaluated is refused" in message


def test_data_root_may_come_from_the_environment(hub, monkeypatch):
    monkeypatch.setenv("PRERL_DATA_ROOT", str(hub))
    assert len(load_problems(load_card("aime24"), limit=3)) == 3


def test_nothing_is_written_into_the_data_root(tmp_path):
    clone = tmp_path / "me" / "set"
    clone.mkdir(parents=True)
    (clone / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    card = make(tmp_path / "cards", path="", hub_id="me/set")
    before = sorted((path, path.stat().st_mtime_ns) for path in clone.rglob("*"))
    assert [problem.gold for problem in load_problems(card, tmp_path)] == ["2", "60", "3600"]
    assert sorted((path, path.stat().st_mtime_ns) for path in clone.rglob("*")) == before


def test_local_rows_become_problems(tmp_path):
    problems = load_problems(make(tmp_path, options={"tolerance": 0.5}))
    assert [problem.problem_id for problem in problems] == ["a", "b", "c"]
    assert problems[0].extra == {"answer_format": "boxed", "tolerance": 0.5}
    assert problems[2].extra == {"answer_format": "boxed", "tolerance": 0.5, "unit": "s"}
    assert [problem.problem_id for problem in load_problems(make(tmp_path), limit=2)] == ["a", "b"]
    assert len(load_problems(make(tmp_path), limit=99)) == 3


def test_ids_are_row_numbers_where_the_card_names_no_column(tmp_path):
    problems = load_problems(make(tmp_path, fields={"problem": "question", "answer": "answer"}))
    assert [problem.problem_id for problem in problems] == ["0", "1", "2"]
    assert problems[1].text == problems[2].text


def test_a_folder_holds_one_file_per_split(tmp_path):
    make(tmp_path, rows=ROWS[:1], data="set/train.jsonl")
    card = make(tmp_path, data="set/test.jsonl", path="set", train_split="train", rows=ROWS)
    assert len(load_problems(card)) == 3
    assert [problem.problem_id for problem in training_problems(card)] == ["a"]
    message = failure(card, None, None, "validation")
    assert "holds no validation.jsonl (or .jsonl.gz, .parquet)" in message


def test_an_edited_file_is_read_anew(tmp_path):
    assert len(load_problems(make(tmp_path))) == 3
    assert len(load_problems(make(tmp_path, rows=ROWS[:2]))) == 2


def test_wrong_count(tmp_path):
    content = (tmp_path / "mine.toml", make(tmp_path))[0].read_text() + "\nrows = [30, 31]\n"
    (tmp_path / "mine.toml").write_text(content)
    message = failure(load_card(tmp_path / "mine.toml"))
    assert "mine: 3 rows in split test, the card allows 30 or 31" in message


def test_missing_column_names_those_there_are(tmp_path):
    message = failure(make(tmp_path, fields={"problem": "question", "answer": "gold"}))
    assert message == "mine: no column 'gold' in the data; it has: key, question, answer, unit"


def test_repeated_ids(tmp_path):
    message = failure(make(tmp_path, rows=[*ROWS, ROWS[0]]))
    assert "column 'key' repeats 'a'" in message


def test_a_problem_without_text(tmp_path):
    message = failure(make(tmp_path, rows=[ROWS[0], {**ROWS[1], "question": None}]))
    assert message == "mine: row 1 has no text in column 'question'"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b'{"q": "caf\xe9", "a": "2"}\n', "not UTF-8"),
        (b'{"q": "x", "a": ["2", "3"]}\n', "row 0 has a list in column 'a'; write gold = \"joined\""),
        (b'{"q": "x", "a": "2", "unit": "2024-01-31"}\n', "row 0 has a datetime in column 'unit'"),
    ],
)
def test_data_that_is_no_text(tmp_path, data, expected):
    fields = {"problem": "q", "answer": "a"} | ({"unit": "unit"} if b"unit" in data else {})
    card = make(tmp_path, fields=fields)
    (tmp_path / "mine.jsonl").write_bytes(data)
    assert expected in failure(card)


def test_an_unknown_grader(tmp_path):
    message = failure(make(tmp_path, grader="maths"))
    assert message == f"{tmp_path}/mine.toml: grader = 'maths' should be one of: {', '.join(sorted(GRADERS))}"


def test_unreadable_local_data(tmp_path):
    card = make(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"key": "a", "question')
    assert "mine.jsonl cannot be read" in failure(card)
    (tmp_path / "mine.jsonl").unlink()
    assert "holds no test.jsonl" in failure(card)


def test_missing_clone_and_unreachable_hub_say_how_to_clone(tmp_path, monkeypatch):
    card = load_card("aime24")
    message = failure(card, tmp_path)
    assert f"no clone at {tmp_path}/HuggingFaceH4/aime_2024" in message
    assert "git clone https://huggingface.co/datasets/HuggingFaceH4/aime_2024" in message
    monkeypatch.delenv("PRERL_DATA_ROOT", raising=False)
    message = failure(card)  # conftest switches the hub off
    assert "the hub cannot be reached" in message
    assert "git clone https://huggingface.co/datasets/HuggingFaceH4/aime_2024" in message
    assert "--data-root DIR" in message


def test_wrong_split_and_configuration(hub):
    assert "validation" in failure(load_card("gsm8k"), hub, None, "validation")


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (" 27 ", "verbatim", "27"),
        (27.0, "verbatim", "27.0"),
        (-3, "verbatim", "-3"),
        (None, "verbatim", ""),
        ("so 2 + 2 = 4\n#### 1,004", "after-hashes", "1,004"),
        ("no hashes", "after-hashes", ""),
        ("we get \\boxed{1} and \\boxed{\\frac{1}{2}}.", "boxed", "\\frac{1}{2}"),
        ("we get $\\boxed 7$.", "boxed", "7"),
        ("we get \\fbox{x}", "boxed", "x"),
        ("whole \\boxed{1}, cut off \\boxed{2", "boxed", "1"),
        ("\\boxed{}", "boxed", ""),
        ("nothing", "boxed", ""),
        (["3", " 5"], "joined", "3, 5"),
        ("3", "joined", "3"),
    ],
)
def test_finding_the_gold(value, form, expected):
    assert find_gold(value, form) == expected


balanced = st.recursive(
    st.text("ab12\\ ", max_size=4),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "".join(parts) + "}"),
)


@given(balanced, st.text(max_size=20).filter(lambda text: "box" not in text))
def test_a_box_gives_its_content_whatever_stands_before(content, before):
    assert find_gold(f"{before}\\boxed{{{content}}}", "boxed") == content.strip()


@given(st.text("\\boxedf{} 1$", max_size=200))
def test_any_text_is_searched_for_a_box(text):
    gold = find_gold(text, "boxed")
    assert gold in text


def test_the_card_that_the_documentation_shows_works(tmp_path):
    text = (REPO / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    card, rows = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("toml", "json"))
    assert len(card.splitlines()) <= 15
    (tmp_path / "my_set.toml").write_text(card, encoding="utf-8")
    (tmp_path / "my_problems.jsonl").write_text(rows, encoding="utf-8")
    problems = load_problems(load_card(tmp_path / "my_set.toml"))
    assert [(problem.problem_id, problem.gold) for problem in problems] == [("p1", "42"), ("p2", "7.5")]
    assert problems[1].extra["unit"] == "cm"
