"""Evaluation in the middle of training: which benchmarks, with which settings, into which folder.

    RUN/evals/step-N   an ordinary run of prerl-eval: `prerl-eval summary RUN/evals/step-N` reads it

Prompts and sampling are the training's; n and the token limit are the cards' (--eval-n sets n).
Covers the plan and the scores. Does not cover sampling (live.py) or when to evaluate (watch.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval.cards import Card, resolve_benchmarks
from prerl_eval.checkpoint import Checkpoint
from prerl_eval.plan import RunOptions, RunPlan, plan_run
from prerl_eval.problems import Problem, load_problems
from prerl_eval.summary import summarize
from prerl_train.settings import TrainSettings

if TYPE_CHECKING:
    from prerl_eval.grading import GradingPool
    from prerl_train.train_plan import TrainPlan
    from prerl_train.watch import Scores

SCORES = ("problems", "n", "avg", "avg_ci", "truncated", "unparsed", "mean_tokens")


@dataclass(frozen=True)
class Benchmarks:
    """What a run is evaluated on: cards and, in the same order, their problems."""

    cards: Sequence[Card]
    problems: Sequence[list[Problem]]

    def plan(self, settings: TrainSettings, checkpoint: Checkpoint, engine: str, out: Path) -> RunPlan:
        """The evaluation of one checkpoint. Raises UserError where a prompt leaves no room."""
        options = RunOptions(
            ckpt=[checkpoint.ref],
            bench=list(settings.eval_bench),
            n=settings.eval_n,
            limit=settings.eval_limit,
            seed=settings.seed,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            thinking=settings.thinking,
            system=settings.system,
            template=settings.template,
            out=out,
        )
        return plan_run(options, engine, checkpoint, self.cards, self.problems, series=1)


def load_benchmarks(settings: TrainSettings) -> Benchmarks | None:
    """The benchmarks of --eval-bench with their problems; None without any.

    Raises UserError for an unknown name and for data that cannot be read.
    """
    if not settings.eval_bench:
        return None
    cards = resolve_benchmarks(settings.eval_bench)
    return Benchmarks(
        cards,
        [load_problems(card, settings.data_root, settings.eval_limit, seed=settings.seed) for card in cards],
    )


def longest_request(plan: RunPlan) -> int:
    """Tokens of the longest prompt with its longest completion, over all benchmarks of a plan."""
    return max(
        len(prompt.token_ids or ()) + benchmark.max_tokens
        for benchmark in plan.benchmarks
        for prompt in benchmark.prompts
    )


class LiveEvaluation:
    """What `watch.EvaluateEvery` calls: evaluates the trainer's policy after `step` updates."""

    def __init__(self, plan: TrainPlan, benchmarks: Benchmarks, trainer: Any, pool: GradingPool):
        from prerl_train.live import LiveEngine, LiveVLLMEngine

        self._plan = plan
        self._benchmarks = benchmarks
        self._pool = pool
        self._engine = LiveVLLMEngine(trainer) if plan.engine == "vllm" else LiveEngine(trainer)

    def __call__(self, step: int) -> Scores:
        """Scores of every benchmark, on the main process; {} on the others."""
        from prerl_train.live import evaluate_live, live_checkpoint

        folder = self._plan.folder
        out = folder.path / "evals" / f"step-{step}"
        policy = live_checkpoint(self._plan.checkpoint, folder.run_id, step)
        evaluate_live(
            self._benchmarks.plan(self._plan.settings, policy, self._engine.name, out),
            self._engine,
            self._pool,
        )
        if not self._plan.machine.is_main:
            return {}
        return {name: scores(numbers) for name, numbers in summarize(out)["benchmarks"].items()}


def scores(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What evals.jsonl keeps of a benchmark's numbers (prerl_eval.summary); k of pass_k: powers of two, n."""
    kept = {name: numbers[name] for name in SCORES}
    wanted = {2**power for power in range(12)} | {numbers["n"]}
    return kept | {"pass_k": {k: value for k, value in numbers["pass"].items() if int(k) in wanted}}
