"""Controls of DSRL's warm-up: swapped prompts, an annealed switch, an anchor; each update by hand."""

from types import SimpleNamespace

import pytest
import torch

from prerl_train import DSRLConfig
from prerl_train.advantages import anchored
from prerl_train.schedule import anneal_coefs, warmup_scale
from tests.formulas import (
    GROUP,
    centred,
    check,
    check_run,
    check_windows,
    contributing_nsr,
    erased,
    grpo,
    nsr_prerl,
    prompted,
    token_mean,
    tokens,
    weigh,
)
from tests.training import MIXED, START, Policy, Script, error, settings, train


def swapped(batch):
    """What stands before a completion of the batch: the next problem's prompt, the first's after the last."""
    prompts = [batch[(row + GROUP) % len(batch)].prompt for row in range(len(batch))]
    return lambda sample: prompts[sample.row]


# --- Swapped prompts -----------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_swapped_warm_up_is_made_under_the_next_problems_prompt(tiny_model, tmp_path, accumulation):
    run = train(
        tiny_model,
        tmp_path,
        algorithm="dsrl",
        dsrl_warmup_space="swapped",
        dsrl_warmup_steps=2,
        max_steps=3,
        per_device_train_batch_size=16 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    for step, update in enumerate(run.updates[:2]):
        batch, policy = run.batch(step), Policy(tiny_model, update.weights)
        before, weighed = swapped(batch), contributing_nsr(batch)
        check(update, policy, 0.01 * token_mean(policy, weighed, before))
        assert sorted(update.seen) == sorted((before(sample), sample.completion) for sample, _ in weighed)
        own = policy.gradient(0.01 * token_mean(policy, weighed, prompted))
        assert error(update.gradient, own) > 0.05
    policy = Policy(tiny_model, run.updates[2].weights)
    check(run.updates[2], policy, grpo(policy, run.batch(2)))


def test_several_updates_of_a_swapped_batch_have_its_old_policy(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="dsrl",
        dsrl_warmup_space="swapped",
        dsrl_warmup_coef=1.0,
        dsrl_warmup_steps=2,
        num_iterations=2,
        learning_rate=3e-2,
    )
    left = check_windows(
        tiny_model,
        run,
        1,
        2,
        swapped(run.batch(0)),
        contributing_nsr,
        lambda batch, weighed, mine: tokens(sample for sample, _ in mine),
    )
    assert left[0] > 5


# --- Anchor --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "before", "anchor"),
    [
        ("prerl", lambda _: erased, 0.25),
        ("prerl", lambda _: erased, 1.0),
        ("rl", lambda _: prompted, 0.25),
        ("swapped", swapped, 0.25),
    ],
)
def test_an_anchor_weighs_right_samples(tiny_model, tmp_path, space, before, anchor):
    # With 1 it is PreRL: all samples of mixed groups by r - mean, a mean over their tokens.
    run = train(
        tiny_model,
        tmp_path,
        algorithm="dsrl",
        dsrl_warmup_space=space,
        dsrl_warmup_anchor=anchor,
        dsrl_warmup_steps=2,
    )

    def loss(policy, batch):
        weighed = [(s, anchor * weight if weight > 0 else weight) for s, weight in weigh(batch, centred)]
        return 0.01 * token_mean(policy, [pair for pair in weighed if pair[1]], before(batch))

    check_run(tiny_model, run, loss)
    assert {update.facts["contributing_samples"] for update in run.updates} == {8}


def test_an_anchor_weighs_signs_too(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        algorithm="dsrl",
        dsrl_warmup_anchor=0.25,
        sample_weight="constant",
        dsrl_warmup_steps=1,
        max_steps=1,
    )
    policy = Policy(tiny_model)
    mixed = [(sample, weight) for sample, weight in weigh(run.batch(0), centred) if weight]
    ones = [(sample, 0.25 if weight > 0 else -1.0) for sample, weight in mixed]
    check(run.updates[0], policy, 0.01 * token_mean(policy, ones, erased))


def test_anchored_advantages_by_hand():
    found = anchored(torch.tensor([[-0.5, 0.0, 0.5], [-1.0, 2.0, 1.0]]), 0.25)
    assert found.tolist() == [[-0.5, 0.0, 0.125], [-1.0, 0.5, 0.25]]


# --- Annealed switch -----------------------------------------------------------------------------

ANNEALED = {"algorithm": "dsrl", "dsrl_warmup_space": "anneal", "dsrl_warmup_steps": 4, "max_steps": 5}


@pytest.mark.parametrize("warmup_lr", [None, 2e-4])
def test_an_annealed_step_is_made_of_steps_of_both(tiny_model, tmp_path, warmup_lr):
    run = train(tiny_model, tmp_path, dsrl_warmup_lr=warmup_lr, **ANNEALED)
    for step, update in enumerate(run.updates):
        # Parts of a step of GRPO at 1e-3, the rest of one of NSR-PreRL at the warm-up's rate.
        of_grpo, of_nsr = step / 4 * 1e-3, (1 - step / 4) * (warmup_lr or 1e-3)
        policy, batch = Policy(tiny_model, update.weights), run.batch(step)
        loss = of_grpo * grpo(policy, batch) + of_nsr * nsr_prerl(policy, batch)
        assert update.rate == pytest.approx(of_grpo + of_nsr)
        check(update, policy, loss / update.rate)
    assert [update.facts["phase"] for update in run.updates] == ["anneal"] * 4 + ["rl"]
    assert run.updates[0].prompts == {(START,)}
    assert (START,) not in run.updates[4].prompts


def test_an_annealed_run_resumes_with_its_shares(tiny_model, tmp_path):
    saving = {"dsrl_warmup_lr": 2e-4, "save_strategy": "steps", "save_steps": 1}
    whole = train(tiny_model, tmp_path, **ANNEALED, **saving)
    for saved in (1, 3):
        resumed = train(tiny_model, tmp_path, resume=tmp_path / f"checkpoint-{saved}", **ANNEALED, **saving)
        assert torch.equal(resumed.weights, whole.weights)


def annealing(steps=4, per_batch=1, warmup_lr=0.25, learning_rate=1.0):
    return SimpleNamespace(
        dsrl_warmup_space="anneal",
        dsrl_warmup_steps=steps,
        dsrl_warmup_lr=warmup_lr,
        learning_rate=learning_rate,
        updates_per_batch=per_batch,
    )


def test_rates_and_shares_of_an_annealed_warm_up_by_hand():
    config = annealing()
    assert [warmup_scale(done, config) for done in range(6)] == [0.25, 0.4375, 0.625, 0.8125, 1.0, 1.0]
    assert anneal_coefs(0, config) == (0.0, 1.0)
    assert anneal_coefs(2, config) == (0.8, 0.2)
    config = annealing(warmup_lr=None)
    assert [warmup_scale(done, config) for done in range(5)] == [1.0] * 5
    assert [anneal_coefs(done, config) for done in range(4)] == [
        (0, 1),
        (0.25, 0.75),
        (0.5, 0.5),
        (0.75, 0.25),
    ]


def test_updates_of_one_batch_have_one_share():
    config = annealing(steps=4, per_batch=2)
    assert [warmup_scale(done, config) for done in range(5)] == [0.25, 0.25, 0.625, 0.625, 1.0]
    assert anneal_coefs(3, config) == anneal_coefs(2, config) == (0.8, 0.2)


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dsrl_warmup_anchor": -1.0}, "dsrl_warmup_anchor=-1.0: give 0 or more"),
        ({"dsrl_warmup_anchor": 1.0, "dsrl_warmup_samples": "all"}, "adds right samples to wrong ones"),
        ({"dsrl_warmup_space": "swapped", "num_generations": 16}, "the 16 rows .* num_generations=16"),
        ({"dsrl_warmup_space": "swapped", "off_policy_mask_threshold": 0.5}, "under different prompts"),
    ],
)
def test_controls_that_cannot_be_are_refused(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        DSRLConfig(**settings(tmp_path, dsrl_warmup_steps=2, **changes))


def test_one_group_is_enough_where_nothing_is_swapped(tmp_path):
    alone = {"dsrl_warmup_space": "swapped", "num_generations": 16}
    assert DSRLConfig(**settings(tmp_path, algorithm="grpo", **alone)).num_generations == 16
    assert not DSRLConfig(**settings(tmp_path, dsrl_warmup_space="swapped", dsrl_warmup_steps=2)).erases
