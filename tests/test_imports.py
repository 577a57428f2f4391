"""The one direction of imports, and the light modules' promise to import nothing heavy."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import REPO

ALLOWED = {
    "prerl_eval": {"prerl_eval"},
    "prerl_train": {"prerl_eval", "prerl_train"},
    "behavior": {"prerl_eval", "behavior"},
}
HEAVY = ("torch", "transformers", "vllm", "trl", "datasets")
LIGHT = (
    "prerl_eval.cli",
    "prerl_eval.cli_analysis",
    "prerl_train.cli",
    "prerl_train",
    "prerl_train.resolve",
    "prerl_train.train",
    "behavior.cli",
    "behavior",
    "behavior.lexicon",
    "behavior.report",
    "behavior.tables",
    "behavior.plots",
    "behavior.finding",
    "behavior.agree",
    "behavior.agreement",
    "behavior.consequence",
    "behavior.consequence_table",
    "behavior.judge.judge",
    "prerl_eval.grading",
    "prerl_eval.sandbox",
    "prerl_eval.store",
    "prerl_eval.run_record",
    "prerl_eval.run_lock",
    "prerl_eval.durable",
    "prerl_eval.metrics",
    "prerl_eval.comparison.curves",
    "prerl_eval.summary",
    "prerl_eval.plots",
    "prerl_eval.budget",
    "prerl_eval.trajectory",
    "prerl_eval.comparison.compare",
    "prerl_eval.comparison.planning",
    "prerl_eval.comparison.render",
    "prerl_eval.comparison.compare_plot",
    "prerl_eval.cards",
    "prerl_eval.problems",
    "prerl_eval.data_rows",
    "prerl_eval.choices",
    "prerl_eval.fewshot",
    "prerl_eval.tasks",
    "prerl_eval.checkpoint",
    "prerl_eval.prompts",
    "prerl_eval.preflight",
    "prerl_eval.grade_file",
    "prerl_eval.regrade",
    "prerl_eval.plan",
    "prerl_eval.run",
    "prerl_eval.start_token",
    "prerl_eval.scoring.score",
    "prerl_eval.contamination",
    "prerl_eval.overlap",
    "prerl_eval.engines",
    "prerl_eval.report.report",
    "prerl_eval.report.index",
    "prerl_eval.comparison.support",
    "prerl_eval.comparison.rare",
    "prerl_eval.comparison.power",
    "prerl_eval.comparison.floor",
    "prerl_train.checkpoints",
    "prerl_train.course",
    "prerl_train.journal",
    "prerl_train.plot",
    "results.study.collect",
    "results.study.expansion_page",
    "results.study.paths",
    "results.study.execute",
)


def imported_modules(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_one_way(package):
    files = list((REPO / package).rglob("*.py"))
    assert files
    wrong = []
    for file in files:
        source = file.read_text()
        for name in imported_modules(source):
            top = name.split(".")[0]
            if top in {*ALLOWED, "benchmarks", "tests"} and top not in ALLOWED[package]:
                wrong.append(f"{file.relative_to(REPO)} imports {name}")
    assert wrong == []


def test_benchmarks_holds_data_only():
    assert list((REPO / "benchmarks").rglob("*.py")) == []


def test_light_modules_import_nothing_heavy():
    # One process per module would be the sharper test; in turn, the first offender is still named.
    program = (
        "import importlib, sys\n"
        f"for name in {LIGHT!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [module for module in {HEAVY!r} if module in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
