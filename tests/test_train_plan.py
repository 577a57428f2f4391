"""What is refused before weights are loaded and before anything is written; where a run may go on."""

import json
from dataclasses import replace

import pytest

from prerl_eval.errors import UserError
from prerl_eval.run_record import read_record, write_record
from prerl_train.arguments import Machine, forward_rows, trainer_config
from prerl_train.folder import check_folder, run_record
from prerl_train.resolve import resolve
from prerl_train.train_plan import erases, find_engine, find_machine, plan_training
from tests.tiny import save_model, tiny_adapter  # noqa: F401


@pytest.fixture
def problems(tmp_path):
    file = tmp_path / "problems.jsonl"
    lines = [{"problem": f"make {n} from 1 2", "answer": str(n)} for n in range(8)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture
def settings(tiny_model, problems, tmp_path):
    def of(algorithm="dsrl", **given):
        tiny = {"steps": 4, "prompts_per_step": 2, "samples_per_prompt": 4, "max_tokens": 8}
        if algorithm == "dsrl":
            tiny["warmup_steps"] = 2
        place = {"model": str(tiny_model), "data": str(problems), "out": tmp_path / "run"}
        return resolve(algorithm, place | tiny | given)

    return of


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "nowhere"}, "no checkpoint at nowhere"),
        ({"data": "aime24"}, "aime24 has no train_split"),
        ({"data": "gone.jsonl"}, "no data file at gone.jsonl"),
        ({"eval_bench": ("aime42",)}, "unknown benchmark 'aime42'"),
        ({"start_token": "<begin>"}, "--start-token <begin> is no token of this vocabulary"),
        ({"start_token": "900"}, "--start-token 900 is outside the vocabulary"),
        ({"prompts_per_step": 9}, "8 problems are fewer than --prompts-per-step 9"),
        ({"max_tokens": 512}, "--max-tokens 512 leaves no room for a prompt"),
        ({"max_prompt_tokens": 2}, "none to train on"),
        ({"thinking": True}, "--thinking needs a chat template"),
        ({"template": "chat"}, "has no chat template"),
        ({"micro_batch": 3}, "--micro-batch 3 does not divide the 8 rows of one update"),
    ],
)
def test_bad_input_is_refused_with_nothing_written(settings, tmp_path, given, says):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        plan_training(settings(**given))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_data_without_answers_are_refused(settings, problems):
    problems.write_text('{"problem": "make 3"}\n')
    with pytest.raises(UserError, match="no column 'answer'"):
        plan_training(settings())
    problems.write_text('{"problem": "make 3", "answer": ""}\n')
    with pytest.raises(UserError, match="none to train on"):
        plan_training(settings())


def test_a_model_without_start_token_trains_in_p_of_y_only_with_one_named(settings, tmp_path):
    model = save_model(tmp_path / "startless")
    for name, key in (("tokenizer_config.json", "bos_token"), ("config.json", "bos_token_id")):
        content = json.loads((model / name).read_text())
        del content[key]
        (model / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match="has no start token to stand before y in P"):
        plan_training(settings(model=str(model)))
    assert plan_training(settings(model=str(model), start_token="<s>")).done == 0
    assert plan_training(settings("grpo", model=str(model))).done == 0


def test_only_updates_in_p_of_y_need_a_start_token(settings):
    assert erases(settings("prerl"))
    assert erases(settings("dsrl"))
    assert erases(settings("dsrl", warmup_space="joint"))
    assert erases(settings("dsrl", warmup_space="anneal"))
    assert not erases(settings("dsrl", warmup_space="rl"))
    assert not erases(settings("dsrl", warmup_space="swapped"))
    assert not erases(settings("dsrl", warmup_steps=0))
    assert not erases(settings("nsr-rl"))


def test_an_adapter_has_no_reference_of_its_own(settings, tiny_adapter):  # noqa: F811
    with pytest.raises(UserError, match="is an adapter, and the reference would be its base model"):
        plan_training(settings("grpo", model=str(tiny_adapter), kl_coef=0.1))
    assert plan_training(settings("grpo", model=str(tiny_adapter))).checkpoint.base


def test_sharded_weights_need_vllm_and_ppo_takes_none(settings, monkeypatch):
    sharded = Machine(processes=2, device="cuda", is_sharded=True)
    with pytest.raises(UserError, match="--engine transformers cannot sample from weights that are split"):
        find_engine(settings(engine="transformers"), sharded)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="ppo keeps a whole critic on each process"):
        plan_training(settings("ppo"))
    with pytest.raises(UserError, match="--lora-rank 4: adapters of weights that are split"):
        plan_training(settings("grpo", lora_rank=4))


def test_the_launcher_says_how_many_processes_there_are(settings, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    assert (find_machine().processes, find_machine().is_main) == (4, False)
    with pytest.raises(UserError, match="--prompts-per-step 2 does not split over 4 processes"):
        plan_training(settings())


def started(plan):
    """The plan's folder as a run that has just begun leaves it."""
    write_record(plan.folder.path, run_record(plan, {"name": "transformers"}))
    return plan


def test_a_run_goes_on_in_its_folder_with_other_means_and_more_updates(settings):
    started(plan_training(settings()))
    for change in (
        {"micro_batch": 2},
        {"workers": 1, "threads": 2},
        {"save_every": 2, "keep": 1},
        {"gradient_checkpointing": True},
        {"steps": 8},
    ):
        assert check_folder(plan_training(settings(**change)).folder)


def test_a_run_from_before_an_option_was_there_has_its_default(settings):
    plan = started(plan_training(settings()))
    record = read_record(plan.folder.path)
    del record["settings"]["reward"], record["settings"]["warmup_anchor"]
    write_record(plan.folder.path, record)
    assert check_folder(plan_training(settings()).folder)
    with pytest.raises(UserError, match=r"other settings \(reward: 'verifiable' -> 'random'\)"):
        plan_training(settings(reward="random"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 0.5}, "other settings (lr: 1e-06 -> 0.5)"),
        ({"seed": 1}, "other settings (seed: 0 -> 1)"),
        ({"warmup_steps": 1}, "other settings (warmup_steps: 2 -> 1)"),
        ({"limit": 7}, "limit: None -> 7"),
        ({"steps": 3}, "--steps 3: "),
    ],
)
def test_another_run_in_the_folder_is_refused(settings, change, says):
    started(plan_training(settings()))
    with pytest.raises(UserError) as caught:
        plan_training(settings(**change))
    assert says in str(caught.value)


def test_more_updates_are_another_run_where_the_learning_rate_falls(settings):
    started(plan_training(settings(lr_schedule="cosine")))
    with pytest.raises(UserError, match="steps: 4 -> 8"):
        plan_training(settings(lr_schedule="cosine", steps=8))


def test_changed_data_and_changed_weights_are_refused(settings, problems, tmp_path):
    started(plan_training(settings(out=tmp_path / "a")))
    other = save_model(tmp_path / "other", seed=7)
    with pytest.raises(UserError, match="checkpoint: "):
        plan_training(settings(out=tmp_path / "a", model=str(other)))
    problems.write_text(problems.read_text().replace("make 3 from", "reach 3 from"))
    with pytest.raises(UserError, match="data_hash: "):
        plan_training(settings(out=tmp_path / "a"))


def test_the_folder_of_something_else_is_refused(settings, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="holds files but no run"):
        plan_training(settings())
    (run / "thesis.tex").unlink()
    write_record(run, {"schema": 1, "run_id": "r", "settings": {}, "benchmarks": {}})
    with pytest.raises(UserError, match="is a run of prerl-eval, not of training"):
        plan_training(settings())
    with pytest.raises(UserError, match=r"(?i)cannot write a run in .* name too long"):
        plan_training(settings(out=tmp_path / ("x" * 300)))


def test_without_out_the_folder_is_named_by_what_is_learnt(settings):
    def name(**given):
        return plan_training(replace(settings(**given), out=None)).folder.path.as_posix()

    assert name().startswith("runs/dsrl-tiny-a-")
    assert name() == name(micro_batch=1) == name(steps=8)
    assert len({name(), name(seed=1), name(lr=0.5), name(lr_schedule="linear")}) == 4


def test_rows_of_a_forward_pass_follow_tokens_and_divide_the_update(settings):
    wide = replace(settings("grpo"), prompts_per_step=32, samples_per_prompt=8, max_tokens=96)
    assert forward_rows(wide, Machine(), 20) == 64
    assert forward_rows(replace(wide, minibatches=8), Machine(), 20) == 32
    assert forward_rows(replace(wide, micro_batch=2), Machine(), 20) == 2
    long = replace(wide, max_tokens=8192)
    assert forward_rows(long, Machine(8, "cuda"), 1024) == 1
    assert forward_rows(replace(long, gradient_checkpointing=True), Machine(8, "cuda"), 1024) == 2


def test_trl_gets_what_the_settings_say(settings, tmp_path):
    given = {"minibatches": 2, "epochs_per_batch": 2, "steps": 8, "warmup_steps": 4, "warmup_lr": 0.25}
    chosen = settings(**given, micro_batch=2, lr_warmup_steps=3, grad_clip=0.0, dual_clip=0.0, save_every=4)
    config = trainer_config(chosen, tmp_path / "run", Machine(), "transformers", 9, 99)
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (2, 2)
    assert (config.steps_per_generation, config.num_iterations, config.updates_per_batch) == (4, 2, 4)
    assert config.generation_batch_size == 8
    assert (config.lr_scheduler_type, config.warmup_steps) == ("constant_with_warmup", 3)
    assert (config.max_grad_norm, config.delta) == (float("inf"), None)
    assert (config.dsrl_warmup_steps, config.dsrl_warmup_lr, config.save_steps) == (4, 0.25, 4)
    assert (config.use_cpu, config.bf16, config.shuffle_dataset) == (True, False, False)
    assert config.overlong_buffer == 0
    shaped = trainer_config(settings("dapo", max_tokens=50), tmp_path, Machine(), "transformers", 9, 99)
    assert (shaped.overlong_buffer, shaped.epsilon_high) == (10, 0.28)
    grpo = trainer_config(settings("dr-grpo"), tmp_path, Machine(), "transformers", 9, 99)
    assert (grpo.loss_type, grpo.dsrl_warmup_steps) == ("dr_grpo", 0)
