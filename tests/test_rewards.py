"""The reward is the grader, and every rollout is a sample row: text, verdicts, keys, resuming."""

from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from prerl_eval import store
from prerl_eval.engines.base import Prompt
from prerl_eval.grading import GradingPool
from prerl_eval.problems import Problem
from prerl_eval.summary import summarize
from prerl_train.rewards import RolloutRecorder, VerifiableReward
from tests.runs import write_run

EOS = 2
PLAN = {"c": {"n": 2, "max_tokens": 9, "training_problems": 3}}

PROBLEMS = [
    Problem("c", "sum", "1 + 2 = 3", "", "countdown", {"numbers": [1, 2], "target": 3}),
    Problem("m", "seven", "3 + 4", "7", "math", {"answer_format": "boxed"}),
    Problem("m", "bad", "no gold", "", "math", {"answer_format": "boxed"}),
]
PROMPTS = [
    Prompt("<s> make 3 from 1 2 .", (1, 46, 9, 47, 7, 8, 59)),
    Prompt("<s> try <think>", (1, 48, 3), opens_thinking=True),
    Prompt("<s> try", (1, 48)),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def pool():
    with GradingPool(1) as pool:
        yield pool


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", [], PLAN, kind="training")


def make_reward(tokenizer, pool, recorder=None):
    return VerifiableReward(PROBLEMS, PROMPTS, pool, stop_ids=(EOS,), tokenizer=tokenizer, recorder=recorder)


def call(reward, tokenizer, asked, updates=0, **more):
    """Ask for the reward of (problem index, completion) pairs, as TRL does."""
    return reward(
        prompts=["not read"] * len(asked),
        completions=["not read"] * len(asked),
        completion_ids=[tokenizer(text, add_special_tokens=False).input_ids for _, text in asked],
        row=[index for index, _ in asked],
        trainer_state=SimpleNamespace(global_step=updates),
        log_metric=None,
        **more,
    )


RIGHT, WRONG = (0, "answer : 1 + 2 </s>"), (0, "answer : 1 * 2 </s>")


def test_rewards_are_the_graders_verdicts_on_text_with_its_special_tokens(tokenizer, pool):
    reward = make_reward(tokenizer, pool)
    cases = [
        (*RIGHT, 1.0, "correct"),
        (*WRONG, 0.0, "wrong"),
        (0, "yes </s>", 0.0, "unparsed"),
        (0, "yes", 0.0, "truncated"),
        # Cut off inside the answer: nobody knows how it would have gone on.
        (0, "answer : 1", 0.0, "truncated"),
        (2, "yes </s>", None, "unscored"),
        (1, "</think> \\boxed { 7 } </s>", 1.0, "correct"),
        # The prompt opens thinking. Without the tags, special tokens here, its box would be the answer.
        (1, "\\boxed { 7 } </s>", 0.0, "unparsed"),
        (1, "\\boxed { 7 } </think> yes </s>", 0.0, "unparsed"),
        (1, "\\boxed { 7 } </think> \\boxed { 1 } </s>", 0.0, "wrong"),
    ]
    found = call(reward, tokenizer, [case[:2] for case in cases])
    assert [verdict.status for verdict in reward.last_verdicts] == [status for *_, status in cases]
    assert found == [value for _, _, value, _ in cases]


def test_statuses_add_up_over_the_draws_of_a_step(tokenizer, pool):
    reward = make_reward(tokenizer, pool)
    call(reward, tokenizer, [RIGHT, WRONG])
    call(reward, tokenizer, [WRONG, WRONG])
    assert reward.statuses == {"correct": 1, "wrong": 3}
    assert len(reward.last_verdicts) == 2
    call(reward, tokenizer, [RIGHT], updates=1)
    assert reward.statuses == {"correct": 1}


def test_every_rollout_is_a_row(tokenizer, pool, run):
    recorder = RolloutRecorder(run, "r")
    reward = make_reward(tokenizer, pool, recorder)
    call(reward, tokenizer, [RIGHT, (1, "yes")], updates=4, seed=[11, 2**62], seconds=[0.5, 0.25])
    call(reward, tokenizer, [WRONG], updates=5)
    recorder.flush()
    first, second, third = store.read_samples(run).to_pylist()
    words = tokenizer(RIGHT[1], add_special_tokens=False).input_ids
    assert first == {
        "run_id": "r",
        "benchmark": "c",
        "problem_id": "sum",
        "sample_index": 0,
        "step": 5,
        "prompt": PROMPTS[0].text,
        "completion": " answer : 1 + 2",
        "token_ids": words,
        "tokens": len(words),
        "finish_reason": "stop",
        "opens_thinking": False,
        "status": "correct",
        "answer": "1 + 2",
        "answer_class": "gold",
        "gold": "",
        "extra": '{"numbers": [1, 2], "target": 3}',
        "grader": "countdown/1",
        "detail": "",
        "seed": 11,
        "seconds": 0.5,
    }
    assert (second["finish_reason"], second["opens_thinking"], second["seed"]) == ("length", True, 2**62)
    assert (third["step"], third["seed"], third["seconds"], third["status"]) == (6, 0, 0.0, "wrong")


def test_samples_are_numbered_per_problem_and_step_over_redraws(tokenizer, pool, run):
    recorder = RolloutRecorder(run, "r")
    reward = make_reward(tokenizer, pool, recorder)
    call(reward, tokenizer, [RIGHT, RIGHT, (1, "yes"), (1, "no")])
    call(reward, tokenizer, [(1, "yes"), (1, "no"), WRONG])
    call(reward, tokenizer, [WRONG, WRONG], updates=1)
    recorder.flush()
    assert store.stored_keys(run) == {
        *(("c", "sum", index, 1) for index in range(3)),
        *(("m", "seven", index, 1) for index in range(4)),
        *(("c", "sum", index, 2) for index in range(2)),
    }
    numbers = summarize(run, step=1)["benchmarks"]
    assert (numbers["c"]["samples"], numbers["m"]["samples"]) == (3, 4)
    assert numbers["c"]["avg"] == pytest.approx(2 / 3)


def test_rows_wait_for_the_flush_and_a_resumed_run_samples_the_discarded_future_again(tokenizer, pool, run):
    recorder = RolloutRecorder(run, "r")
    reward = make_reward(tokenizer, pool, recorder)
    call(reward, tokenizer, [RIGHT, RIGHT])
    assert store.parts(run) == []
    recorder.flush()
    recorder.flush()
    assert len(store.parts(run)) == 1
    call(reward, tokenizer, [WRONG, WRONG], updates=1)
    recorder.flush()
    assert store.drop_rows_after(run, 1) == 2
    again = RolloutRecorder(run, "r")
    call(make_reward(tokenizer, pool, again), tokenizer, [RIGHT, WRONG, WRONG], updates=1)
    again.flush()
    rows = store.read_samples(run).to_pylist()
    assert [(row["step"], row["sample_index"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    summary = summarize(run)["training"]["c"]["windows"]
    assert [window["avg"] for window in summary] == [1.0, pytest.approx(1 / 3)]


def test_trl_knows_it_by_its_name(tokenizer, pool):
    from trl.trainer.utils import get_callable_name

    assert get_callable_name(make_reward(tokenizer, pool)) == "verifiable"
