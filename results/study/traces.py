"""The base's own responses, and their log-probs under the checkpoints that were trained from it.

Covers which checkpoints there are, choosing responses of WORK/base@0-test, and scoring them. Nothing is
sampled. Does not cover what the log-probs say: kl.py and trace_mass.py do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prerl_eval import store
from prerl_eval.annotations import read_annotations
from prerl_eval.errors import UserError
from prerl_eval.json_files import read_json
from prerl_eval.run_record import read_record, write_record

BASE_RUN = "base@0-test"
STEPS = (10, 40)
"""Updates after which every model is scored, beside the end of its own warm-up."""

KEY = ("benchmark", "problem_id", "sample_index")
LABELS = {"given": "logp_given_prompt", "alone": "logp_alone"}

Key = tuple[str, str, int]
"""(benchmark, problem, sample)."""

Scores = Mapping[str, Mapping[Key, float]]
""""given" and "alone" -> log P(y|x) and log P(y) of each response, in nats."""


class Target(NamedTuple):
    """A checkpoint to score under. folder: of its weights."""

    model: str
    step: int
    folder: Path

    @property
    def name(self) -> str:
        """As in run folders: MODEL@STEP."""
        return f"{self.model}@{self.step}"


def base_run(work: Path) -> Path:
    """The base's measured run. Raises UserError where it is not there or not complete."""
    run = work / BASE_RUN
    if not is_complete(run):
        raise UserError(f"{run} is not there or not complete; measure the base first")
    return run


def is_complete(run: Path) -> bool:
    """Whether all of a run's benchmarks were sampled to their end."""
    record = read_json(run / "run.json", missing_ok=True)
    return bool(record) and set(record["sessions"][-1].get("sampled", {})) >= set(record["benchmarks"])


def base_target(run: Path) -> Target:
    """The checkpoint that a run of the base was sampled from."""
    return Target("base", 0, Path(read_record(run)["checkpoint"]["ref"]))


def targets(work: Path) -> list[Target]:
    """The checkpoints of models that were trained from the base of WORK/base@0-test, sorted by name.

    Of each model those at STEPS and at the end of its warm-up, where they are there.
    """
    base = read_record(base_run(work))["checkpoint"]["fingerprint"]
    found = []
    for folder in sorted(file.parent for file in work.glob("*/metrics.jsonl")):
        record = read_json(folder / "run.json", missing_ok=True)
        if not record or record["checkpoint"]["fingerprint"] != base:
            continue
        settings = record["settings"]
        warmup = settings["warmup_steps"] if settings["algorithm"] == "dsrl" else 0
        for step in sorted({*STEPS, warmup}):
            if (folder / f"checkpoint-{step}" / "config.json").is_file():
                found.append(Target(folder.name, step, folder / f"checkpoint-{step}"))
    return found


def subset(run: Path, out: Path, choose: Callable[[pa.Table], NDArray[np.bool_]]) -> Path:
    """A run folder `out` with the rows of `run` that `choose` marks; left as it is where it is there."""
    if out.is_dir():
        return out
    table = store.read_samples(run)
    half = out.with_name(f".{out.name}.partial")
    shutil.rmtree(half, ignore_errors=True)
    write_record(half, read_record(run))
    store.write_part(half, table.filter(pa.array(choose(table))))
    half.rename(out)
    return out


def scores(run: Path, target: Target) -> Scores:
    """Of every response of a run under a checkpoint; what is stored already is not scored again."""
    from prerl_eval.scoring.plan import ScoreOptions, annotation_name
    from prerl_eval.scoring.score import score

    score(ScoreOptions(run, [str(target.folder)], name=target.name))
    table = read_annotations(run, annotation_name(target.name), [*KEY, "label", "value"])
    found: dict[str, dict[Key, float]] = {}
    for space, label in LABELS.items():
        rows = table.filter(pc.equal(table["label"], label))
        keys = zip(*(rows[column].to_pylist() for column in KEY), strict=True)
        found[space] = dict(zip(keys, rows["value"].to_pylist(), strict=True))
    return found
