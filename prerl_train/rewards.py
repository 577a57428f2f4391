"""The verifiable reward: completions graded by prerl_eval's grader, and kept as sample rows.

Covers TRL's reward signature, the text that is graded, and storing every rollout in the run's sample
store, from all processes. Does not cover sampling (rollouts.py) or what rewards become (advantages.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from prerl_eval.engines.base import Completion, Prompt, Sampling
from prerl_eval.engines.detokenize import Detokenizer
from prerl_eval.grading import UNSCORED, GradingPool, Verdict
from prerl_eval.problems import Problem
from prerl_eval.rows import graded_row
from prerl_eval.store import PartWriter, SampleRow

Sampled = tuple[Problem, Prompt, Completion, int]
"""What was asked, what came, and the seed of its random stream (0 where the engine has none per row)."""

UNNUMBERED = -1
"""sample_index of a row that its process cannot number: others may have samples of the same problem."""


class RolloutRecorder:
    """Writes rollouts as sample rows; the main process writes for all.

    run: a directory with a run.json, whose RunLock the main process holds. A key is (benchmark,
    problem_id, sample_index, step): the samples of a problem at a step are numbered as they come, over
    processes and over the draws of one update. A run that resumes at an update first drops the rows
    of later ones (prerl_eval.store.drop_rows_after), so numbers never collide.
    """

    def __init__(self, run: Path, run_id: str):
        self._run_id = run_id
        self._writer = PartWriter(run, time.monotonic)
        self._step = -1
        self._numbers: Counter[tuple[str, str]] = Counter()

    def add(self, step: int, sampled: Sequence[Sampled], verdicts: Sequence[Verdict]) -> None:
        """Take one process's rollouts of a step, in their order; every process calls it equally often.

        Raises RunStopped when the disk is full.
        """
        rows = [
            graded_row(
                self._run_id,
                problem,
                verdict,
                sample_index=UNNUMBERED,
                prompt=prompt.text,
                completion=completion.text,
                finish_reason=completion.finish_reason,
                token_ids=completion.token_ids,
                tokens=completion.tokens,
                opens_thinking=prompt.opens_thinking,
                seed=seed,
                seconds=completion.seconds,
                step=step,
            )
            for (problem, prompt, completion, seed), verdict in zip(sampled, verdicts, strict=True)
        ]
        gathered: list[SampleRow] = gather_object(rows)
        if PartialState().is_main_process:
            self._writer.append([self._numbered(row) for row in gathered])

    def _numbered(self, row: SampleRow) -> SampleRow:
        if row.step != self._step:
            self._step = row.step
            self._numbers.clear()
        problem = (row.benchmark, row.problem_id)
        index = self._numbers[problem]
        self._numbers[problem] += 1
        return replace(row, sample_index=index)

    def flush(self) -> None:
        """Store what waits: called before a checkpoint is made, so that none is ahead of its rows."""
        self._writer.flush()


class VerifiableReward:
    """TRL's reward function over prerl_eval's grader: 1.0 for a correct completion, else 0.0.

    problems, prompts: the training set, which a dataset row's `row` is an index into. pool: grades, beside
    whatever else it does. stop_ids: the ids that end a completion. tokenizer: the model's.

    last_verdicts: of the last call, in its order. statuses: how many completions of the current step
    have each status, on this process and over all of the step's draws.
    """

    __name__ = "verifiable"

    def __init__(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        pool: GradingPool,
        *,
        stop_ids: Sequence[int],
        tokenizer: Any,
        recorder: RolloutRecorder | None = None,
    ):
        self.last_verdicts: list[Verdict] = []
        self.statuses: Counter[str] = Counter()
        self._problems = problems
        self._prompts = prompts
        self._pool = pool
        self._sampling = Sampling(stop_token_ids=tuple(stop_ids))
        self._detokenizer = Detokenizer(tokenizer)
        self._recorder = recorder
        self._step = -1

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        row: Sequence[int],
        trainer_state: Any,
        seed: Sequence[int] | None = None,
        seconds: Sequence[float] | None = None,
        **unused: Any,
    ) -> list[float | None]:
        """Rewards of completions, in their order; None, TRL's word for "no reward", for a bad gold.

        completion_ids: sampled ids up to and including the stop token. row: of each, the problem.
        trainer_state: its global_step is the number of updates made. seed, seconds: of each, where
        the rollout function says (`EngineRollouts` does). TRL's own text is not read: it has no
        special tokens, and thinking tags may be some.
        """
        step = trainer_state.global_step + 1
        unknown = [0] * len(row)
        sampled = [
            (self._problems[index], self._prompts[index], self._completion(index, ids, duration), number)
            for index, ids, duration, number in zip(
                row, completion_ids, seconds or unknown, seed or unknown, strict=True
            )
        ]
        self.last_verdicts = self._pool.grade(
            (problem, completion.text, completion.finish_reason, prompt.opens_thinking)
            for problem, prompt, completion, _ in sampled
        )
        if step != self._step:
            self._step = step
            self.statuses.clear()
        self.statuses.update(verdict.status for verdict in self.last_verdicts)
        if self._recorder is not None:
            self._recorder.add(step, sampled, self.last_verdicts)
        return [None if verdict.status == UNSCORED else verdict.reward for verdict in self.last_verdicts]

    def _completion(self, index: int, ids: Sequence[int], seconds: float) -> Completion:
        stopped = bool(ids) and ids[-1] in self._sampling.stop_token_ids
        return Completion(
            text=self._detokenizer.text(self._prompts[index].token_ids or (), ids, self._sampling),
            token_ids=tuple(ids),
            tokens=len(ids),
            finish_reason="stop" if stopped else "length",
            seconds=seconds,
        )
