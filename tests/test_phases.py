"""Phases and draws: which updates are made in which space, and on which batch."""

import pytest
import torch
from transformers import TrainerCallback

from prerl_eval.errors import RunStopped, UserError
from prerl_train.draws import other_prompts
from tests.training import (
    ALIKE,
    MIXED,
    UNEVEN,
    Script,
    make_trainer,
    right,
    stubborn,
    train,
)

THINK = 3
"""Id of <think>: a start token that no prompt begins with."""


def phases(run):
    return [update.facts["phase"] for update in run.updates]


# --- Phases --------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", [0, 1, 3, 4])
def test_s_updates_of_warm_up_are_s_updates(tiny_model, tmp_path, warmup):
    run = train(
        tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=warmup, max_steps=4, start_token="<think>"
    )
    assert phases(run) == ["prerl"] * warmup + ["rl"] * (4 - warmup)
    firsts = [{prompt[0] for prompt, _ in update.seen} for update in run.updates]
    assert firsts == [{THINK}] * warmup + [{1}] * (4 - warmup)
    assert run.trainer.state.global_step == 4


@pytest.mark.parametrize(
    ("space", "name"),
    [("rl", "warmup-rl"), ("joint", "joint"), ("swapped", "warmup-swapped"), ("anneal", "anneal")],
)
def test_the_other_warm_ups_have_names_of_their_own(tiny_model, tmp_path, space, name):
    run = train(
        tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=2, dsrl_warmup_space=space, max_steps=3
    )
    assert phases(run) == [name, name, "rl"]


def test_updates_of_one_batch_are_of_one_phase(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="dsrl",
        dsrl_warmup_steps=4,
        max_steps=8,
        num_iterations=2,
        steps_per_generation=4,
        gradient_accumulation_steps=2,
        start_token="<think>",
    )
    assert phases(run) == ["prerl"] * 4 + ["rl"] * 4
    assert [{prompt[0] for prompt, _ in update.seen} for update in run.updates] == [{THINK}] * 4 + [{1}] * 4


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("samples_itself", [True, False])
def test_no_pass_under_the_prompt_in_warm_up_and_none_without_it_after(
    tiny_model, tmp_path, iterations, samples_itself
):
    """Every pass of the model is counted, but those that sample."""
    passes = []

    class Count(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **_):
            def note(module, positional, named):
                if not sampling:
                    ids, mask = named["input_ids"], named["attention_mask"].bool()
                    starts = {row[keep][0].item() for row, keep in zip(ids, mask, strict=True)}
                    passes.append((state.global_step, starts))

            model.register_forward_pre_hook(note, with_kwargs=True)

    trainer = make_trainer(
        tiny_model,
        tmp_path,
        None if samples_itself else Script(lambda *_: MIXED),
        rewards=lambda completion_ids, **_: [float(sum(ids) % 2) for ids in completion_ids],
        callbacks=[Count()],
        algorithm="dsrl",
        dsrl_warmup_steps=2,
        max_steps=4,
        num_iterations=iterations,
        start_token="<think>",
        vllm_importance_sampling_correction=False,
    )
    sampling, plain = [], trainer._generate

    def generate(prompts):
        sampling.append(1)
        try:
            return plain(prompts)
        finally:
            sampling.clear()

    trainer._generate = generate
    trainer.train()
    assert {step: set().union(*(s for at, s in passes if at == step)) for step in range(4)} == {
        0: {THINK},
        1: {THINK},
        2: {1},
        3: {1},
    }
    # One pass for each micro-batch of each update, and one more for the log-probs of the old policy
    # where a batch makes several updates.
    expected = 4 * 4 if iterations == 1 else 4 * 4 + 2 * 4
    assert len(passes) == expected


# --- Draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["dsrl", "nsr-rl", "prerl"])
def test_draws_do_not_count_as_updates(tiny_model, tmp_path, algorithm):
    run = train(tiny_model, tmp_path, Script(stubborn), algorithm=algorithm, dsrl_warmup_steps=3, max_steps=4)
    assert [update.facts["draws"] for update in run.updates] == [1, 3, 1, 1]
    assert [update.logs["dsrl/draws"] for update in run.updates] == [1, 3, 1, 1]
    if algorithm == "dsrl":
        assert phases(run) == ["prerl"] * 3 + ["rl"]
    chosen = {sample.completion for sample in run.batch(1, 2)}
    assert {completion for _, completion in run.updates[1].seen} <= chosen
    # The facts count what was drawn in vain: 8 + 8 + 7 right of 48; the tokens of all of them.
    assert run.updates[1].facts["reward"] == pytest.approx(23 / 48)
    assert run.updates[1].facts["samples"] == 48
    drawn = [sample for sample in run.samples if sample.step == 1]
    assert run.updates[1].facts["tokens"] == sum(len(sample.completion) for sample in drawn)


def test_further_draws_ask_other_prompts_the_same_in_every_run(tiny_model, tmp_path):
    runs = [
        train(tiny_model, tmp_path / str(i), Script(stubborn), algorithm="nsr-rl", max_steps=3, seed=seed)
        for i, seed in enumerate([7, 7, 8])
    ]
    asked = [[[sample.prompt for sample in run.batch(1, draw)] for draw in range(3)] for run in runs]
    assert asked[0] == asked[1]
    assert asked[0][0] == asked[2][0]
    assert asked[0][1] != asked[2][1]
    for prompts in asked[0]:
        # Four problems, each four times in a row.
        assert [len(set(prompts[start : start + 4])) for start in range(0, 16, 4)] == [1] * 4
        assert len(set(prompts)) == 4
    assert asked[0][1] != asked[0][2]
    assert torch.equal(runs[0].weights, runs[1].weights)
    assert not torch.equal(runs[0].weights, runs[2].weights)


def test_a_resumed_run_draws_as_the_whole_one_did(tiny_model, tmp_path):
    settings = {"algorithm": "nsr-prerl", "max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    whole = train(tiny_model, tmp_path, Script(stubborn), **settings)
    resumed = train(tiny_model, tmp_path, Script(stubborn), resume=tmp_path / "checkpoint-1", **settings)
    assert resumed.samples == whole.samples[16:]
    assert torch.equal(resumed.weights, whole.weights)


def test_a_run_that_finds_nothing_to_learn_from_stops(tiny_model, tmp_path):
    script = Script(lambda step, draw: ALIKE if step == 1 else UNEVEN)
    with pytest.raises(RunStopped) as raised:
        train(tiny_model, tmp_path, script, algorithm="nsr-prerl", max_draws=3)
    message = str(raised.value)
    assert "update 2" in message
    assert "3" in message
    assert "nsr-prerl" in message
    assert "\n" not in message
    assert [sample.draw for sample in script.samples if sample.step == 1] == [0] * 16 + [1] * 16 + [2] * 16


def test_dapo_makes_do_with_few_groups_and_stops_with_none(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: "1111 0100 0000 0000"),
        algorithm="dapo",
        max_draws=3,
        max_steps=1,
    )
    assert run.updates[0].facts["draws"] == 3
    assert run.updates[0].facts["contributing_samples"] == 12
    with pytest.raises(RunStopped, match="no rollout batch of 3"):
        train(tiny_model, tmp_path, Script(lambda *_: ALIKE), algorithm="dapo", max_draws=3)


def test_every_update_of_a_batch_has_something_to_learn_from(tiny_model, tmp_path):
    # One wrong sample cannot make two updates: drawn again.
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda step, draw: MIXED if draw else "1111 1111 0111 1111"),
        algorithm="nsr-prerl",
        steps_per_generation=4,
        gradient_accumulation_steps=2,
    )
    assert [len(update.seen) for update in run.updates] == [4, 4]
    assert all(update.gradient.norm() > 0 for update in run.updates)


def test_grpo_goes_on_where_no_group_disagrees(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, Script(lambda *_: ALIKE), algorithm="grpo")
    assert [update.facts["draws"] for update in run.updates] == [1, 1]
    assert all(update.gradient.norm() == 0 for update in run.updates)
    assert all(update.facts["contributing_samples"] == 0 for update in run.updates)
    assert all(update.facts["entropy"] == 0 for update in run.updates)


def test_prompts_of_a_further_draw():
    data = [{"prompt": f"p{number % 5}", "row": number} for number in range(20)]
    drawn = other_prompts(data, 5, 2, seed=1)
    assert [row["prompt"] for row in drawn[::2]] == [row["prompt"] for row in drawn[1::2]]
    assert sorted(row["prompt"] for row in drawn[::2]) == ["p0", "p1", "p2", "p3", "p4"]
    assert other_prompts(data, 5, 2, seed=1) == drawn
    assert other_prompts(data, 5, 2, seed=2) != drawn
    # More problems than there are prompts: some come again, and the batch is full.
    assert len(other_prompts(data, 7, 2, seed=1)) == 14
    assert {row["prompt"] for row in other_prompts(data, 7, 2, seed=1)} == {"p0", "p1", "p2", "p3", "p4"}
    drawn[0]["written"] = True
    assert "written" not in drawn[1]
    assert "written" not in data[drawn[0]["row"]]
    with pytest.raises(UserError, match="streamed"):
        other_prompts(iter(data), 5, 2, seed=1)


def test_what_a_rollout_says_of_a_sample_reaches_its_reward_in_every_draw(tiny_model, tmp_path):
    class Marking(Script):
        def __call__(self, prompts, trainer):
            found = super().__call__(prompts, trainer)
            return {**found, "mark": [sum(ids) for ids in found["completion_ids"]]}

    def marked(completion_ids, mark, **_):
        assert mark == [sum(ids) for ids in completion_ids]
        return [right(ids) for ids in completion_ids]

    run = train(tiny_model, tmp_path, Marking(stubborn), rewards=marked, algorithm="nsr-prerl")
    assert run.updates[1].facts["draws"] == 3


def test_a_sample_without_reward_is_left_out(tiny_model, tmp_path):
    def some(completion_ids, **_):
        return [None if row in (4, 12) else right(ids) for row, ids in enumerate(completion_ids)]

    run = train(tiny_model, tmp_path, rewards=some, algorithm="nsr-prerl", max_steps=1)
    batch, facts = run.batch(0), run.updates[0].facts
    # UNEVEN without rows 4 and 12, which are wrong: 7 right of 14.
    assert facts["reward"] == pytest.approx(7 / 14)
    assert facts["contributing_samples"] == 3
    unscored = {batch[4].completion, batch[12].completion}
    assert not unscored & {completion for _, completion in run.updates[0].seen}
