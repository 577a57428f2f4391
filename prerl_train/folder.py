"""The run folder of a training run: its name, its run.json, and whether this run may go on in it.

Covers which settings identify a run and the comparison with what a folder holds. Does not cover
samples (prerl_eval.store), metrics (watch.py) or checkpoints (checkpoints.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval import provenance
from prerl_eval.checkpoint import Checkpoint
from prerl_eval.errors import UserError
from prerl_eval.run_record import SCHEMA_VERSION, differing_keys, holds_other_files, read_record
from prerl_train.data import TrainingSet
from prerl_train.settings import FREE, OPTIONS, TrainSettings

if TYPE_CHECKING:
    from prerl_train.train_plan import TrainPlan

KIND = "training"
"""What run.json says of a run that this package made."""


@dataclass(frozen=True)
class Folder:
    """Where a run is and what identifies it.

    path: RUN. run_id: <algorithm>-<model>-<hash>. settings: the run's own, resolved, as run.json holds
    them: fields of TrainSettings, and the keys of prerl_eval's runs where they mean more (engine,
    template, checkpoint).
    """

    path: Path
    run_id: str
    settings: Mapping[str, Any]


def plan_folder(
    settings: TrainSettings, checkpoint: Checkpoint, data: TrainingSet, engine: str, chat: bool
) -> Folder:
    """Name the folder of a run. engine: resolved; chat: prompts use the chat template."""
    resolved = asdict(settings) | {
        "engine": engine,
        "template": "chat" if chat else "plain",
        "checkpoint": checkpoint.fingerprint,
        "data_hash": _data_hash(data),
        "stop_token_ids": list(checkpoint.stop_ids().used),
    }
    resolved = json.loads(json.dumps(resolved, default=str))
    digest = hashlib.sha256(json.dumps(identity(resolved), sort_keys=True).encode()).hexdigest()[:8]
    run_id = f"{settings.algorithm}-{checkpoint.name}-{digest}"
    return Folder(settings.out or Path("runs") / run_id, run_id, resolved)


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what is learnt; a run of more steps is the same run, longer.

    `model` and `data` are names: weights and problems count. With a learning rate that falls
    towards the last update, the number of updates counts too.
    """
    loose = FREE | {"model", "data"} | ({"steps"} if resolved["lr_schedule"] == "constant" else set())
    return {key: value for key, value in resolved.items() if key not in loose}


def check_folder(folder: Folder) -> bool:
    """Whether the folder holds this run already (to be resumed); False where there is nothing.

    Raises UserError where it holds other files, another run, or this one with more updates.
    """
    try:
        is_run = (folder.path / "run.json").exists()
    except OSError as error:
        raise UserError(
            f"cannot write a run in {folder.path} ({error.strerror}); give another --out"
        ) from error
    if not is_run:
        if holds_other_files(folder.path):
            raise UserError(f"--out {folder.path} holds files but no run; give an empty or new folder")
        return False
    record = read_record(folder.path)
    if record.get("kind") != KIND:
        raise UserError(f"--out {folder.path} is a run of prerl-eval, not of training; give another folder")
    # A run from before an option was there is one with its default.
    stored = {name: spec["default"] for name, spec in OPTIONS.items()} | record["settings"]
    different = differing_keys(identity(stored), identity(folder.settings))
    if different:
        raise UserError(
            f"--out {folder.path} was trained with other settings ({'; '.join(different)}); repeat those, or "
            "give another --out (without --out each setting gets its own folder)"
        )
    if stored["steps"] > folder.settings["steps"]:
        raise UserError(
            f"--steps {folder.settings['steps']}: {folder.path} is a run of {stored['steps']} updates; "
            "give as many or more, or another --out"
        )
    return True


def run_record(plan: TrainPlan, engine: Mapping[str, Any]) -> dict[str, Any]:
    """The run.json of a run, with one more session. engine: what this sitting samples and trains with."""
    path, settings = plan.folder.path, plan.folder.settings
    before = read_record(path) if (path / "run.json").exists() else {}
    return {
        "schema": SCHEMA_VERSION,
        "run_id": before.get("run_id", plan.folder.run_id),
        "kind": KIND,
        "created": before.get("created", provenance.now()),
        "checkpoint": plan.checkpoint.describe(),
        "settings": dict(settings),
        "benchmarks": plan.data.record(settings["samples_per_prompt"], settings["max_tokens"]),
        "notes": [plan.data.report(), *plan.notes],
        "sessions": [*before.get("sessions", []), provenance.session(engine)],
    }


def _data_hash(data: TrainingSet) -> str:
    digest = hashlib.sha256()
    for problem, prompt in zip(data.problems, data.prompts, strict=True):
        line = [problem.problem_id, prompt.text, problem.gold, problem.grader, dict(problem.extra)]
        digest.update(json.dumps(line, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
