"""Random rewards: coins that a resumed run tosses alike, and the verdicts beside them."""

from types import SimpleNamespace

import pytest
import torch

from prerl_eval import store
from prerl_eval.problems import Problem
from prerl_train import journal
from prerl_train.random_reward import RandomReward, coin
from prerl_train.resolve import resolve
from prerl_train.train import train as train_as_told
from tests.coins import PROBLEMS, Numbered, make_coins
from tests.conftest import REPO
from tests.training import stubborn, train


def toss(reward, rows, verdicts, done=0):
    """Rewards of samples of these rows, whose true ones are `verdicts`."""
    return reward(row=rows, trainer_state=SimpleNamespace(global_step=done), verdicts=verdicts)


def make_reward(seed=0, p=0.5):
    return RandomReward(lambda verdicts, **_: verdicts, PROBLEMS, seed=seed, p=p)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_coins_are_as_likely_as_asked(p):
    coins = [coin(0, step, problem, 0, p) for step in range(200) for problem in PROBLEMS]
    # 4,800 tosses: four standard errors are below 0.03.
    assert sum(coins) / len(coins) == pytest.approx(p, abs=0.03 if 0 < p < 1 else 0)
    assert set(coins) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "coins",
    [
        [coin(seed, 1, PROBLEMS[0], 0, 0.5) for seed in range(30)],
        [coin(0, step, PROBLEMS[0], 0, 0.5) for step in range(30)],
        [coin(0, 1, problem, 0, 0.5) for problem in PROBLEMS],
        [coin(0, 1, PROBLEMS[0], sample, 0.5) for sample in range(30)],
    ],
    ids=["seed", "step", "problem", "sample"],
)
def test_every_part_of_its_name_decides_a_coin(coins):
    assert set(coins) == {0.0, 1.0}


def test_coins_go_by_the_numbers_of_stored_samples():
    # Twice asked at update 1, as when a batch is drawn again: numbers go on, and begin anew at update 2.
    reward = make_reward(seed=3)
    found = toss(reward, [5, 5, 7], [1.0, 0.0, 0.0]) + toss(reward, [7, 5], [0.0, 0.0])
    found += toss(reward, [5], [1.0], done=1)
    names = [(1, 5, 0), (1, 5, 1), (1, 7, 0), (1, 7, 1), (1, 5, 2), (2, 5, 0)]
    assert found == [coin(3, step, PROBLEMS[index], number, 0.5) for step, index, number in names]
    assert set(found) == {0.0, 1.0}


def test_the_true_reward_is_that_of_the_updates_samples_so_far():
    reward = make_reward()
    assert toss(reward, [0, 1], [None, 1.0])[0] is None
    assert reward.figures == {"true_reward": 1.0}
    toss(reward, [0, 1, 2], [0.0, 0.0, 1.0])
    assert reward.figures == {"true_reward": 0.5}
    toss(reward, [0], [None], done=1)
    assert reward.figures == {"true_reward": None}


def test_a_resumed_run_tosses_the_coins_of_the_whole_one(tiny_model, tmp_path):
    def run(**changes):
        return train(
            tiny_model, tmp_path, Numbered(stubborn), rewards=make_coins(), algorithm="dsrl",
            dsrl_warmup_steps=2, max_steps=4, save_strategy="steps", save_steps=1, **changes,
        )  # fmt: skip

    whole = run()
    for saved in (1, 3):
        resumed = run(resume=tmp_path / f"checkpoint-{saved}")
        assert torch.equal(resumed.weights, whole.weights)
        rewards = [[update.facts["reward"] for update in made.updates] for made in (resumed, whole)]
        assert rewards[0] == rewards[1][saved:]
    # An update is made on what its coins make wrong, whatever is right.
    assert [update.facts["draws"] for update in whole.updates] == [1, 1, 1, 1]
    assert whole.updates[0].facts["reward"] != sum(sample.reward for sample in whole.batch(0)) / 16


def test_stored_rows_keep_their_verdicts_and_tell_their_coins(tmp_path):
    given = {
        "model": str(REPO / "results" / "base-nano"), "data": "countdown", "engine": "transformers",
        "steps": 2, "prompts_per_step": 4, "samples_per_prompt": 8, "max_tokens": 64, "lr": 1e-3, "seed": 5,
        "workers": 1, "threads": 1, "reward": "random", "random_reward_p": 0.25, "out": tmp_path / "run",
    }  # fmt: skip
    run = train_as_told(resolve("grpo", given))
    rows = store.read_samples(run).to_pylist()
    for line in journal.read(run / "metrics.jsonl"):
        sampled = [row for row in rows if row["step"] == line["step"]]
        right = [row["status"] == "correct" for row in sampled]
        coins = [
            coin(
                5, row["step"], Problem("countdown", row["problem_id"], "", "", ""), row["sample_index"], 0.25
            )
            for row in sampled
        ]
        assert 0 < sum(right) < len(right) == 32
        assert line["true_reward"] == pytest.approx(sum(right) / 32)
        assert line["reward"] == pytest.approx(sum(coins) / 32)
        assert right != coins
