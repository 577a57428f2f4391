"""Reading study.toml: from its tables to a `Study`, and what is refused in it.

    model, recipe, save_every          of every arm
    seeds                              unless an arm says otherwise: a number N for 0 to N-1, or a list
    steps                              likewise: an arm without `at` is measured on `test` there
    look = {step, measure}             by which learning rates are chosen, with seed 0
    [cost]                             seconds of one core of update, sample, base, align; problems
    [alignment]                        flags of `prerl-train align`, for every base model
    [measure.NAME]                     benchmarks, n, and where wanted temperature, limit
    [bases.NAME]                       flags of `prerl-train base`
    [arms.NAME]                        algorithm (else NAME), options, lr or looks, seeds, steps, base,
                                       from = {arm, step}, at
    at = [{step, measure, seeds, n}]   step and measure: one or a list; seeds, n: where they differ

Does not cover what the study's parts mean (results.study.plan).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prerl_eval.errors import UserError
from results.study.plan import Arm, Cost, Fork, Measure, Measured, Study

ARM_KEYS = {"algorithm", "options", "lr", "looks", "seeds", "steps", "base", "from", "at"}
AT_KEYS = {"step", "measure", "seeds", "n"}
MEASURE_KEYS = {"benchmarks", "n", "temperature", "limit"}
TOP_KEYS = {
    "model",
    "recipe",
    "steps",
    "save_every",
    "seeds",
    "look",
    "cost",
    "measure",
    "bases",
    "arms",
    "alignment",
}


def load_study(folder: Path) -> Study:
    """The study of a folder.

    Raises UserError where there is no plan, for a word in it that means nothing, for a name that it does
    not define, for a checkpoint that would not be saved, and where arms get unequal numbers of looks.
    """
    file = folder / "study.toml"
    if not file.is_file():
        raise UserError(f"{folder} has no study.toml; give a folder like results/nano")
    try:
        plan = tomllib.loads(file.read_text(encoding="utf-8"))
        study = _study(folder, plan)
        _check(study)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file} is not TOML ({error}); correct it") from error
    except KeyError as error:
        raise UserError(f"{file} lacks {error}; give it") from error
    return study


def _study(folder: Path, plan: Mapping[str, Any]) -> Study:
    _known("the plan", plan, TOP_KEYS)
    measures = {name: _measure(name, entry) for name, entry in plan["measure"].items()}
    look = plan["look"]
    return Study(
        folder=folder,
        model=plan["model"],
        recipe=plan["recipe"],
        save_every=plan["save_every"],
        look=(look["step"], _named("look", look["measure"], measures)),
        measures=measures,
        bases=plan.get("bases", {}),
        arms={name: _arm(name, entry, plan, measures) for name, entry in plan["arms"].items()},
        cost=_cost(plan["cost"]),
        alignment=plan.get("alignment", {}),
    )


def _cost(entry: Mapping[str, Any]) -> Cost:
    _known("cost", entry, {"update", "sample", "base", "align", "problems"})
    return Cost(entry["update"], entry["sample"], entry["base"], entry["align"], entry["problems"])


def _measure(name: str, entry: Mapping[str, Any]) -> Measure:
    _known(f"measure.{name}", entry, MEASURE_KEYS)
    return Measure(name, tuple(entry["benchmarks"]), entry["n"], entry.get("temperature"), entry.get("limit"))


def _arm(
    name: str, entry: Mapping[str, Any], plan: Mapping[str, Any], measures: Mapping[str, Measure]
) -> Arm:
    _known(f"arms.{name}", entry, ARM_KEYS)
    algorithm = entry.get("algorithm", name)
    seeds = _seeds(1 if algorithm == "base" else entry.get("seeds", plan["seeds"]))
    rates = (entry["lr"],) if "lr" in entry else tuple(entry.get("looks", ()))
    if (algorithm != "base" and not rates) or ("lr" in entry and "looks" in entry):
        raise UserError(f'arms.{name}: give either lr = "8e-4" or looks = ["4e-4", "8e-4"]')
    return Arm(
        name=name,
        algorithm=algorithm,
        options=entry.get("options", {}),
        rates=rates,
        at=tuple(
            measured
            for one in entry.get("at", [{"step": plan["steps"], "measure": "test"}])
            for measured in _measured(name, one, seeds, measures)
        ),
        base=entry.get("base", ""),
        fork=Fork(entry["from"]["arm"], entry["from"]["step"]) if "from" in entry else None,
        steps=entry.get("steps", 0),
    )


def _measured(
    arm: str, entry: Mapping[str, Any], seeds: tuple[int, ...], measures: Mapping[str, Measure]
) -> list[Measured]:
    _known(f"arms.{arm}: at", entry, AT_KEYS)
    wanted = [_named(f"arms.{arm}", name, measures) for name in _listed(entry["measure"])]
    if "n" in entry:
        wanted = [replace(measure, n=entry["n"]) for measure in wanted]
    here = _seeds(entry["seeds"]) if "seeds" in entry else seeds
    return [Measured(step, tuple(wanted), here) for step in _listed(entry["step"])]


def _seeds(value: int | list[int]) -> tuple[int, ...]:
    return tuple(range(value)) if isinstance(value, int) else tuple(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _named(where: str, name: str, defined: Mapping[str, Measure]) -> Measure:
    if name not in defined:
        raise UserError(f"{where}: there is no [measure.{name}]; the plan has {', '.join(defined)}")
    return defined[name]


def _known(where: str, entry: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := sorted(set(entry) - keys):
        raise UserError(f"{where}: {unknown[0]} means nothing there; known are {', '.join(sorted(keys))}")


def _check(study: Study) -> None:
    looks = {arm.name: len(arm.looks) for arm in study.arms.values() if arm.looks}
    if len(set(looks.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in looks.items())
        raise UserError(
            f"every arm that chooses its rate must get as many looks as every other; now: {counts}"
        )
    each: tuple[Callable[[Study, Arm], None], ...] = (_check_base, _check_fork, _check_steps)
    for arm in study.arms.values():
        for check in each:
            check(study, arm)


def _check_base(study: Study, arm: Arm) -> None:
    if arm.base and arm.base not in study.bases:
        raise UserError(
            f"arms.{arm.name}: there is no [bases.{arm.base}]; the plan has {', '.join(study.bases)}"
        )
    name = f"base.{arm.base}" if arm.base else "base"
    if arm.algorithm == "base" and arm.name != name and not arm.name.startswith(f"{name}-"):
        raise UserError(f'arms.{arm.name} is a base model as it is: call it [arms."{name}"], or "{name}-..."')


def _check_fork(study: Study, arm: Arm) -> None:
    if arm.fork is None:
        return
    origin = study.arms.get(arm.fork.arm)
    if origin is None or origin.algorithm == "base":
        raise UserError(f"arms.{arm.name}: from arm {arm.fork.arm!r}, which is not trained; name one that is")
    if arm.base != origin.base:
        raise UserError(f"arms.{arm.name}: its base is not that of {origin.name}; give the same")
    if missing := sorted(set(arm.seeds) - set(origin.seeds)):
        raise UserError(f"arms.{arm.name}: {origin.name} has no seed {missing[0]} to begin at; give it one")


def _check_steps(study: Study, arm: Arm) -> None:
    """Checkpoints are there at multiples of save_every and at the last update."""
    for seed in arm.seeds:
        last = study.trained(arm.name, seed, {}).steps
        forks = [one.fork.step for one in study.arms.values() if one.fork and one.fork.arm == arm.name]
        measured = [at.step for at in arm.at if seed in at.seeds]
        for step in (*measured, *forks):
            if step != last and step % study.save_every:
                raise UserError(
                    f"arms.{arm.name}: no checkpoint is saved at step {step} (every {study.save_every} "
                    f"updates, and at {last}); give another step"
                )
        if arm.algorithm == "base" and any(measured):
            raise UserError(f"arms.{arm.name}: a base model has step 0 only; give step = 0")
        if arm.algorithm != "base" and 0 in measured:
            raise UserError(f"arms.{arm.name}: step 0 is the base model's; measure arms.base instead")
