"""What docs/train.md shows: its code runs, its options and files exist."""

import inspect
import re

import torch

from prerl_train import cli
from prerl_train.catalogue import ALGORITHMS
from prerl_train.settings import OPTIONS, flag
from tests.conftest import REPO

TEXT = (REPO / "docs" / "train.md").read_text()
LAUNCHER = {"--num_processes", "--num_machines", "--machine_rank", "--main_process_ip", "--config_file"}
OTHERS = {"--main_process_port", "--help", "--out", "--ckpt", "--bench", "--data"}
BASE = {"--" + name.replace("_", "-") for name in inspect.signature(cli.base).parameters} | {"--no-restate"}
SERVER = {"--weight-transfer-config", "--logprobs-mode"}


def test_the_options_it_names_exist():
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]*[a-z0-9]", TEXT))
    known = {flag(name) for name in OPTIONS} | LAUNCHER | OTHERS | BASE | SERVER
    assert {name for name in named if name not in known} <= {"--eval"}


def test_every_algorithm_is_in_its_table():
    table = TEXT[TEXT.index("## Algorithms") : TEXT.index("## Options")]
    assert set(re.findall(r"`([a-z-]+)`", table)) >= set(ALGORITHMS)


def test_the_transform_for_another_trainer_erases_prompts_and_keeps_wrong_samples():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    place = {}
    exec(code, place)
    batch = {
        "prompts": torch.tensor([[0, 11, 12], [13, 14, 15], [0, 0, 16]]),
        "responses": torch.tensor([[21, 22, 2, 0], [23, 2, 0, 0], [24, 25, 26, 2]]),
        "attention_mask": torch.tensor([[0, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]]),
        "response_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1]]),
        "advantages": torch.tensor([[-0.5, -0.5, -0.5, 0], [0.5, 0.5, 0, 0], [-0.25, 0, -0.25, -0.25]]),
    }
    place["nsr_prerl"](batch, 1)
    assert batch["input_ids"].tolist() == [[1, 21, 22, 2, 0], [1, 23, 2, 0, 0], [1, 24, 25, 26, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 3], [0, 1, 2, 2, 2], [0, 1, 2, 3, 4]]
    assert batch["response_mask"].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]]
    assert batch["prompts"].tolist() == [[1], [1], [1]]
