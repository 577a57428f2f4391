"""The contamination audit on real models: one that was trained on some of the problems, one that was not."""

import json
import random

import pytest
from typer.testing import CliRunner

from prerl_eval import store
from prerl_eval.cli import app
from prerl_eval.contamination import AuditOptions, audit
from prerl_eval.contamination_facts import _scores, render_audit
from prerl_eval.errors import UserError
from prerl_eval.plan import RunOptions
from prerl_eval.problems import Problem
from prerl_eval.run import evaluate
from prerl_eval.run_record import read_record
from tests.runs import sample, write_run
from tests.test_problems import make
from tests.tiny import WORDS, save_model

KNOWN, UNKNOWN = 6, 6
PLAIN = [word for word in WORDS if word[0].isalnum()]


def problem(number):
    """Twenty words that nobody guesses, and an answer that nobody works out."""
    chance = random.Random(number)
    return {
        "key": str(number),
        "question": " ".join(chance.choice(PLAIN) for _ in range(20)),
        "answer": str(number + 20),
    }


PROBLEMS = [problem(number) for number in range(KNOWN + UNKNOWN)]


def memorise(folder, rows):
    """A checkpoint trained on these problems and their answers until it says them by heart."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(save_model(folder, sharpness=0.1))
    model = AutoModelForCausalLM.from_pretrained(folder)
    texts = [f"{row['question']} \\boxed {{ {row['answer']} }} </s>" for row in rows]
    ids = torch.tensor([tokenizer(text).input_ids for text in texts])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(200):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.15:  # what is left is the first words, which nothing announces
            break
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def memoriser(tmp_path_factory):
    return memorise(tmp_path_factory.mktemp("memoriser") / "by-heart", PROBLEMS[:KNOWN])


@pytest.fixture
def options(tmp_path):
    card = make(tmp_path / "set", PROBLEMS, fields={"id": "key", "problem": "question", "answer": "answer"})

    def build(ckpt, **changes):
        settings = {
            "target": str(card.file),
            "ckpt": [str(ckpt)],
            "max_tokens": 24,
            "engine": "transformers",
            "out": tmp_path / "audit",
            "workers": 1,
        }
        return AuditOptions(**(settings | changes))

    return build


def test_problems_that_were_trained_on_are_caught_and_no_others(memoriser, options):
    (facts,) = audit(options(memoriser))
    assert facts["completed"] == [row["key"] for row in PROBLEMS[:KNOWN]]
    assert facts["exact"]["value"] == KNOWN / (KNOWN + UNKNOWN)
    assert facts["exact"]["problems"] == KNOWN + UNKNOWN
    low, high = facts["exact"]["ci"]
    assert 0 < low < 0.5 < high < 1
    assert facts["exact_of_long"] is None  # 8 of 20 words are left
    assert facts["rouge_l"]["value"] >= facts["exact"]["value"]
    assert facts["answer_right"]["value"] == KNOWN / (KNOWN + UNKNOWN)
    assert (facts["cut_short"], facts["skipped"], facts["scores"]) == (0, 0, None)
    text = "\n".join(render_audit([facts]))
    assert "rest completed exactly   50.0% [" in text
    assert "right final answer       50.0% [" in text


def test_a_model_that_was_not_trained_completes_nothing(tiny_model, options):
    (facts,) = audit(options(tiny_model))
    assert facts["completed"] == []
    assert facts["exact"]["value"] == facts["answer_right"]["value"] == 0
    assert facts["rouge_l"]["value"] < 0.5


def test_rows_hold_what_was_given_and_what_was_wanted(tiny_model, options, tmp_path):
    audit(options(tiny_model, prefix=0.4, limit=2))
    rows = store.read_samples(tmp_path / "audit").to_pylist()
    assert [row["benchmark"] for row in rows] == ["mine-first40"] * 2
    for row, source in zip(rows, PROBLEMS, strict=False):
        words = source["question"].split()
        assert row["prompt"] == " ".join(words[:8])
        assert json.loads(row["extra"])["rest"] == " " + " ".join(words[8:])
        assert row["gold"] == source["answer"]
    record = read_record(tmp_path / "audit")
    assert record["settings"]["prefix"] == 0.4
    assert record["settings"]["temperature"] == 0
    assert record["settings"]["template"] == "plain"


def test_an_audit_goes_on_where_it_stopped_and_not_with_another_prefix(memoriser, options, tmp_path):
    audit(options(memoriser, limit=5))
    first = [part.read_bytes() for part in store.parts(tmp_path / "audit")]
    (facts,) = audit(options(memoriser))
    assert facts["exact"]["problems"] == KNOWN + UNKNOWN
    parts = store.parts(tmp_path / "audit")
    assert [part.read_bytes() for part in parts[: len(first)]] == first
    assert sum(len(store.read_part(part)) for part in parts) == KNOWN + UNKNOWN
    with pytest.raises(UserError, match=r"prefix: 0\.6 -> 0\.4"):
        audit(options(memoriser, prefix=0.4))


def test_a_limit_that_leaves_no_room_is_said(memoriser, options):
    (facts,) = audit(options(memoriser, max_tokens=3))
    assert facts["exact"]["value"] == 0
    assert facts["cut_short"] == KNOWN + UNKNOWN
    assert "12 continuations were cut at 3 tokens" in "\n".join(render_audit([facts]))


def test_a_run_names_the_problems_and_its_avg_is_split(tiny_model, options, tmp_path):
    ran = {"max_tokens": 8, "n": 2, "limit": 4, "engine": "transformers", "out": tmp_path / "run"}
    (run,) = evaluate(RunOptions(ckpt=[str(tiny_model)], bench=["countdown"], **ran))
    command = ["contamination", str(run), "--ckpt", str(tiny_model), "--max-tokens", "16", "--json"]
    done = CliRunner().invoke(app, [*command, "--engine", "transformers", "--out", str(tmp_path / "audit")])
    assert done.exit_code == 0, done.output
    (facts,) = json.loads(done.stdout)
    assert facts["benchmark"] == "countdown"
    assert facts["exact"]["problems"] == 4
    assert facts["scores"]["completed"] is None
    assert facts["scores"]["others"]["problems"] == 4
    assert facts["answer_right"] is None  # its grader asks for the whole problem
    text = "\n".join(render_audit([facts]))
    assert "final answers are judged on sets of mathematics only" in text


def test_avg_is_given_apart_for_what_is_known_by_heart(tmp_path):
    rows = [
        sample(key, index, "correct" if index < right else "wrong")
        for key, right in (("a", 2), ("b", 1), ("c", 0), ("d", 2))
        for index in range(2)
    ]
    run = write_run(tmp_path / "scored", rows)
    asked = [Problem("aime24", key, "?", "1", "math") for key in "abcx"]
    found = _scores(run, "aime24", ["a", "b", "x"], asked)
    assert (found["completed"]["value"], found["completed"]["problems"]) == (0.75, 2)
    assert (found["others"]["value"], found["others"]["problems"]) == (0.0, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prefix": 0.0}, "--prefix 0.0 is not between 0 and 1"),
        ({"prefix": 1.0}, "--prefix 1.0 is not between 0 and 1"),
        ({"max_tokens": 0}, "--max-tokens 0 is too small"),
        ({"max_tokens": 600}, "give --max-tokens"),
        ({"target": "nowhere"}, "unknown benchmark 'nowhere'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(changes, message, tiny_model, options, tmp_path):
    with pytest.raises(UserError) as error:
        audit(options(tiny_model, **changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "audit").exists()


def test_runs_whose_problems_are_not_known_are_refused(tiny_model, options, tmp_path):
    custom = write_run(tmp_path / "custom", [], {"mine": {"card_hash": "0", "n": 1, "problems": 1}})
    with pytest.raises(UserError, match="give the card's path instead of the run"):
        audit(options(tiny_model, target=str(custom)))
    training = write_run(tmp_path / "training", [], kind="training")
    with pytest.raises(UserError, match="is a training run; name the benchmark"):
        audit(options(tiny_model, target=str(training)))
    words = [{"key": "1", "question": "word", "answer": "1", "unit": None}]
    single = make(tmp_path / "words", words)
    with pytest.raises(UserError, match="no problem has two words"):
        audit(options(tiny_model, target=str(single.file)))
