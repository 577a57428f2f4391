"""What watches a training run while transformers' Trainer makes it: files, bar, warnings, evaluation.

    RUN/metrics.jsonl   one object per update (MetricsWriter)
    RUN/evals.jsonl     one object per evaluation (EvaluateEvery); its samples are in RUN/evals/step-N

Callbacks in the order they should be added: MetricsWriter, Guards, EvaluateEvery, ProgressDisplay
(the last to close). All are made on every process; only the main one writes and prints. What the
figures of an update mean is said in prerl_train.facts.
"""

from __future__ import annotations

import math
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from prerl_eval.console import Advance, progress
from prerl_eval.errors import RunStopped
from prerl_train import journal
from prerl_train.checkpoints import latest_complete

Facts = Callable[[], Mapping[str, Any]]
"""What the trainer has to say of the update it has just made: `lambda: trainer.update_facts`."""

Scores = Mapping[str, Mapping[str, Any]]
"""{benchmark: {"avg": share of right samples, "pass_k": ..., ...}}"""

LOGGED = ("loss", "grad_norm", "learning_rate", "kl")
"""What HF and TRL log of an update and `facts` does not have; kl only where there is a KL term."""

SILENT_UPDATES = 10
"""Updates in a row with equal rewards before they are worth a line."""

LARGEST_GAP = 0.1
"""Mean |log p| gap of trainer and engine, in nats. One H200 with vLLM in bfloat16 showed about 0.001."""


class MetricsWriter(TrainerCallback):
    """Writes RUN/metrics.jsonl: `step`, `phase`, the update's facts, LOGGED and `time`.

    time: seconds since 1970 at which the update was done. NaN and infinities are null. A run resumed
    after update c keeps the lines up to c. Raises RunStopped where the file cannot be written.
    """

    def __init__(self, run: Path, facts: Facts):
        self._file = run / "metrics.jsonl"
        self._facts = facts

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave out the updates that are about to be made again."""
        if state.is_world_process_zero:
            kept = journal.go_back(self._file, state.global_step)
            if lost := state.global_step - len({entry["step"] for entry in kept}):
                print(f"warning: {self._file} lacks {lost} of the updates before this one", file=sys.stderr)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One line per update, whatever logging_steps says."""
        control.should_log = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Write the line; the Trainer also logs evaluations and a summary at the end, which have no loss."""
        if logs is None or "loss" not in logs or not state.is_world_process_zero:
            return
        facts = self._facts()
        logged = {name: logs[name] for name in LOGGED if name in logs}
        line = {"step": state.global_step, "phase": facts.get("phase"), **facts, **logged}
        journal.append(self._file, {**line, "time": round(time.time(), 2)})


class ProgressDisplay(TrainerCallback):
    """The one display of a run: a bar on a terminal, a line now and then in a log.

    Takes the place of the Trainer's own bars and printed logs. `close` it where train() may raise:
    a bar that is left open leaves the terminal without a cursor.
    """

    def __init__(self, trainer: Any, facts: Facts, title: str = "training"):
        from transformers import PrinterCallback, ProgressCallback
        from transformers.utils import logging

        for shown in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(shown)
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._facts = facts
        self._title = title
        self._note = ""
        self._scores = ""
        self._open = ExitStack()
        self._advance: Advance | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the display, at the update that the run resumes from."""
        if state.is_world_process_zero:
            display = progress(self._title, state.max_steps, state.global_step, unit="updates")
            self._advance = self._open.enter_context(display)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """One more update: its phase, reward and tokens per second of the whole step."""
        if self._advance is None or logs is None or "loss" not in logs:
            return
        self._note = describe_update(self._facts())
        self._show(1)

    def show_scores(self, scores: Scores) -> None:
        """Show the Avg of the last evaluation beside the bar."""
        named = {name: figures["avg"] for name, figures in scores.items() if figures.get("avg") is not None}
        self._scores = "  ".join(f"{name} {100 * avg:.1f}%" for name, avg in named.items())
        self._show(0)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the display."""
        self.close()

    def close(self) -> None:
        """Give the terminal back; more than once does no harm."""
        self._open.close()
        self._advance = None

    def _show(self, updates: int) -> None:
        if self._advance is not None:
            self._advance(updates, "  ".join(filter(None, (self._note, self._scores))))


def describe_update(facts: Mapping[str, Any]) -> str:
    """The note beside the bar, such as "prerl  reward 0.31  120 tok/s"."""
    words = [str(facts["phase"])] if facts.get("phase") else []
    if facts.get("reward") is not None:
        words.append(f"reward {facts['reward']:.2f}")
    seconds = sum((facts.get("seconds") or {}).values())
    if seconds and facts.get("tokens"):
        words.append(f"{facts['tokens'] / seconds:,.0f} tok/s")
    return "  ".join(words)


class Guards(TrainerCallback):
    """Stops a run whose weights broke, before they are saved, and warns where there is nothing to learn.

    Raises RunStopped for a loss or gradient norm that is no number. One line on stderr each: rewards
    that were all equal for SILENT_UPDATES updates in a row; a log-prob gap above LARGEST_GAP.
    """

    def __init__(self, run: Path, trainer: Any, facts: Facts):
        self._run = run
        self._trainer = trainer
        self._facts = facts
        self._silent = 0
        self._warned_of_gap = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See every loss: the Trainer's default logs the mean of those before in place of a NaN."""
        args.logging_nan_inf_filter = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An update is logged before it is saved, and what is logged is checked."""
        control.should_log = control.should_log or control.should_save

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """As on_step_end, where checkpoints are made per epoch."""
        control.should_log = control.should_log or control.should_save

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Check the update; the Trainer saves it after this."""
        if logs is None or "loss" not in logs:
            return
        self._check_numbers(state.global_step, logs)
        if state.is_world_process_zero:
            facts = self._facts()
            self._check_rewards(state.global_step, facts)
            self._check_gap(state.global_step, facts)

    def _check_numbers(self, step: int, logs: Mapping[str, Any]) -> None:
        # With fp16 the scaler meets infinities, halves its scale and skips the update: no weight is touched.
        if self._trainer.accelerator.optimizer_step_was_skipped:
            return
        for name, words in (("loss", "loss"), ("grad_norm", "gradient norm")):
            value = logs.get(name)
            if value is not None and not math.isfinite(value):
                good = latest_complete(self._run)
                where = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
                raise RunStopped(f"the {words} is not a number at update {step}; {where}: lower --lr")

    def _check_rewards(self, step: int, facts: Mapping[str, Any]) -> None:
        problems = facts.get("problems")
        if not problems:
            return
        which = "right" if facts["solved"] == problems else "wrong"
        equal = problems in (facts["solved"], facts["unsolved"])
        self._silent = self._silent + 1 if equal else 0
        if self._silent == SILENT_UPDATES:
            level, first = "easy" if which == "right" else "hard", step - SILENT_UPDATES + 1
            _warn(
                f"every sample of updates {first}-{step} was {which}, so nothing is learned; "
                f"the problems are too {level} or the reward is broken"
            )

    def _check_gap(self, step: int, facts: Mapping[str, Any]) -> None:
        gap = facts.get("logprob_gap")
        if gap is not None and gap > LARGEST_GAP and not self._warned_of_gap:
            self._warned_of_gap = True
            _warn(
                f"trainer and engine differ by {gap:.3f} nats per token at update {step} (0.001 is usual); "
                "the engine may lack the trained weights or compute in another dtype"
            )


class EvaluateEvery(TrainerCallback):
    """Evaluates before update 1, after every `every` updates and at the end; writes RUN/evals.jsonl.

    evaluate: called on every process with the number of updates done; its scores are written by the
    main one. What a resumed run has evaluated is not evaluated again; what was evaluated after the
    update it resumes from is, because those weights are gone. Random generators are left as they
    were: evaluating does not change a run.
    """

    def __init__(
        self, run: Path, every: int, evaluate: Callable[[int], Scores], display: ProgressDisplay | None = None
    ):
        self._run = run
        self._file = run / "evals.jsonl"
        self._every = every
        self._evaluate = evaluate
        self._display = display
        self._done: set[int] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go back to the update that the run resumes from."""
        if state.is_world_process_zero:
            journal.go_back(self._file, state.global_step)
            for folder in (self._run / "evals").glob("step-*"):
                number = folder.name.removeprefix("step-")
                if number.isdecimal() and int(number) > state.global_step:
                    shutil.rmtree(folder)
        _wait_for_everyone(args)
        self._done = {entry["step"] for entry in journal.read(self._file)}
        _wait_for_everyone(args)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate where it is due; the checkpoint of these weights, if any, is safe by now."""
        if state.global_step % self._every == 0:
            self._run_once(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate what the run ends with."""
        self._run_once(state)

    def _run_once(self, state: Any) -> None:
        step = state.global_step
        if step in self._done:
            return
        start = time.monotonic()
        with undisturbed_generators():
            scores = self._evaluate(step)
        self._done.add(step)
        if state.is_world_process_zero:
            seconds = round(time.monotonic() - start, 1)
            journal.append(self._file, {"step": step, "evals": scores, "seconds": seconds})
            if self._display is not None:
                self._display.show_scores(scores)


@contextmanager
def undisturbed_generators() -> Iterator[None]:
    """Put the global generators of python, numpy and torch (all CUDA devices) back afterwards."""
    import numpy as np
    import torch

    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


def _wait_for_everyone(args: Any) -> None:
    if args.world_size > 1:
        args.distributed_state.wait_for_everyone()


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
