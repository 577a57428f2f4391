"""Cards: what ships, names and groups, and one clear line for everything that can be wrong."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from prerl_eval.cards import load_card, resolve_benchmarks, shipped_cards
from prerl_eval.errors import UserError
from tests.conftest import REPO

SIX = ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench"]

CARD = """\
name = "mine"
path = "mine.jsonl"
split = "test"
fields = { problem = "question", answer = "answer" }
prompt = "{problem} Answer in \\\\boxed{}."
grader = "math"
"""


def write(folder: Path, text: str = CARD, name: str = "mine.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_shipped_cards_are_short_and_named_like_their_files():
    cards = shipped_cards()
    assert {*SIX, "gsm8k", "math-train", "countdown", "countdown-ood"} <= {card.name for card in cards}
    for card in cards:
        assert card.name == card.file.stem
        assert len(card.file.read_text().splitlines()) <= 17, card.name
        assert card.rows, card.name
        assert card.licence, card.name
        assert card.citation, card.name


def test_settings_of_the_paper_s_six():
    for card in resolve_benchmarks(["math"]):
        assert card.n == 32
        assert card.prompt == (
            "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
        )
    assert load_card("olympiadbench").rows == (674, 675)
    assert load_card("countdown").n == 64


def test_groups_and_names_resolve_once_and_in_order():
    assert [card.name for card in resolve_benchmarks(["math"])] == SIX
    assert [card.name for card in resolve_benchmarks(["gsm8k", "math", "aime24"])] == ["gsm8k", *SIX]
    everything = {card.name for card in resolve_benchmarks(["all"])}
    variants = {card.name for card in shipped_cards() if card.variant_of}
    assert variants == {"bbh-zero", "mmlu-pro-zero", "countdown-hard"}
    left_out = {"math-train", "countdown-val", *variants}
    assert everything == {card.name for card in shipped_cards()} - left_out
    assert [card.name for card in resolve_benchmarks(["math-train"])] == ["math-train"]


def test_a_card_path_is_a_benchmark(tmp_path):
    (card,) = resolve_benchmarks([str(write(tmp_path))])
    assert (card.name, card.n, card.max_tokens, card.gold) == ("mine", 32, 16384, "verbatim")
    assert card.prompt == "{problem} Answer in \\boxed{}."
    assert load_card(write(tmp_path)) == card


def test_unknown_names_get_a_hint():
    with pytest.raises(UserError) as error:
        resolve_benchmarks(["aime2024"])
    message = one_line(error)
    assert "unknown benchmark 'aime2024' (did you mean 'aime24'?)" in message
    assert "math500" in message
    with pytest.raises(UserError, match="no benchmark named; known: aime24"):
        resolve_benchmarks([])
    with pytest.raises(UserError, match=r"no card at nowhere/x\.toml"):
        resolve_benchmarks(["nowhere/x.toml"])


def test_two_cards_of_one_name_are_refused(tmp_path):
    other = write(tmp_path, CARD.replace('"mine"', '"aime24"'), "other.toml")
    with pytest.raises(UserError, match="both named 'aime24'"):
        resolve_benchmarks(["aime24", str(other)])
    same = write(tmp_path)
    assert len(resolve_benchmarks([str(same), str(same)])) == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max_token = 5", r"unknown key 'max_token' \(did you mean 'max_tokens'\?\); known: name, split"),
        ('file = "x"', "unknown key 'file'"),
        ('n = "32"', "n = '32' should be a whole number"),
        ("n = true", "n = True should be a whole number"),
        ("n = 0", "n = 0 should be at least 1"),
        ("max_tokens = 0", "max_tokens = 0 should be at least 1"),
        ("rows = 30", "rows = 30 should be a list of whole numbers"),
        ('rows = ["30"]', r"rows = \['30'\] should be a list of whole numbers"),
        ('groups = "math"', "groups = 'math' should be a list of strings"),
        ('gold = "box"', "gold = 'box' should be one of: verbatim, boxed"),
        ('answer_format = "box"', "answer_format = 'box' should be one of: boxed, final-line"),
        ("options = 1", "options = 1 should be a table"),
        (
            "options = { relative_tolerence = 1e-4 }",
            r"unknown option .* \(did you mean 'relative_tolerance'\?\)",
        ),
        ('options = { tolerance = "0.1" }', r"options.tolerance = '0.1' should be a number"),
        ('plain_prompt = "Q: "', r"plain_prompt = 'Q: ' should be a template that contains \{problem\}"),
        ('stop = "x"', "stop = 'x' should be a list of strings"),
        ('stop = ["x", ""]', "stop = .* should be a list of strings that are not empty"),
        ('hub_id = "a/b"', "exactly one of hub_id .* and path"),
        ("licence = ", "is not TOML"),
    ],
)
def test_a_bad_line_is_one_line_that_names_file_and_key(tmp_path, line, expected):
    check_refused(write(tmp_path, CARD + line), expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('split = "test"\n', "", "the key 'split' is missing"),
        ('split = "test"', "split = 3", "split = 3 should be a string"),
        ('answer = "answer"', "answer = 1", "fields = .* should be a table of column names"),
        (', answer = "answer"', "", "fields = .* should be a table with at least problem and answer"),
        ("{problem} ", "{question} ", r"prompt = .* should be a template that contains \{problem\}"),
        ('"mine"', '"my set"', "name = 'my set' should be letters"),
        ('path = "mine.jsonl"\n', "", "exactly one of hub_id .* and path"),
    ],
)
def test_a_bad_change_is_one_line_that_names_file_and_key(tmp_path, old, new, expected):
    assert old in CARD
    check_refused(write(tmp_path, CARD.replace(old, new)), expected)


def check_refused(file: Path, expected: str) -> None:
    with pytest.raises(UserError) as error:
        load_card(file)
    message = one_line(error)
    assert message.startswith(str(file))
    assert re.search(expected, message)


def test_the_hash_follows_what_decides_a_grade(tmp_path):
    card = load_card(write(tmp_path))
    for old, new in (
        ("{problem} Answer", "{problem} Reply"),
        ('"math"', '"math"\nplain_prompt = "{problem}"'),
        ('"math"', '"math"\nstop = ["\\n\\n"]'),
        ('"math"', '"math"\noptions = { relative_tolerance = 0.1 }'),
    ):
        assert load_card(write(tmp_path, CARD.replace(old, new))).hash != card.hash
    described = CARD + 'n = 4\nmax_tokens = 9\nrows = [1]\nlicence = "MIT"\ncitation = "me"\ntitle = "M"\n'
    assert load_card(write(tmp_path, described)).hash == card.hash
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load_card(write(elsewhere)).hash == card.hash


def test_runs_of_an_older_prerl_go_on():
    # As run.json of such a run records it: keys that came later may not change it.
    assert load_card("aime24").hash == "796546e8bca3881ced09558f88d102c32fd8f676354a162b5f0d6e38ab7b9fe1"


def test_describe_is_the_card_without_its_place(tmp_path):
    described = load_card(write(tmp_path)).describe()
    assert tomllib.loads(CARD).items() <= described.items()
    assert str(tmp_path) not in repr(described)


def test_cards_inside_an_installed_package_are_found(tmp_path):
    """The layout of the wheel: prerl_eval/benchmarks, and nothing beside the package."""
    package = tmp_path / "prerl_eval"
    shutil.copytree(REPO / "prerl_eval", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPO / "benchmarks", package / "benchmarks")
    code = "from prerl_eval import cards; print(cards.__file__, *(c.file for c in cards.shipped_cards()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    module, *files = done.stdout.split()
    assert module == str(package / "cards.py")
    assert len(files) == len(shipped_cards())
    assert all(Path(file).parent == package / "benchmarks" for file in files)
