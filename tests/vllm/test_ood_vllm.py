"""The group `ood` and the contamination audit on real vLLM (its CPU build)."""

import json

from typer.testing import CliRunner

from prerl_eval import store
from prerl_eval.cli import app
from prerl_eval.run_record import read_record
from tests.test_ood_run import check_run, command, ood_root  # noqa: F401 - the fixture is found by its name


def test_all_four_sets_are_asked_and_graded(tiny_model, ood_root, tmp_path):  # noqa: F811
    out = tmp_path / "run"
    done = CliRunner().invoke(app, command(tiny_model, ood_root, out, engine="vllm"))
    assert done.exit_code == 0, done.output
    check_run(out)
    assert read_record(out)["sessions"][-1]["engine"]["name"] == "vllm"


def test_an_audit_finds_what_it_finds_with_the_transformers_engine(tiny_model, tmp_path):
    facts, texts = {}, {}
    for engine in ("transformers", "vllm"):
        out = tmp_path / engine
        asked = [
            "contamination",
            "countdown",
            "--ckpt",
            str(tiny_model),
            "--limit",
            "8",
            "--max-tokens",
            "24",
        ]
        done = CliRunner().invoke(app, [*asked, "--engine", engine, "--out", str(out), "--json"])
        assert done.exit_code == 0, done.output
        (facts[engine],) = json.loads(done.stdout)
        assert facts[engine].pop("run") == str(out)
        rows = store.read_samples(out).to_pylist()
        texts[engine] = {row["problem_id"]: row["completion"] for row in rows}
    assert texts["vllm"] == texts["transformers"]
    assert facts["vllm"] == facts["transformers"]
    assert len(texts["vllm"]) == 8
