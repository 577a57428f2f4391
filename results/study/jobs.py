"""The jobs of a study: one command each, the folder that it writes, and what has to be there before.

    WORK/MODEL                 a training run; a fork's and another base's are the same
    WORK/MODEL@STEP-MEASURE    an evaluation of its checkpoint
    WORK/bases/NAME            another base model
    WORK/align-NAME            how gradients agree in a base model; "base" is the shipped one
    WORK/....log               what the commands printed

Covers commands, and whether a folder holds what its command would make: whoever made it. Does not
cover running them (results.study.execute).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pyarrow.parquet as pq

from prerl_eval import store
from prerl_eval.json_files import read_json
from prerl_eval.run_record import read_record
from prerl_train.checkpoints import latest_complete
from results.study.plan import Model, Point, Study, Value


@dataclass(frozen=True)
class Job:
    """One resumable command, `python -m ARGUMENTS`. needs: jobs that come first. seconds: guessed."""

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    seconds: float

    def log(self, work: Path) -> Path:
        """Where its output goes."""
        return work / f"{self.name.replace('/', '-')}.log"


def measured_run(point: Point, work: Path) -> Path:
    """The folder of an evaluation."""
    return work / f"{point.model.name}@{point.step}-{point.measure.name}"


class Jobs:
    """Collects the jobs that some points need, in the order in which they can run.

    rates: arm -> learning rate, for the origins of forks.
    """

    def __init__(self, study: Study, rates: Mapping[str, str], work: Path):
        self.study, self.rates, self.work = study, rates, work
        self._jobs: dict[str, Job] = {}

    def of(self, points: Iterable[Point]) -> list[Job]:
        """What is to be run so that every point is measured; nothing for what WORK holds."""
        for point in points:
            if not self.is_measured(point):
                self._measure(point)
        return list(self._jobs.values())

    def aligned(self, held: Collection[str]) -> list[Job]:
        """What is to be run so that every base model but those held is through `prerl-train align`."""
        for name in ("base", *self.study.bases) if self.study.alignment else ():
            out = self.work / f"align-{name}"
            if name in held or read_json(out / "alignment.json", missing_ok=True).get("complete"):
                continue
            shipped = name == "base"
            ckpt = self.study.model if shipped else str(self.work / "bases" / name)
            needs = () if shipped else self._base(name)
            flags = _flags(self.study.alignment)
            arguments = ("prerl_train", "align", "--ckpt", ckpt, *flags, "--out", str(out))
            self._add(out.name, arguments, needs, self.study.cost.align)
        return list(self._jobs.values())

    def is_measured(self, point: Point) -> bool:
        """Whether WORK holds all samples of a point, of the checkpoint and settings that the plan says."""
        run, measure = measured_run(point, self.work), point.measure
        if not (run / "run.json").is_file():
            return False
        record = read_record(run)
        planned = record["benchmarks"]
        asked = all(
            name in planned and planned[name]["n"] >= measure.n and planned[name]["limit"] == measure.limit
            for name in measure.benchmarks
        )
        temperature = 1.0 if measure.temperature is None else measure.temperature
        wanted = {"temperature": temperature, "seed": 0, **_sampling(point.model)}
        same = _ends_alike(record["checkpoint"]["ref"], self._checkpoint(point)) and all(
            _same(record["settings"].get(name), value) for name, value in wanted.items()
        )
        rows = sum(pq.read_metadata(part).num_rows for part in store.parts(run))
        return asked and same and rows == sum(plan["n"] * plan["problems"] for plan in planned.values())

    def is_trained(self, model: Model, step: int) -> bool:
        """Whether WORK holds a model's checkpoint, trained by the settings that the plan says."""
        run = self.work / model.name
        if not (run / f"checkpoint-{step}" / "prerl.json").is_file():
            return False
        settings = read_record(run)["settings"]
        wanted = {"lr": model.lr, "seed": model.seed, "algorithm": model.arm.algorithm, **model.arm.options}
        return _ends_alike(str(settings["model"]), self._start(model)) and all(
            name in settings and _same(settings[name], value) for name, value in wanted.items()
        )

    def _measure(self, point: Point) -> None:
        measure, model = point.measure, point.model
        needs = self._base(model.arm.base) if model.is_base else self._train(model, point.step)
        limit = [] if measure.limit is None else ["--limit", str(measure.limit)]
        temperature = [] if measure.temperature is None else ["--temperature", str(measure.temperature)]
        arguments = (
            *("prerl_eval.cli", "run", "--ckpt", str(self._checkpoint(point))),
            *(flag for name in measure.benchmarks for flag in ("--bench", name)),
            *("--n", str(measure.n), "--workers", "1", *temperature, *limit, *_flags(_sampling(model))),
            *("--out", str(measured_run(point, self.work))),
        )
        cost = self.study.cost
        samples = len(measure.benchmarks) * (measure.limit or cost.problems) * measure.n
        self._add(measured_run(point, self.work).name, arguments, needs, samples * cost.sample)

    def _train(self, model: Model, step: int) -> tuple[str, ...]:
        """Add what trains a model up to all its steps; names of jobs that come before its checkpoint."""
        if self.is_trained(model, step):
            return ()
        arm, run = model.arm, self.work / model.name
        origin = self.study.origin(model, self.rates)
        needs = self._train(origin, arm.fork.step) if origin and arm.fork else self._base(arm.base)
        start = ("--model", str(self._start(model))) if origin or arm.base else ()
        arguments = (
            *("prerl_train", arm.algorithm, "--recipe", self.study.recipe, *start),
            *("--lr", model.lr, "--seed", str(model.seed), "--steps", str(model.steps)),
            *("--save-every", str(self.study.save_every), *_flags(arm.options), "--out", str(run)),
        )
        newest = latest_complete(run)
        done = int(newest.name.rpartition("-")[2]) if newest else 0
        return self._add(model.name, arguments, needs, (model.steps - done) * self.study.cost.update)

    def _base(self, name: str) -> tuple[str, ...]:
        folder = self.work / "bases" / name
        if not name or folder.is_dir():
            return ()
        arguments = ("prerl_train", "base", *_flags(self.study.bases[name]), "--out", str(folder))
        return self._add(f"bases/{name}", arguments, (), self.study.cost.base)

    def _add(
        self, name: str, arguments: tuple[str, ...], needs: tuple[str, ...], seconds: float
    ) -> tuple[str]:
        self._jobs.setdefault(name, Job(name, arguments, needs, max(seconds, 0.0)))
        return (name,)

    def _start(self, model: Model) -> Path:
        """The folder that training a model begins with."""
        origin = self.study.origin(model, self.rates)
        if origin and model.arm.fork:
            return self.work / origin.name / f"checkpoint-{model.arm.fork.step}"
        return self.work / "bases" / model.arm.base if model.arm.base else Path(self.study.model)

    def _checkpoint(self, point: Point) -> Path:
        if point.model.is_base:
            return self._start(point.model)
        return self.work / point.model.name / f"checkpoint-{point.step}"


def _sampling(model: Model) -> Mapping[str, Value]:
    """Flags of an evaluation: the options of a base model, which has no training to have any."""
    return model.arm.options if model.is_base else {}


def _flags(options: Mapping[str, Value]) -> list[str]:
    flags = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", str(value)]
    return flags


def _same(stored: Any, wanted: Value) -> bool:
    """Whether run.json's value is what a flag says: 0.0008 is "8e-4"."""
    try:
        return bool(float(stored) == float(wanted))
    except (TypeError, ValueError):
        return bool(stored == wanted)


def _ends_alike(stored: str, wanted: Path) -> bool:
    """Whether two paths name one model: the study may have been made in another folder."""
    return PurePath(stored).parts[-2:] == wanted.parts[-2:]
