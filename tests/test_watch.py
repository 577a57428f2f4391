"""What a run writes and says while it is made, checked on real trainers where the Trainer's order matters."""

import json
import math
import random
import re
import shutil
import sys
from types import SimpleNamespace

import pytest

from prerl_eval.errors import RunStopped, UserError
from prerl_train import journal

FACTS = {
    "phase": "prerl",
    "reward": 0.3125,
    "problems": 4,
    "solved": 1,
    "unsolved": 2,
    "tokens": 900,
    "logprob_gap": None,
    "seconds": {"sampling": 2.0, "reward": 0.5, "update": 0.5},
    "tokens_per_second": {"sampling": 450, "update": None},
}


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


class FakeState:
    """What callbacks read of a TrainerState."""

    def __init__(self, step, max_steps=20, main=True):
        self.global_step, self.max_steps, self.is_world_process_zero = step, max_steps, main


class FakeTrainer:
    def __init__(self, skipped=False):
        self.accelerator = SimpleNamespace(optimizer_step_was_skipped=skipped)
        self.removed = []

    def remove_callback(self, callback):
        self.removed.append(callback.__name__)


def trained(model, run, callbacks=(), **settings):
    from tests.saving import make_trainer

    trainer = make_trainer(model, run, **settings)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    return trainer


def test_every_update_has_its_line_and_nothing_else_has(tiny_model, tmp_path):
    from prerl_train.watch import MetricsWriter

    writer = MetricsWriter(tmp_path, lambda: FACTS)
    trainer = trained(tiny_model, tmp_path, [writer], steps=4, logging_steps=3, save_strategy="no")
    lines = lines_of(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["phase"] == "prerl" and line["seconds"] == FACTS["seconds"] for line in lines)
    assert [line["learning_rate"] for line in lines] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert all(line["grad_norm"] > 0 and abs(line["loss"]) < 1 for line in lines)
    assert all(line["logprob_gap"] is None and line["time"] > 1.7e9 for line in lines)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [line["loss"] for line in lines] == [entry["loss"] for entry in logged]


def test_a_resumed_run_writes_its_updates_again_and_once(tiny_model, tmp_path):
    from prerl_train.watch import MetricsWriter
    from tests.saving import make_trainer

    writer = MetricsWriter(tmp_path, lambda: FACTS)
    trained(tiny_model, tmp_path, [writer], steps=4)
    before = lines_of(tmp_path / "metrics.jsonl")
    # Killed in update 5, whose line is torn: only checkpoint-3 is there.
    shutil.rmtree(tmp_path / "checkpoint-4")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "pha')
    trainer = make_trainer(tiny_model, tmp_path, steps=6)
    trainer.add_callback(MetricsWriter(tmp_path, lambda: FACTS))
    trainer.train(resume_from_checkpoint=True)
    lines = lines_of(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[:3] == before[:3]
    assert lines[3]["time"] > before[3]["time"]


def test_numbers_that_json_lacks_become_null(tmp_path):
    import numpy as np

    from prerl_train.watch import MetricsWriter

    facts = {"phase": "rl", "reward": math.nan, "seconds": {"update": math.inf}, "problems": np.int64(3)}
    writer = MetricsWriter(tmp_path, lambda: facts)
    writer.on_log(None, FakeState(7), None, logs={"loss": math.nan, "grad_norm": -math.inf, "epoch": 1.0})
    writer.on_log(None, FakeState(7), None, logs={"train_runtime": 3.0})
    writer.on_log(None, FakeState(7, main=False), None, logs={"loss": 1.0})
    (line,) = lines_of(tmp_path / "metrics.jsonl")
    del line["time"]
    expected = {"reward": None, "seconds": {"update": None}, "problems": 3, "loss": None, "grad_norm": None}
    assert line == {"step": 7, "phase": "rl", **expected}


def test_a_journal_with_a_broken_middle_is_not_read_as_if_it_were_whole(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2, "pha\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl line 2 is no JSON object with a step"):
        journal.read(file)
    file.write_text('{"step": 1}\n\n{"step": 3}\n{"step": 4}')
    assert journal.read(file) == [{"step": 1}, {"step": 3}]
    assert journal.go_back(file, 2) == [{"step": 1}]
    assert file.read_text() == '{"step": 1}\n'
    assert journal.go_back(tmp_path / "none.jsonl", 2) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl"]


@pytest.fixture
def breaking(monkeypatch):
    """Breaks update `at` of a trainer: its loss, or only its gradients."""
    from tests.saving import Trainer

    def break_at(at, what):
        plain = Trainer._compute_loss

        def loss(self, model, inputs):
            value = plain(self, model, inputs)
            if self.state.global_step + 1 != at:
                return value
            if what == "loss":
                return value * math.nan
            next(model.parameters()).register_hook(lambda gradient: gradient * math.inf)
            return value

        monkeypatch.setattr(Trainer, "_compute_loss", loss)

    return break_at


@pytest.mark.parametrize(("what", "named"), [("loss", "loss"), ("gradient", "gradient norm")])
@pytest.mark.parametrize("logging_steps", [1, 50])
def test_broken_weights_stop_the_run_and_are_never_saved(
    tiny_model, tmp_path, breaking, what, named, logging_steps
):
    from prerl_train.watch import Guards
    from tests.saving import make_trainer

    breaking(3, what)
    trainer = make_trainer(tiny_model, tmp_path, steps=6, save_steps=1, logging_steps=logging_steps)
    trainer.add_callback(Guards(tmp_path, trainer, dict))
    expected = f"the {named} is not a number at update 3; the last good checkpoint is {tmp_path}/checkpoint-2"
    with pytest.raises(RunStopped, match=re.escape(expected) + ": lower --lr"):
        trainer.train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]


def test_a_loss_that_broke_between_two_logs_is_found_before_the_next_checkpoint(
    tiny_model, tmp_path, breaking
):
    from prerl_train.watch import Guards
    from tests.saving import make_trainer

    breaking(2, "loss")
    trainer = make_trainer(tiny_model, tmp_path, steps=6, save_steps=6, logging_steps=50)
    trainer.add_callback(Guards(tmp_path, trainer, dict))
    # The weights that update 2 broke cannot be sampled from, which may be seen first.
    with pytest.raises((RunStopped, RuntimeError)):
        trainer.train()
    assert list(tmp_path.iterdir()) == []


def test_an_update_that_a_loss_scaler_skipped_is_no_reason_to_stop(tmp_path):
    from prerl_train.watch import Guards

    logs = {"loss": 0.1, "grad_norm": math.inf}
    Guards(tmp_path, FakeTrainer(skipped=True), dict).on_log(None, FakeState(1), None, logs=logs)
    with pytest.raises(RunStopped):
        Guards(tmp_path, FakeTrainer(), dict).on_log(None, FakeState(1), None, logs=logs)


def guard_lines(capsys, tmp_path, facts):
    """What Guards says over updates with these facts: [(update, line)]."""
    from prerl_train.watch import Guards

    current = {}
    guards = Guards(tmp_path, FakeTrainer(), lambda: current)
    said = []
    for step, changed in enumerate(facts, 1):
        current = {**FACTS, **changed}
        guards.on_log(None, FakeState(step), None, logs={"loss": 0.0, "grad_norm": 1.0})
        said += [(step, line) for line in capsys.readouterr().err.splitlines()]
    return said


def test_ten_updates_without_a_difference_are_one_warning(tmp_path, capsys):
    right, mixed = {"solved": 4, "unsolved": 0}, {"solved": 2, "unsolved": 2}
    said = guard_lines(capsys, tmp_path, [right] * 9 + [mixed] + [right] * 15)
    assert said == [(20, said[0][1])]
    assert said[0][1].startswith("warning: every sample of updates 11-20 was right,")
    said = guard_lines(capsys, tmp_path, [{"solved": 0, "unsolved": 4}] * 12)
    assert [step for step, _ in said] == [10]
    assert "was wrong" in said[0][1]
    assert "too hard" in said[0][1]


def test_a_wide_log_prob_gap_is_one_warning(tmp_path, capsys):
    gaps = [None, 0.001, 0.1, 0.25, 0.3]
    said = guard_lines(capsys, tmp_path, [{"logprob_gap": gap} for gap in gaps])
    assert [step for step, _ in said] == [4]
    assert "differ by 0.250 nats per token at update 4" in said[0][1]


def test_an_update_in_words():
    from prerl_train.watch import describe_update

    assert describe_update(FACTS) == "prerl  reward 0.31  300 tok/s"
    assert describe_update({}) == ""
    assert describe_update({"phase": "rl", "reward": None, "seconds": {}, "tokens": 5}) == "rl"


def test_the_log_of_a_run_has_our_lines_only(tiny_model, tmp_path, capsys):
    from prerl_train.watch import ProgressDisplay
    from tests.saving import make_trainer

    trainer = make_trainer(tiny_model, tmp_path, steps=3, save_strategy="no", disable_tqdm=False)
    display = ProgressDisplay(trainer, lambda: FACTS)
    trainer.add_callback(display)
    capsys.readouterr()
    trainer.train()
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert re.fullmatch(r"training: 3/3 updates, \d+ s prerl  reward 0.31  300 tok/s", line)
    display.close()


def test_the_bar_counts_from_the_update_resumed_from_and_shows_scores(monkeypatch, capsys):
    from prerl_train.watch import ProgressDisplay

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    trainer = FakeTrainer()
    display = ProgressDisplay(trainer, lambda: FACTS)
    assert trainer.removed == ["ProgressCallback", "PrinterCallback"]
    display.on_train_begin(None, FakeState(12), None)
    display.show_scores({"countdown": {"avg": 0.4123}, "countdown-ood": {"avg": 0.05}, "odd": {}})
    display.on_log(None, FakeState(13), None, logs={"loss": 0.1})
    display.on_log(None, FakeState(13), None, logs={"train_loss": 0.1})
    display.close()
    display.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "13/20 updates" in shown
    assert "prerl  reward 0.31  300 tok/s  countdown 41.2%  countdown-ood 5.0%" in shown


class Evaluation:
    """Stands for the engine: disturbs every generator, remembers when it was asked."""

    def __init__(self):
        self.steps = []

    def __call__(self, step):
        import numpy as np
        import torch

        self.steps.append(step)
        random.random(), np.random.random(), torch.rand(3)
        return {"countdown": {"avg": step / 10, "pass_k": {"1": step / 10, "8": 0.9}}}


def test_evaluation_happens_at_the_start_every_n_updates_and_at_the_end(tiny_model, tmp_path):
    from prerl_train.watch import EvaluateEvery

    evaluation = Evaluation()
    watched, plain = tmp_path / "watched", tmp_path / "plain"
    trained(tiny_model, watched, [EvaluateEvery(watched, 2, evaluation)], steps=5)
    assert evaluation.steps == [0, 2, 4, 5]
    lines = lines_of(watched / "evals.jsonl")
    assert [line["step"] for line in lines] == [0, 2, 4, 5]
    assert lines[1]["evals"] == {"countdown": {"avg": 0.2, "pass_k": {"1": 0.2, "8": 0.9}}}
    # The evaluation changes nothing: the run samples and ends as one that was never evaluated.
    trained(tiny_model, plain, steps=5)
    weights = [(run / "checkpoint-5/model.safetensors").read_bytes() for run in (watched, plain)]
    assert weights[0] == weights[1]


def test_a_resumed_run_evaluates_what_is_missing_or_belongs_to_lost_weights(tiny_model, tmp_path):
    from prerl_train.watch import EvaluateEvery
    from tests.saving import make_trainer

    run = tmp_path / "run"
    trained(tiny_model, run, steps=3)
    for step in (0, 3, 4):
        journal.append(run / "evals.jsonl", {"step": step, "evals": {}, "seconds": 1.0})
        (run / f"evals/step-{step}").mkdir(parents=True)
    evaluation = Evaluation()
    trainer = make_trainer(tiny_model, run, steps=5)
    trainer.add_callback(EvaluateEvery(run, 1, evaluation))
    trainer.train(resume_from_checkpoint=True)
    assert evaluation.steps == [4, 5]
    assert [line["step"] for line in lines_of(run / "evals.jsonl")] == [0, 3, 4, 5]
    assert sorted(path.name for path in (run / "evals").iterdir()) == ["step-0", "step-3"]
