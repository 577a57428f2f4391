"""`prerl-eval trajectory`: what training did, step by step: Avg, Pass@k and saturation over evaluations.

    prerl-eval trajectory runs/dsrl                     a training run: its evals/step-N
    prerl-eval trajectory runs/evaluated                a folder of runs
    prerl-eval trajectory 0=runs/base runs/a-step-50    runs; STEP=RUN where a run does not say its step

Saturation is told against the first step: which of its problems are still reached, which are new.
Covers finding and ordering the runs, and the numbers; they are shown by trajectory_table.py and
trajectory_plot.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prerl_eval.comparison.arms import Arm
from prerl_eval.comparison.facts import plain, support_facts
from prerl_eval.comparison.plan import Plan, plan_comparison
from prerl_eval.comparison.rare_stages import rare_stages
from prerl_eval.comparison.sides import Group, Side, parse_groups
from prerl_eval.comparison.support import support_change
from prerl_eval.errors import UserError
from prerl_eval.metrics import majority_ks, pass_curve
from prerl_eval.run_record import read_record
from prerl_eval.tally import Tally

STEP_NAME = re.compile(
    r"(?:^|[-_.])(?:checkpoint|global[-_]?step|step|iter|update)[-_]?(\d+)$", re.IGNORECASE
)
"""How names of checkpoints and run folders end that tell their training step: checkpoint-40, step-40."""


def find_stages(texts: Sequence[str]) -> dict[int, Path]:
    """Training step -> the run that evaluated it, in order of steps.

    texts: runs, STEP=RUN, folders of runs, or training runs. Raises UserError where nothing is found,
    where a run's step cannot be known and where two runs have the same one.
    """
    stages: dict[int, Path] = {}
    for text in texts:
        for step, run in _stages_of(text):
            if step in stages:
                raise UserError(
                    f"{stages[step]} and {run} are both of step {step}; give one, or say STEP=RUN for each"
                )
            stages[step] = run
    if len(stages) < 2:
        found = f"{next(iter(stages.values()))} only" if stages else "no run"
        raise UserError(f"a trajectory needs the runs of two or more steps, here is {found}")
    return dict(sorted(stages.items()))


def _stages_of(text: str) -> list[tuple[int, Path]]:
    path = Path(text)
    number, equals, rest = text.partition("=")
    if equals and number.isdecimal() and not path.exists():
        return [(int(number), Path(rest))]
    return [(known_step(run), run) for run in _runs_in(path)]


def _runs_in(path: Path) -> list[Path]:
    """The run itself, the evaluations of a training run, or the runs in a folder."""
    if (path / "run.json").is_file():
        if read_record(path).get("kind") != "training":
            return [path]
        runs = _folders(path / "evals")
        if not runs:
            raise UserError(
                f"{path} was trained without --eval-bench, so it has no evals; evaluate its checkpoints "
                f"with `prerl-eval run --ckpt {path} --out DIR` and give DIR"
            )
        return runs
    runs = _folders(path)
    if not runs:
        raise UserError(f"{path} is no run and no folder of runs; give folders that `prerl-eval run` wrote")
    return runs


def _folders(path: Path) -> list[Path]:
    return sorted(file.parent for file in path.glob("*/run.json"))


def known_step(run: Path) -> int:
    """The training step of the checkpoint that a run evaluated.

    From the checkpoint's name or path in run.json, else from the run folder's name. Raises UserError
    where none of them says.
    """
    checkpoint = read_record(run).get("checkpoint") or {}
    names = [checkpoint.get("name"), Path(checkpoint.get("ref") or "").name, run.resolve().name]
    for name in names:
        match = STEP_NAME.search(name or "")
        if match:
            return int(match[1])
    raise UserError(
        f"{run} does not say its training step (checkpoint {checkpoint.get('name') or 'unknown'}); "
        f"write STEP={run}, 0 for the model that training started from"
    )


def stage_groups(stages: dict[int, Path]) -> list[Group]:
    """Each stage as one side of a comparison, called by its step."""
    return [Group(f"step {step}", (run,)) for step, run in stages.items()]


def measure_trajectory(
    texts: Sequence[str],
    *,
    benchmarks: Sequence[str] = (),
    null: str | None = None,
    allow_differences: bool = False,
) -> dict[str, Any]:
    """All figures of a trajectory, JSON-able: {stages, null, notes, benchmarks}.

    stages: [{step, run}, ...]. benchmarks.<name>: {problems, stages: one object per step}, each with

        step, n             training step; the fewest samples of any problem
        avg, avg_ci         Avg@n and its 95% [lo, hi] over problems
        pass, pass_ci       "k" -> Pass@k and its pointwise interval, for powers of two and n
        mean_tokens, truncated, unparsed   tokens per sample; shares of the samples
        support             saturation against the first step, as in `prerl-eval compare --json`; in the
                            first step's own object the null alone: what an unchanged model shows
        rare                {problems, solutions}: rare.RareStage of what the first step reaches seldom, over
                            the series of steps; None for the first step

    null: a second run of the first step's model. Raises UserError as `find_stages` and
    `plan_comparison` do.
    """
    stages = find_stages(texts)
    groups = stage_groups(stages)
    plan = plan_comparison(
        groups[0],
        groups[1:],
        null=parse_groups([null])[0] if null else None,
        benchmarks=benchmarks,
        allow_differences=allow_differences,
    )
    sides = dict(zip(stages, (plan.base, *plan.others), strict=True))
    return {
        "stages": [{"step": step, "run": str(run)} for step, run in stages.items()],
        "null": null,
        "notes": list(plan.notes),
        "benchmarks": {name: _benchmark(plan, name, sides) for name in plan.problems},
    }


def _benchmark(plan: Plan, name: str, sides: Mapping[int, Side]) -> dict[str, Any]:
    first = plan.arm(plan.base, name)
    null = plan.arm(plan.null, name) if plan.null else None
    stages = []
    for step, side in sides.items():
        arm = plan.arm(side, name)
        facts = _scores(arm) | _rates(side.runs[0].tallies[name])
        changed = support_facts(support_change(first, arm, null)) if side is not plan.base else None
        stages.append({"step": step, **facts, "support": changed})
    rare = plain(rare_stages(plan, name, plan.others))
    for place, stage in enumerate(stages):
        stage["rare"] = {
            which: found[place - 1] if found and place else None for which, found in rare.items()
        }
    unchanged = stages[1]["support"]
    stages[0]["support"] = {key: unchanged[key] for key in ("null", "null_kind")}
    return {"problems": first.problems, "stages": stages}


def _scores(arm: Arm) -> dict[str, Any]:
    curve = pass_curve(arm.correct[0], arm.samples[0])
    ks = majority_ks(curve.n)
    return {
        "n": curve.n,
        "avg": float(curve.value[0]),
        "avg_ci": [float(curve.low[0]), float(curve.high[0])],
        "pass": {str(k): float(curve.value[k - 1]) for k in ks},
        "pass_ci": {str(k): [float(curve.low[k - 1]), float(curve.high[k - 1])] for k in ks},
    }


def _rates(tally: Tally) -> dict[str, Any]:
    scored = int(tally.samples.sum())
    return {
        "mean_tokens": tally.tokens / scored if tally.tokens is not None else None,
        "truncated": tally.cut / tally.known_finish if tally.known_finish else None,
        "unparsed": tally.statuses["unparsed"] / scored,
    }
