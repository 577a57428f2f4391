"""The twelve algorithms side by side, evaluation by TRL, and settings that are refused."""

import itertools

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from prerl_eval.errors import UserError
from prerl_train import DSRLConfig
from prerl_train.algorithms import NAMES
from prerl_train.ppo import PPOTrainer
from tests.training import (
    MIXED,
    PROMPTS,
    Script,
    make_trainer,
    train,
)

THINK = 3
"""Id of <think>: a start token that no prompt begins with."""


def phases(run):
    return [update.facts["phase"] for update in run.updates]


# --- Algorithms ----------------------------------------------------------------------------------


def test_twelve_algorithms_are_twelve(tiny_model, tmp_path):
    weights = {}
    for name in NAMES:
        kind = {"kind": PPOTrainer} if name == "ppo" else {}
        run = train(
            tiny_model,
            tmp_path / name,
            Script(),
            algorithm=name,
            dsrl_warmup_steps=1,
            ppo_critic_lr=1e-3,
            **kind,
        )
        weights[name] = run.weights
    assert len(weights) == 12
    for one, other in itertools.combinations(weights, 2):
        assert (weights[one] - weights[other]).abs().max() > 1e-5, (one, other)


def test_grpo_and_dapo_agree_where_no_group_does(tiny_model, tmp_path):
    runs = [
        train(tiny_model, tmp_path, Script(lambda *_: MIXED), algorithm=name, max_steps=1).weights
        for name in ("grpo", "dapo")
    ]
    assert torch.equal(*runs)


# --- Evaluation by TRL ---------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo"])
def test_an_evaluation_is_trls_own(tiny_model, tmp_path, loss):
    settings = {
        "loss_type": loss,
        "eval_prompts": PROMPTS[:4],
        "per_device_eval_batch_size": 8,
        "num_generations_eval": 4,
        "eval_strategy": "steps",
        "eval_steps": 1,
    }
    stock = make_trainer(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        kind=GRPOTrainer,
        config=GRPOConfig,
        beta=0.0,
        **settings,
    )
    ours = make_trainer(
        tiny_model, tmp_path, Script(lambda *_: MIXED), algorithm="dsrl", dsrl_warmup_steps=1, **settings
    )
    timed = ("runtime", "per_second", "_time")

    def measured(trainer):
        found = trainer.evaluate()
        logged = {**trainer.state.log_history[-1], **found}
        return {key: value for key, value in logged.items() if not key.endswith(timed)}

    mine, theirs = measured(ours), measured(stock)
    assert mine.keys() == theirs.keys()
    assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-7)
    # Ratios are 1, and a mean of sequence means is the mean advantage, which is 0.
    assert (abs(mine["eval_loss"]) > 1e-3) == (loss != "grpo")
    assert ours.update_facts == {}


def test_training_goes_on_as_if_nothing_had_been_evaluated(tiny_model, tmp_path):
    settings = {"algorithm": "dsrl", "dsrl_warmup_steps": 2, "max_steps": 4}
    evaluation = {"eval_prompts": PROMPTS[:4], "per_device_eval_batch_size": 16, "eval_strategy": "steps"}

    plain = train(tiny_model, tmp_path, **settings)
    between = train(tiny_model, tmp_path, eval_steps=1, **evaluation, **settings)
    assert torch.equal(plain.weights, between.weights)
    for one, other in zip(plain.updates, between.updates, strict=True):
        for key in one.facts.keys() - {"seconds", "tokens_per_second"}:
            assert one.facts[key] == other.facts[key]
    # The last evaluation came after the last update, and its rewards took no time of an update.
    assert between.trainer.facts.seconds == {"sampling": 0.0, "reward": 0.0}


# --- The constructor -----------------------------------------------------------------------------


def test_a_plain_config_is_refused(tiny_model, tmp_path):
    with pytest.raises(ValueError, match="DSRLConfig"):
        make_trainer(tiny_model, tmp_path, Script(), config=GRPOConfig)


def test_a_model_without_start_token_is_refused_only_where_one_is_needed(tiny_model, tmp_path):
    with pytest.raises(UserError, match="--start-token nothing"):
        make_trainer(tiny_model, tmp_path, Script(), algorithm="nsr-prerl", start_token="nothing")
    make_trainer(tiny_model, tmp_path, Script(), algorithm="grpo", start_token="nothing")


def test_a_warm_up_longer_than_the_epochs_is_refused(tiny_model, tmp_path):
    # 24 prompts, 4 for each update: 6 updates an epoch.
    with pytest.raises(ValueError, match="dsrl_warmup_steps=7 is longer than the run of 6"):
        train(tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=7, max_steps=-1, num_train_epochs=1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"algorithm": "sft"}, "algorithm='sft'"),
        ({"dsrl_warmup_space": "x"}, "dsrl_warmup_space='x'"),
        ({"loss_type": "bnpo"}, "loss_type='bnpo'"),
        ({"algorithm": "grpo", "num_generations": 1}, "num_generations=1"),
        ({"dsrl_warmup_steps": 3, "num_iterations": 2}, "give a multiple of 2"),
        ({"dsrl_warmup_steps": 5, "max_steps": 4}, "longer than the run"),
        ({"dsrl_warmup_steps": -1}, "dsrl_warmup_steps=-1"),
        ({"steps_per_generation": 2}, "would mix two rollout batches"),
        ({"steps_per_generation": 6}, "would mix two rollout batches"),
        ({"algorithm": "nsr-prerl", "beta": 0.1}, "beta=0.1: nsr-prerl"),
        ({"algorithm": "grpo", "beta": 0.1, "loss_type": "grpo"}, "beta=0.1: a mean of sequence means"),
        ({"algorithm": "grpo", "sample_weight": "constant"}, "sample_weight='constant'"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation"),
        ({"dsrl_warmup_lr": 1e-3, "learning_rate": 0.0}, "learning_rate=0"),
        ({"max_draws": 0}, "max_draws=0"),
        ({"entropy_coef": 0.01}, "TRL takes them per"),
        ({"top_entropy_quantile": 0.2}, "TRL takes them per"),
        ({"num_iterations": 2, "save_strategy": "steps", "save_steps": 3}, "save_steps=3"),
        (
            {"num_iterations": 2, "save_strategy": "steps", "save_steps": 0.3, "max_steps": 10},
            "save_steps=0.3",
        ),
    ],
)
def test_settings_that_make_no_run_are_refused(tmp_path, settings, said):
    plain = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
    plain |= {"gradient_accumulation_steps": 4, "save_strategy": "no", "dsrl_warmup_steps": 2}
    DSRLConfig(**plain)
    with pytest.raises(ValueError, match=said.replace("(", r"\(")) as raised:
        DSRLConfig(**{**plain, **settings})
    assert "\n" not in str(raised.value)


def test_groups_of_one_need_no_even_batch(tmp_path):
    plain = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
    for rows, steps in ((3, 1), (1, 5), (7, 3)):
        config = DSRLConfig(
            **plain,
            algorithm="reinforce-pp",
            num_generations=1,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=steps,
            eval_strategy="steps",
            eval_steps=1,
            per_device_eval_batch_size=5,
        )
        assert config.num_generations == config.num_generations_eval == 1
        assert config.generation_batch_size == rows * steps
