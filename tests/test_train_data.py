"""Training data: where problems come from, what is left out, and the order of a run."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from prerl_eval.cards import load_card
from prerl_eval.checkpoint import open_checkpoint
from prerl_eval.errors import UserError
from prerl_eval.prompts import PromptBuilder
from prerl_train.data import TrainingSet, as_dataset, batches_in, epoch_order, training_card, training_set

ASKED = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."


@pytest.fixture
def builder(tiny_model):
    """Plain prompts for a model with a context of 512 tokens."""
    return PromptBuilder(open_checkpoint(str(tiny_model)))


def write_lines(path, rows, opener=open):
    with opener(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


def build(source, builder, **options):
    return training_set(source, builder, **{"max_tokens": 100, **options})


def test_a_card_gives_its_train_split_only(builder):
    found = build("countdown", builder)
    assert (len(found.problems), len(found.prompts), found.dropped) == (2200, 2200, {})
    assert {problem.problem_id.partition("-")[0] for problem in found.problems} == {"train"}
    first = found.problems[0]
    assert (first.grader, first.extra["target"]) == ("countdown", 45)
    assert found.prompts[0].text == first.text


@pytest.mark.parametrize("name", ["aime24", "countdown-ood"])
def test_a_card_without_a_train_split_is_refused(builder, name):
    with pytest.raises(UserError, match=f"{name} has no train_split"):
        build(name, builder)


def test_golds_that_judge_nothing_are_left_out_and_counted(builder, hub):
    found = build("math-train", builder, data_root=hub)
    assert found.report() == "math-train: 7,495 problems (left out: empty gold 4, unreadable gold 1)"
    assert found.dropped == {"empty gold": 4, "unreadable gold": 1}
    assert "6811" not in {problem.problem_id for problem in found.problems}
    assert len(found.prompts) == len(found.problems) == 7495
    shorter = build("math-train", builder, data_root=hub, max_prompt_tokens=200)
    assert max(len(prompt.token_ids) for prompt in shorter.prompts) <= 200
    assert len(shorter.problems) == 7495 - shorter.dropped["long prompt"] < 7495


def test_a_hub_id_is_asked_and_graded_as_the_card_does(builder, hub):
    by_id = build("DigitalLearningGmbH/MATH-lighteval", builder, data_root=hub, limit=50)
    by_card = build("math-train", builder, data_root=hub, limit=50)
    assert [prompt.text for prompt in by_id.prompts] == [prompt.text for prompt in by_card.prompts]
    same = [replace(problem, benchmark="math-train") for problem in by_id.problems]
    assert same == list(by_card.problems)
    assert by_id.card.name == "MATH-lighteval"


def test_a_hub_set_without_train_split_or_clone_is_one_line(builder, hub, tmp_path):
    with pytest.raises(UserError, match=r"MATH-500: .*train"):
        build("HuggingFaceH4/MATH-500", builder, data_root=hub)
    with pytest.raises(UserError, match="no clone at"):
        build("nobody/nothing", builder, data_root=tmp_path)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_file_of_problems_and_answers(builder, tmp_path, suffix):
    rows = [{"problem": "1 + 1", "answer": 2}, {"problem": "2 + 2", "answer": "\\frac{8}{2}"}]
    source = write_lines(tmp_path / f"my sums{suffix}", rows, gzip.open if suffix.endswith("gz") else open)
    found = build(source, builder)
    assert [(p.benchmark, p.problem_id, p.gold, p.grader) for p in found.problems] == [
        ("my-sums", "0", "2", "math"),
        ("my-sums", "1", "\\frac{8}{2}", "math"),
    ]
    assert found.prompts[0].text == f"1 + 1{ASKED}"
    assert load_card("math-train").prompt == "{problem}" + ASKED


def test_a_files_own_ids_name_its_problems_and_its_solutions_hold_golds(builder, tmp_path):
    rows = [{"id": "a7", "problem": "1 + 1", "solution": "It is \\boxed{3}, no, \\boxed{2}."}]
    found = build(write_lines(tmp_path / "x.jsonl", rows), builder)
    assert [(p.problem_id, p.gold) for p in found.problems] == [("a7", "2")]


def test_what_is_left_out_of_a_file(builder, tmp_path):
    rows = [
        {"problem": "no answer", "answer": None},
        {"problem": "blank answer", "answer": " "},
        {"problem": "torn answer", "answer": "\\frac{1}{2"},
        {"problem": "long " * 40, "answer": "1"},
        {"problem": "good", "answer": "1"},
    ]
    source = write_lines(tmp_path / "x.jsonl", rows)
    # The question takes 12 words, so the long prompt has 52.
    found = build(source, builder, max_prompt_tokens=30)
    assert found.dropped == {"empty gold": 2, "long prompt": 1, "unreadable gold": 1}
    assert [problem.problem_id for problem in found.problems] == ["4"]
    assert found.report() == "x: 1 problems (left out: empty gold 2, long prompt 1, unreadable gold 1)"
    assert len(build(source, builder, max_tokens=512 - 52).problems) == 2
    assert len(build(source, builder, max_tokens=512 - 51).problems) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.jsonl", "no data file at nowhere.jsonl; give a file, a card, or a hub id"),
        ("contdown", "unknown benchmark 'contdown' .did you mean 'countdown'"),
        ("some/where/else", "some/where/else is no data to train on"),
        ("nowhere/card.toml", "no card at nowhere/card.toml"),
    ],
)
def test_a_source_that_is_not_there_is_one_line(source, message):
    with pytest.raises(UserError, match=message) as caught:
        training_card(source)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_data(tmp_path):
    with pytest.raises(UserError, match=r"is a folder; give a data file \(\.jsonl"):
        training_card(str(tmp_path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"question": "1 + 1", "answer": "2"}],
            r"no column 'problem'; it has: question, answer; rename one",
        ),
        ([{"problem": "1 + 1", "result": "2"}], r"no column 'answer'; it has: problem, result; rename one"),
        ([{"problem": "1", "answer": ""}] * 3, r"x: 0 problems \(left out: empty gold 3\): none to train on"),
        ([], r"x\.jsonl is empty; write one problem a line"),
        ([{"problem": "word " * 600, "answer": "1"}], r"or a larger --max-prompt-tokens than 412"),
        ([{"problem": "1", "answer": [1, 2]}], r"has a list in column 'answer'"),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_one_line(builder, tmp_path, rows, message):
    with pytest.raises(UserError, match=message) as caught:
        build(write_lines(tmp_path / "x.jsonl", rows), builder)
    assert "\n" not in str(caught.value)


def test_no_room_for_any_prompt_is_refused(builder):
    with pytest.raises(UserError, match=r"--max-tokens 512 leaves no room for a prompt .* \(512 tokens\)"):
        build("countdown", builder, max_tokens=512)


def test_the_record_plans_no_problems(builder):
    found = build("countdown", builder, limit=10)
    entry = found.record(samples_per_prompt=8, max_tokens=96)["countdown"]
    assert (entry["n"], entry["max_tokens"], entry["split"]) == (8, 96, "train")
    assert "problems" not in entry
    assert entry["training_problems"] == 10
    assert entry["card_hash"] == load_card("countdown").hash
    json.dumps(entry)


def test_batches_hold_distinct_problems_and_epochs_leave_no_other_gap():
    order = epoch_order(problems=10, per_batch=4, batches=7, seed=3)
    assert len(order) == 28
    batches = [order[start : start + 4] for start in range(0, 28, 4)]
    assert all(len(set(batch)) == 4 for batch in batches)
    # Two batches an epoch: eight different problems, the other two left out.
    epochs = [order[start : start + 8] for start in range(0, 24, 8)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert set(order) == set(range(10))


def test_the_order_is_the_seeds_and_a_longer_run_begins_with_a_shorter_one():
    order = epoch_order(50, 8, 20, seed=1)
    assert order == epoch_order(50, 8, 20, seed=1)
    assert order[:80] == epoch_order(50, 8, 10, seed=1)
    assert order != epoch_order(50, 8, 20, seed=2)
    # Written down once: another numpy must give the same order.
    assert epoch_order(10, 5, 2, seed=0) == PINNED


PINNED = [4, 8, 1, 6, 9, 3, 0, 2, 7, 5]


def test_every_position_is_equally_likely():
    firsts = [epoch_order(4, 4, 1, seed)[0] for seed in range(2000)]
    # 500 expected of each, standard deviation 19.4.
    assert all(abs(firsts.count(row) - 500) < 4.5 * 19.4 for row in range(4))


def test_fewer_problems_than_a_batch_needs_are_refused():
    with pytest.raises(UserError, match=r"7 problems are fewer than --prompts-per-step 8; give .* 7 or less"):
        epoch_order(7, 8, 1, 0)
    with pytest.raises(UserError, match="7 problems are fewer"):
        batches_in(1, 7, 8)


def test_epochs_in_batches():
    # MATH without its five bad golds, 128 a batch: 58 whole batches an epoch.
    assert batches_in(6, 7495, 128) == 348
    assert batches_in(0.5, 7495, 128) == 29
    assert batches_in(0.001, 7495, 128) == 1


def test_the_dataset_is_the_run(builder):
    found = build("countdown", builder, limit=5)
    dataset = as_dataset(found.prompts, [3, 1, 3])
    assert dataset.column_names == ["prompt", "row"]
    assert dataset[:] == {
        "prompt": [found.prompts[row].text for row in (3, 1, 3)],
        "row": [3, 1, 3],
    }


def test_system_message_and_thinking_are_the_builders(tiny_model, tmp_path):
    checkpoint = open_checkpoint(str(tiny_model))
    found = build("countdown", PromptBuilder(checkpoint, system="Be brief."), limit=1)
    assert isinstance(found, TrainingSet)
    assert found.prompts[0].text == "Be brief.\n\nuse 8 5 4 7 to reach 45 ."


def test_importing_it_is_light():
    heavy = ("torch", "transformers", "datasets", "trl")
    program = f"import sys, prerl_train.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
