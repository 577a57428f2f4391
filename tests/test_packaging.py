"""The wheel, installed elsewhere and used from another folder."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

from behavior.lexicon import preset_names
from tests.conftest import REPO


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPO)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("prerl-*.whl")
    return wheel


def test_wheel_holds_the_three_packages_and_no_top_level_benchmarks(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "prerl_eval",
        "prerl_train",
        "behavior",
    }
    for name in (
        *("prerl_eval/benchmarks/aime24.toml", "prerl_eval/py.typed", "prerl_train/py.typed"),
        *(f"prerl_train/recipes/{recipe}.toml" for recipe in ("nano", "qwen3-4b", "qwen3-8b")),
        *(f"prerl_train/configs/{config}.yaml" for config in ("fsdp2", "ddp")),
        *(f"behavior/lexicons/{name}.toml" for name in preset_names()),
        *(f"prerl_eval/report/{name}" for name in ("assets/report.js", "assets/report.css")),
        *(f"prerl_eval/report/templates/{name}.html.j2" for name in ("page", "report", "index", "table")),
    ):
        assert name in names


def test_wheel_works_from_another_folder(wheel, tmp_path):
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def python(program):
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert python("import prerl_eval; print(prerl_eval.__file__)").startswith(str(site))
    listed = json.loads(
        python("import sys; from prerl_eval.cli import main; sys.argv[1:] = ['list', '--json']; main()")
    )
    assert {"aime24", "olympiadbench", "countdown", "countdown-ood"} <= {row["name"] for row in listed}
    recipe = "from prerl_train.resolve import resolve; print(resolve('dsrl', {'recipe': 'qwen3-4b'}).steps)"
    assert python(recipe) == "348\n"
    program = "from prerl_eval.cards import load_card; from prerl_eval.problems import load_problems\n"
    program += "print(len(load_problems(load_card('countdown'))))"
    assert int(python(program)) > 100
