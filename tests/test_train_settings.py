"""Settings of a training run: what wins over what, and what is refused in one line."""

import dataclasses
import typing

import pytest

from prerl_eval.errors import UserError
from prerl_train import algorithms
from prerl_train.catalogue import ALGORITHMS, SPECIFIC, users_of
from prerl_train.checks import check_processes
from prerl_train.resolve import read_recipe, resolve, shipped_recipes
from prerl_train.settings import FREE, OPTIONS, TrainSettings, value_type

GIVEN = {"model": "org/model", "data": "countdown"}


def refused(algorithm="grpo", **given):
    with pytest.raises(UserError) as caught:
        resolve(algorithm, GIVEN | given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def recipe(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return str(file)


def test_flags_win_over_recipe_over_algorithm_over_option(tmp_path):
    file = recipe(tmp_path, "clip_high = 0.5\nlr = 1\n[dapo]\nlr = 0.25\n[grpo]\nlr = 0.125")
    assert resolve("grpo", GIVEN).clip_high == 0.2
    assert resolve("dapo", GIVEN).clip_high == 0.28
    assert resolve("dapo", GIVEN | {"recipe": file}).clip_high == 0.5
    assert resolve("dapo", GIVEN | {"recipe": file, "clip_high": 0.75}).clip_high == 0.75
    assert resolve("dapo", GIVEN | {"recipe": file}).lr == 0.25
    assert resolve("rloo", GIVEN | {"recipe": file}).lr == 1.0


def test_zero_and_false_on_the_command_line_are_given(tmp_path):
    file = recipe(tmp_path, "weight_decay = 0.5\nvllm_correction = true")
    settings = resolve("grpo", GIVEN | {"recipe": file, "weight_decay": 0.0, "vllm_correction": False})
    assert (settings.weight_decay, settings.vllm_correction) == (0.0, False)


def test_the_catalogue_names_the_algorithms_and_real_options():
    assert {name: algorithm.title for name, algorithm in ALGORITHMS.items()} == algorithms.NAMES
    names = {field.name for field in dataclasses.fields(TrainSettings)}
    assert names >= SPECIFIC
    assert names >= FREE
    for algorithm in ALGORITHMS.values():
        assert set(algorithm.defaults) <= names


def test_an_option_belongs_to_the_algorithms_that_read_it():
    assert users_of("warmup_steps") == ["dsrl"]
    assert users_of("start_token") == ["prerl", "nsr-prerl", "psr-prerl", "dsrl"]
    assert "prerl" not in users_of("kl_coef")
    assert users_of("gamma") == ["ppo"]
    assert users_of("overlong_buffer") == ["dapo"]
    assert users_of("lr") == list(ALGORITHMS)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_every_option_has_help_and_a_default_of_its_type(name):
    spec = OPTIONS[name]
    assert spec["help"].endswith(".")
    kind = value_type(name)
    if spec["default"] is None or typing.get_origin(kind) is tuple:
        return
    if typing.get_origin(kind) is not None:
        assert spec["default"] in typing.get_args(kind)
    else:
        assert type(spec["default"]) is kind


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_shipped_recipe_suits_every_algorithm(name, algorithm):
    assert resolve(algorithm, {"recipe": name}).steps > 0


def test_the_papers_recipe_is_the_papers_run():
    settings = resolve("dsrl", {"recipe": "qwen3-4b"})
    assert (settings.model, settings.data) == ("Qwen/Qwen3-4B", "math-train")
    assert (settings.prompts_per_step, settings.samples_per_prompt) == (128, 8)
    assert (settings.max_tokens, settings.max_prompt_tokens) == (8192, 1024)
    assert (settings.lr, settings.lr_schedule, settings.warmup_steps) == (1e-6, "constant", 20)
    assert (settings.adam_beta1, settings.adam_beta2, settings.weight_decay) == (0.9, 0.999, 0.01)
    assert (settings.clip_low, settings.clip_high, settings.dual_clip) == (0.2, 0.2, 10.0)
    assert (settings.temperature, settings.top_p, settings.thinking) == (1.0, 1.0, False)
    assert settings.steps == 6 * (7500 // 128)


def test_nano_learns_at_the_rates_of_each_method():
    rates = {name: read_recipe("nano", name)["lr"] for name in ("grpo", "psr-rl", "nsr-rl", "nsr-prerl")}
    assert rates == {"grpo": 8e-4, "psr-rl": 8e-4, "nsr-rl": 2.4e-4, "nsr-prerl": 6e-5}
    assert read_recipe("nano", "dsrl")["warmup_lr"] == 3e-5


def test_the_shipped_base_is_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("grpo", {"recipe": "nano"}).model.endswith("results/base-nano")
    monkeypatch.setattr("prerl_train.resolve.__file__", str(tmp_path / "site" / "prerl_train" / "resolve.py"))
    with pytest.raises(UserError, match="prerl-train base --out results/base-nano"):
        resolve("grpo", {"recipe": "nano"})
    assert resolve("grpo", {"recipe": "nano", "model": "org/other"}).model == "org/other"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps = 4\nsteps = 5", "is not TOML"),
        ("stepz = 4", "unknown key 'stepz' (did you mean 'steps'?); allowed: model"),
        ('out = "x"', "unknown key 'out'"),
        ("steps = 4.5", "steps = 4.5 should be a whole number"),
        ("steps = true", "steps = True should be a whole number"),
        ('lr = "fast"', "lr = 'fast' should be a number"),
        ('thinking = "no"', "thinking = 'no' should be true or false"),
        ('eval_bench = "aime24"', "eval_bench = 'aime24' should be a list of strings"),
        ('engine = "sglang"', "engine = 'sglang' should be one of: auto, transformers, vllm"),
        ("warmup_steps = 4", "warmup_steps means nothing to grpo"),
        ("[grpoo]\nlr = 1", "unknown table [grpoo] (did you mean 'grpo'?)"),
        ("[ppo]\nwarmup_steps = 4", "warmup_steps means nothing to ppo"),
        ("[ppo]\nlr = true", "lr = True should be a number"),
    ],
)
def test_a_bad_recipe_is_named_with_its_key(tmp_path, text, says):
    file = recipe(tmp_path, text)
    message = refused(recipe=file)
    assert message.startswith(file)
    assert says in message


@pytest.mark.parametrize(
    ("algorithm", "given", "says"),
    [
        ("grpo", {"model": None}, "--model is missing"),
        ("grpo", {"data": None}, "--data is missing"),
        ("grpo", {"recipe": "mini"}, "--recipe mini is neither a TOML file nor one of: nano, qwen3-4b"),
        ("grpo", {"steps": 0}, "--steps 0 is too small; give 1 or more"),
        ("grpo", {"prompts_per_step": -1}, "--prompts-per-step -1 is too small"),
        ("grpo", {"lr": 0.0}, "--lr 0.0 is too small; give more than 0"),
        ("grpo", {"lr": float("nan")}, "--lr nan is no number"),
        ("grpo", {"top_p": 1.5}, "--top-p 1.5 is too large; give 1 or less"),
        ("grpo", {"temperature": 0.0}, "--temperature 0.0 is too small"),
        (
            "grpo",
            {"loss_aggregation": "median"},
            "--loss-aggregation median is unknown; give one of: token-mean",
        ),
        ("grpo", {"warmup_steps": 5}, "--warmup-steps means nothing to grpo, leave it out; it is for dsrl"),
        (
            "ppo",
            {"prompts_per_step": 1, "samples_per_prompt": 1},
            "--prompts-per-step 1 --samples-per-prompt 1",
        ),
        ("grpo", {"samples_per_prompt": 1}, "--samples-per-prompt 1: grpo compares the samples of a problem"),
        ("dsrl", {"warmup_steps": 9, "steps": 8}, "--warmup-steps 9 is longer than the run of --steps 8"),
        ("dsrl", {"warmup_steps": 3, "minibatches": 2}, "--warmup-steps 3: 2 updates are made from each"),
        ("grpo", {"steps": 9, "epochs_per_batch": 2}, "--steps 9: 2 updates are made from each"),
        ("grpo", {"save_every": 5, "minibatches": 2}, "--save-every 5: 2 updates are made from each"),
        ("ppo", {"critic_warmup": 300}, "--critic-warmup 300 leaves the policy no update of --steps 300"),
        ("grpo", {"minibatches": 3}, "--minibatches 3 does not divide the 1024 rows"),
        ("grpo", {"lr_warmup_steps": 301}, "--lr-warmup-steps 301 is more than --steps 300"),
        (
            "grpo",
            {"kl_coef": 0.1, "loss_aggregation": "sequence-mean"},
            "--kl-coef 0.1 is a mean over tokens",
        ),
        ("dsrl", {"kl_coef": 0.1, "lora_rank": 8}, "--kl-coef 0.1 with --lora-rank 8"),
        ("dr-grpo", {"loss_aggregation": "token-mean"}, "--loss-aggregation token-mean: dr-grpo is the one"),
        ("prerl", {"kl_coef": 0.1}, "--kl-coef means nothing to prerl"),
        ("grpo", {"dual_clip": 1.1}, "--dual-clip 1.1 cuts into the clip range up to 1.2"),
        ("dapo", {"overlong_buffer": 9000}, "--overlong-buffer 9000 is not below --max-tokens 8192"),
        ("grpo", {"vllm_mode": "server"}, "--vllm-mode server needs --vllm-server"),
        ("grpo", {"vllm_server": "http://x:1"}, "--vllm-server http://x:1 needs --vllm-mode server"),
        ("grpo", {"engine": "transformers", "vllm_tp": 2}, "--vllm-tp does nothing without --engine vllm"),
        ("grpo", {"lora_alpha": 2}, "--lora-alpha does nothing without --lora-rank"),
        ("grpo", {"eval_every": 2}, "--eval-every does nothing without --eval-bench"),
        ("dsrl", {"joint_coef": 0.2}, "--joint-coef does nothing without --warmup-space joint"),
        ("dsrl", {"warmup_space": "rl", "start_token": "a"}, "--start-token does nothing without"),
        ("dsrl", {"warmup_space": "swapped", "start_token": "a"}, "--start-token does nothing without"),
        ("dsrl", {"warmup_space": "anneal", "warmup_coef": 0.1}, "--warmup-coef does nothing without"),
        (
            "dsrl",
            {"warmup_space": "joint", "warmup_anchor": 0.1},
            "--warmup-anchor does nothing without --warmup-space prerl, rl or swapped",
        ),
        ("dsrl", {"warmup_anchor": -0.1}, "--warmup-anchor -0.1 is too small"),
        ("grpo", {"warmup_anchor": 0.1}, "--warmup-anchor means nothing to grpo"),
        ("grpo", {"random_reward_p": 0.1}, "--random-reward-p does nothing without --reward random"),
        ("ppo", {"reward": "random", "random_reward_p": 1.1}, "--random-reward-p 1.1 is too large"),
        ("rloo", {"reward": "coin"}, "--reward coin is unknown; give one of: verifiable, random"),
    ],
)
def test_what_cannot_be_is_refused(algorithm, given, says):
    assert refused(algorithm, **given).startswith(says)


def test_what_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr("prerl_train.checks.find_spec", lambda name: None)
    assert "pip install '.[vllm]'" in refused(engine="vllm")
    assert "pip install wandb" in refused(report_to="wandb")


@pytest.mark.parametrize("algorithm", ["reinforce-pp", "ppo"])
def test_one_sample_a_problem_is_enough_without_groups(algorithm):
    assert resolve(algorithm, GIVEN | {"samples_per_prompt": 1}).rows == 128


def test_checkpoints_fall_between_rollout_batches_by_default():
    assert resolve("grpo", GIVEN).save_every == 50
    assert resolve("grpo", GIVEN | {"minibatches": 2, "epochs_per_batch": 2}).save_every == 52


def test_no_warm_up_and_nothing_but_warm_up_are_runs():
    assert resolve("dsrl", GIVEN | {"warmup_steps": 0}).warmup_steps == 0
    assert resolve("dsrl", GIVEN | {"warmup_steps": 300}).warmup_steps == 300


def test_rows_split_evenly_over_processes():
    settings = resolve("grpo", GIVEN | {"prompts_per_step": 12, "samples_per_prompt": 2, "minibatches": 3})
    check_processes(settings, 4)
    with pytest.raises(UserError, match="--prompts-per-step 12 does not split over 8 processes"):
        check_processes(settings, 8)
    with pytest.raises(
        UserError, match="--minibatches 3 does not split the 24 rows of a rollout batch over 12"
    ):
        check_processes(dataclasses.replace(settings, prompts_per_step=12), 12)


def test_swapped_prompts_need_two_problems_on_each_process():
    settings = resolve("dsrl", GIVEN | {"warmup_space": "swapped", "prompts_per_step": 4})
    check_processes(settings, 2)
    with pytest.raises(UserError, match="--prompts-per-step 4: --warmup-space swapped takes the prompt of"):
        check_processes(settings, 4)
    check_processes(dataclasses.replace(settings, warmup_steps=0), 4)
