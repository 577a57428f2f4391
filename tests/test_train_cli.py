"""The `prerl-train` command line: uniform help without torch, one line and nothing written for bad input."""

import re
import subprocess
import sys

import pytest

import prerl_train
from prerl_train.catalogue import ALGORITHMS, users_of
from prerl_train.settings import OPTIONS, flag
from tests.conftest import REPO


def prerl_train_command(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "prerl_train", *map(str, arguments)], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.parametrize("algorithm", ["grpo", "dapo", "dsrl"])
def test_help_shows_the_options_that_apply_and_their_defaults(algorithm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = prerl_train_command(algorithm, "--help").stdout
    assert set(re.findall(r"(--[a-z0-9-]+)", shown)) >= {
        flag(name) for name in OPTIONS if algorithm in users_of(name)
    }
    assert ("│ --warmup-steps" in shown) == (algorithm == "dsrl")
    clip = re.search(r"Ratios are clipped above 1 plus this; default: ([\d.]+)\.", shown)
    assert clip[1] == ("0.28" if algorithm == "dapo" else "0.2")


def test_help_and_refusals_import_nothing_heavy():
    program = (
        "import sys\n"
        "from prerl_train.cli import app\n"
        "from prerl_eval.errors import UserError\n"
        "app(['dsrl', '--help'], standalone_mode=False)\n"
        "try:\n"
        "    app(['grpo', '--recipe', 'nano', '--steps', '0'], standalone_mode=False)\n"
        "except UserError as error:\n"
        "    print(error)\n"
        "heavy = [name for name in ('torch', 'transformers', 'trl', 'datasets') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("--steps 0 is too small; give 1 or more\n")


def test_every_algorithm_is_a_command():
    shown = prerl_train_command("--help").stdout
    for name in (*ALGORITHMS, "base", "align", "plot", "config"):
        assert re.search(rf"│ {name} ", shown), name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["grpo", "--steps", "3"], "--model is missing"),
        (["grpo", "--recipe", "nano", "--steps", "many"], "Invalid value for '--steps'"),
        (["grpo", "--recipe", "nano", "--engine", "sglang"], "Invalid value for '--engine'"),
        (["grpo", "--recipe", "nano", "--warmup-steps", "3"], "--warmup-steps means nothing to grpo"),
        (["dsrl", "--recipe", "nano", "--warmup-steps", "41"], "--warmup-steps 41 is longer than the run"),
        (["dsrl", "--recipe", "gone.toml"], "--recipe gone.toml is neither a TOML file nor one of: nano"),
        (["dsrl", "--recipe", "nano", "--samples-per-prompt", "1"], "--samples-per-prompt 1: dsrl compares"),
        (["dsrl", "--recipe", "nano", "--eval-bench", "aime42"], "unknown benchmark 'aime42'"),
        (["config", "fsdp3"], "Invalid value"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, arguments, says):
    done = prerl_train_command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("prerl-train: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["fsdp2", "ddp"])
def test_shipped_accelerate_configs_are_found_and_read(name):
    from accelerate.commands.config import load_config_from_file

    path = prerl_train_command("config", name).stdout.strip()
    config = load_config_from_file(path)
    assert config.distributed_type == {"fsdp2": "FSDP", "ddp": "MULTI_GPU"}[name]
    assert config.mixed_precision == "bf16"


def test_the_package_offers_the_trainer_and_nothing_else():
    assert prerl_train.DSRLConfig.__name__ == "DSRLConfig"
    assert issubclass(prerl_train.DSRLTrainer, object)
    with pytest.raises(AttributeError, match="no attribute 'GRPOTrainer'"):
        prerl_train.GRPOTrainer  # noqa: B018
