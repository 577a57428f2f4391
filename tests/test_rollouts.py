"""Rollouts and evaluations from a model in training: what they depend on, and what they leave behind."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from prerl_eval import store
from prerl_eval.checkpoint import Checkpoint, open_checkpoint
from prerl_eval.engines.base import Sampling
from prerl_eval.engines.transformers import TransformersEngine
from prerl_eval.errors import UserError
from prerl_eval.grading import GradingPool
from prerl_eval.plan import request_seed
from prerl_eval.run import execute
from prerl_eval.summary import summarize
from prerl_train.live import LiveEngine, live_checkpoint
from prerl_train.rollouts import EngineRollouts, ready_to_sample
from tests import live_training as live
from tests.conftest import REPO
from tests.servers import free_port
from tests.tiny import collect, make_requests

SAMPLED = Sampling(stop_token_ids=(live.EOS,))
PROMPTS = [f"<s> make {number} from 1 2 3" for number in range(4) for _ in range(3)]


@pytest.fixture(scope="module", autouse=True)
def silent():
    """TRL warns that rollout functions may change; its version is pinned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        yield


def stub(folder, *, step=0, draw=0, process=0, config=None, model=None):
    """What EngineRollouts reads of a trainer, around a real model."""
    model = model or AutoModelForCausalLM.from_pretrained(folder)
    if config:
        model.generation_config = config
    model.train()
    accelerator = SimpleNamespace(
        process_index=process,
        num_processes=2,
        distributed_type=DistributedType.NO,
        state=SimpleNamespace(deepspeed_plugin=None),
        unwrap_model=lambda model: model,
    )
    state = SimpleNamespace(global_step=step)
    return SimpleNamespace(model=model, accelerator=accelerator, state=state, draw=draw)


@pytest.fixture
def rollouts(tiny_model):
    def make(sampling=SAMPLED, max_tokens=20, seed=3, **options):
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        return EngineRollouts(tokenizer, sampling, max_tokens, seed, **options)

    return make


def test_a_rollout_depends_on_weights_seed_step_draw_and_row(tiny_model, other_model, rollouts):
    first = rollouts()(PROMPTS, stub(tiny_model))
    assert set(first) == {"prompt_ids", "completion_ids", "logprobs", "seed", "seconds"}
    assert first["logprobs"] is None
    assert first["prompt_ids"][3] == rollouts()._tokenizer(PROMPTS[3], add_special_tokens=False).input_ids
    assert first["seed"] == [request_seed(3, "rollout", "1/0", row) for row in range(12)]
    # Rows of one prompt differ, and the batch size changes nothing.
    assert len({tuple(ids) for ids in first["completion_ids"]}) == 12
    again = rollouts(batch_size=5)(PROMPTS, stub(tiny_model))
    assert again["completion_ids"] == first["completion_ids"]
    for changed in (
        rollouts(seed=4)(PROMPTS, stub(tiny_model)),
        rollouts()(PROMPTS, stub(tiny_model, step=1)),
        rollouts()(PROMPTS, stub(tiny_model, draw=1)),
        rollouts()(PROMPTS, stub(other_model)),
    ):
        same = [a == b for a, b in zip(changed["completion_ids"], first["completion_ids"], strict=True)]
        assert sum(same) <= 1


def test_a_process_samples_its_share_of_the_rows(tiny_model, rollouts):
    whole = rollouts()(PROMPTS, stub(tiny_model))
    second = rollouts()(PROMPTS[6:], stub(tiny_model, process=1))
    assert second["seed"] == whole["seed"][6:]
    assert second["completion_ids"] == whole["completion_ids"][6:]


def test_completions_end_at_any_stop_id_or_the_limit(tiny_model, rollouts):
    free = rollouts(Sampling(), 20)(PROMPTS, stub(tiny_model))["completion_ids"]
    stops = {free[0][4], free[1][7]}
    ended = rollouts(Sampling(stop_token_ids=tuple(stops)), 20)(PROMPTS, stub(tiny_model))["completion_ids"]
    for long, short in zip(free, ended, strict=True):
        end = next((place + 1 for place, token in enumerate(long) if token in stops), 20)
        assert short == long[:end]
    assert len(ended[0]) <= 5


def test_sampling_reads_no_generation_config_and_leaves_the_model_as_it_was(tiny_model, rollouts):
    poison = GenerationConfig(
        do_sample=True, top_k=1, temperature=0.01, repetition_penalty=5.0, max_new_tokens=3, eos_token_id=9
    )
    trainer = stub(tiny_model, config=poison)
    found = rollouts()(PROMPTS, trainer)
    assert found["completion_ids"] == rollouts()(PROMPTS, stub(tiny_model))["completion_ids"]
    assert trainer.model.generation_config is poison
    assert trainer.model.training

    def fail_inside():
        with ready_to_sample(trainer) as model:
            raise KeyError(model.training)

    with pytest.raises(KeyError, match="False"):
        fail_inside()
    assert trainer.model.generation_config is poison
    assert trainer.model.training
    trainer.model.eval()
    rollouts()(PROMPTS[:1], trainer)
    assert not trainer.model.training


def test_checkpointing_of_activations_costs_no_cache(tiny_model, rollouts):
    """With it on, a model in training mode has no key-value cache: it reads the whole text for each token."""
    trainer = stub(tiny_model)
    trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
    trainer.model.enable_input_require_grads()
    trainer.model.config.use_cache = False
    read = []
    trainer.model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: read.append(inputs[0].shape[1])
    )
    found = rollouts()(PROMPTS, trainer)
    assert found["completion_ids"] == rollouts()(PROMPTS, stub(tiny_model))["completion_ids"]
    # The prompts once, then a token at a time; finished rows leave between stretches of 8.
    assert read[0] == 7
    assert set(read[1:]) == {1}
    assert trainer.model.is_gradient_checkpointing
    # What was sampled under inference mode must not keep the next update from its gradients.
    trainer.model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert trainer.model.lm_head.weight.grad.abs().sum() > 0


def test_an_adapter_samples_as_the_model_that_it_makes(tiny_model, tiny_adapter, rollouts):
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter, is_trainable=True
    )
    below = adapted.get_base_model()
    config = below.generation_config = GenerationConfig(top_k=1, do_sample=True)
    found = rollouts()(PROMPTS, stub(tiny_model, model=adapted))
    assert below.generation_config is config
    assert adapted.training
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter)
    expected = rollouts()(PROMPTS, stub(tiny_model, model=merged.merge_and_unload()))
    assert found["completion_ids"] == expected["completion_ids"]
    assert found["completion_ids"] != rollouts()(PROMPTS, stub(tiny_model))["completion_ids"]


@pytest.mark.parametrize(
    "split",
    [
        {"distributed_type": DistributedType.FSDP},
        {"state": SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3))},
    ],
)
def test_weights_split_over_processes_are_refused(tiny_model, rollouts, split):
    trainer = stub(tiny_model)
    vars(trainer.accelerator).update(split)
    with pytest.raises(UserError, match=r"split over processes .* give --engine vllm"):
        rollouts()(PROMPTS, trainer)
    trainer.accelerator.num_processes = 1
    assert len(rollouts()(PROMPTS, trainer)["completion_ids"]) == 12


def test_a_live_engine_gives_the_rows_of_the_saved_policy(tiny_model, tmp_path):
    """In the middle of training, as `prerl-eval run` on the checkpoint would: the same ids and texts."""
    trainer, _ = live.make_trainer(tiny_model, tmp_path, steps=1)
    trainer.train()
    trainer.model.train()
    engine = LiveEngine(trainer, batch_size=8)
    engine.load(open_checkpoint(str(tiny_model)))
    requests = make_requests(problems=3, n=5, max_tokens=30)
    done = {requests[0].key, *(request.key for request in requests[8:])}
    found = collect(engine, requests, SAMPLED, done)
    assert trainer.model.training
    engine.close()
    assert engine.describe()["batch_size"] == 8
    trainer.model.save_pretrained(tmp_path / "policy")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "policy")
    saved = TransformersEngine(batch_size=8)
    saved.load(Checkpoint("policy", "policy", tmp_path / "policy"))
    expected = collect(saved, requests, SAMPLED, done)
    assert set(found) == set(expected) == {request.key for request in requests[1:8]}
    for key, completion in expected.items():
        assert (found[key].token_ids, found[key].text) == (completion.token_ids, completion.text)
        assert found[key].finish_reason == completion.finish_reason
    before = TransformersEngine(batch_size=8)
    before.load(open_checkpoint(str(tiny_model)))
    assert found[requests[1].key].token_ids != collect(before, requests, SAMPLED)[requests[1].key].token_ids


def test_after_a_turn_that_failed_nobody_is_told_to_go_on(tiny_model, tmp_path, monkeypatch):
    """The others are still in the turn: a word to them would be taken for its answer."""
    told = []
    monkeypatch.setattr("prerl_train.live.broadcast_object_list", lambda work: told.append(work) or work)
    trainer, _ = live.make_trainer(tiny_model, tmp_path, steps=1)
    engine = LiveEngine(trainer, batch_size=4)
    collect(engine, make_requests(1, 4), SAMPLED)
    engine.release()
    assert [work is None for (work,) in told] == [False, True]
    monkeypatch.setattr(engine, "complete", lambda batch, sampling: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        collect(engine, make_requests(1, 4), SAMPLED)
    engine.release()
    assert [work is None for (work,) in told] == [False, True, False]


def test_a_live_checkpoint_is_known_by_run_and_step(tiny_model):
    start = open_checkpoint(str(tiny_model))
    policy = live_checkpoint(start, "dsrl-7", 20)
    assert (policy.name, policy.fingerprint) == ("dsrl-7-step-20", "live:dsrl-7/step-20")
    assert policy.tokenizer_path == start.tokenizer_path
    assert policy.context_length == start.context_length
    assert policy.describe()["fingerprint"] != start.describe()["fingerprint"]


def test_an_evaluation_of_another_step_does_not_continue_this_one(tiny_model, tmp_path):
    trainer, _ = live.make_trainer(tiny_model, tmp_path, steps=1)
    with GradingPool(1) as pool:
        execute(live.evaluation_plan(tiny_model, tmp_path / "eval", 1), LiveEngine(trainer), pool)
        with pytest.raises(UserError, match="made with other settings"):
            execute(live.evaluation_plan(tiny_model, tmp_path / "eval", 2), LiveEngine(trainer), pool)


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """Two updates with an evaluation between them, by one process and by two: the folders that are left."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    common = {**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1", "OMP_NUM_THREADS": "1"}
    shared = {**common, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.live_training", str(tiny_model), str(folder)],
            env=environment,
            cwd=REPO,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder, environment in (
            (folders[0], common),
            *((folders[1], {**shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"),
        )
    ]
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]
    return folders


def rows_of(run):
    key = ("benchmark", "problem_id", "sample_index", "step")
    return {tuple(row[name] for name in key): row for row in store.read_samples(run).to_pylist()}


def test_training_stores_every_rollout_of_every_step(trained):
    rows = rows_of(trained[0] / "run")
    assert len(rows) == 2 * live.ROWS
    for step in (1, 2):
        at_step = [key for key in rows if key[3] == step]
        assert len({key[1] for key in at_step}) == live.ROWS // live.GROUP
        assert {key[2] for key in at_step} == set(range(live.GROUP))
    seeds = [row["seed"] for row in rows.values() if row["step"] == 2]
    assert seeds == [request_seed(live.SEED, "rollout", "2/0", row) for row in range(live.ROWS)]
    assert all(row["seconds"] > 0 for row in rows.values())
    windows = summarize(trained[0] / "run")["training"]["countdown"]["windows"]
    assert [(window["steps"], window["samples"]) for window in windows] == [([1, 1], 16), ([2, 2], 16)]


def test_two_processes_store_what_one_does(trained):
    """Of step 1, sampled by equal weights; the gradients of step 2 differ in their last bits."""
    one, two = rows_of(trained[0] / "run"), rows_of(trained[1] / "run")
    assert one.keys() == two.keys()
    for key, row in one.items():
        assert two[key]["seed"] == row["seed"]
        if row["step"] == 1:
            assert {**two[key], "seconds": 0} == {**row, "seconds": 0}
    same = sum(one[key]["token_ids"] == two[key]["token_ids"] for key in one)
    assert same >= len(one) - 2


def test_two_processes_evaluate_what_one_does_and_the_saved_policy_confirms_it(trained, tiny_model):
    one, two = rows_of(trained[0] / "eval"), rows_of(trained[1] / "eval")
    assert one.keys() == two.keys()
    assert len(one) == 15
    assert sum(one[key]["token_ids"] == two[key]["token_ids"] for key in one) >= 14
    numbers = summarize(trained[1] / "eval")["benchmarks"]["countdown"]
    assert (numbers["complete"], numbers["samples"], numbers["problems"]) == (True, 15, 5)
    saved = TransformersEngine(batch_size=4)
    saved.load(Checkpoint("policy-1", "policy-1", trained[0] / "policy-1"))
    plan = live.evaluation_plan(tiny_model, trained[0] / "eval", step=1)
    expected = collect(saved, plan.benchmarks[0].requests(live.SEED), plan.sampling)
    assert {(*key, 0): list(found.token_ids) for key, found in expected.items()} == {
        key: row["token_ids"] for key, row in one.items()
    }
