"""Checkpoints of a training run: each appears whole or not at all, and the newest whole one is found.

    RUN/checkpoint-N/             N updates done: all that transformers' Trainer saves, and extra files
    RUN/checkpoint-N/prerl.json   written last: step, processes, every file with size and checksum, versions
    RUN/.partial-N/               being written or deleted; the next start removes what a kill left
    RUN/.replaced-N/              an older checkpoint-N while a new one takes its place

Covers writing, rotation and the choice of the checkpoint to resume from. What is in the files, and
loading them, is the Trainer's own. All processes must see one RUN folder. Imports no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval.durable import sync_path
from prerl_eval.errors import RunStopped, UserError
from prerl_train.manifest import changed, cut_off, missing, read_manifest, seal

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Trainer
else:
    _Trainer = object

FOLDER = re.compile(r"checkpoint-(\d+)")
PARTIAL, REPLACED = ".partial-", ".replaced-"

OWN = (("config", "bos_token_id"), ("config", "eos_token_id"), ("generation_config", "bos_token_id"))
"""What train() overwrites with the tokenizer's ids, None included; the model's own are saved."""

Attribute = tuple[str, str, Any]
"""(part of the model, name, value)."""


class AtomicCheckpoints(_Trainer):
    """Mixin before a GRPOTrainer (`class T(AtomicCheckpoints, GRPOTrainer)`): safe checkpoints.

    before_checkpoint: called, on every process, before a checkpoint is begun. extra_writers: called,
    on every process, with the folder to add files to. Raises RunStopped where a checkpoint cannot be
    written; the ones before it stay as they are.
    """

    def __init__(self, *args: Any, **named: Any):
        self.before_checkpoint: list[Callable[[], None]] = []
        self.extra_writers: list[Callable[[Path], None]] = []
        self._partial: Path | None = None
        super().__init__(*args, **named)
        _check_generation_config(self.model)
        self._own: list[Attribute] = [
            (part, name, getattr(getattr(self.model, part, None), name, None)) for part, name in OWN
        ]

    # Why: transformers takes the newest folder, torn or not, and resumes without an optimizer in silence.
    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **named: Any) -> Any:
        """As the base; True resumes from the newest complete checkpoint, UserError where there is none."""
        if resume_from_checkpoint is True:
            found = latest_checkpoint(Path(self.args.output_dir), self.args.world_size)
            if found is None:
                raise UserError(
                    f"{self.args.output_dir} holds no complete checkpoint to resume from; train without it"
                )
            resume_from_checkpoint = str(found)
        if resume_from_checkpoint and self.args.device.type == "cpu" and self.args.world_size > 1:
            _let_torch_load_to_cpu_numbers()
        return super().train(resume_from_checkpoint, *args, **named)

    # Why: everything is written under a temporary name and renamed once it is safe on disk.
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run = Path(self._get_output_dir(trial))
        name = f"checkpoint-{self.state.global_step}"
        for prepare in self.before_checkpoint:
            prepare()
        partial = run / f"{PARTIAL}{self.state.global_step}"
        if self.args.should_save:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        with _stopping_on_write_errors(run, name):
            self._partial = partial
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._partial = None
            for write in self.extra_writers:
                write(partial / name)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._publish(partial / name, run / name)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(run / name))

    def _publish(self, written: Path, final: Path) -> None:
        """Turn the folder that all processes have written into RUN/checkpoint-N, and rotate."""
        best = self.state.best_model_checkpoint
        if best is not None and Path(best) == written:
            self.state.best_model_checkpoint = best = str(final)
            self.state.save_to_json(str(written / "trainer_state.json"))
        resumable = not self.args.save_only_model
        if resumable:
            _check_rng_files(written, self.args.world_size)
        seal(written, self.state.global_step, self.args.world_size, resumable)
        _move_into_place(written, final)
        rotate(final.parent, self.args.save_total_limit, {final} | ({Path(best)} if best else set()))

    # Why: while saving, this is the folder that the Trainer writes to and rotates in.
    def _get_output_dir(self, trial: Any) -> str:
        return str(self._partial) if self._partial else str(super()._get_output_dir(trial))

    # Why: a checkpoint's config is the source model's, so that its P(y) and its cache work as before.
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        # HF's Trainer switches the cache off for training; a checkpoint is for generating too.
        with _attributes(model, [*self._own, ("config", "use_cache", True)]):
            super()._save(output_dir, state_dict)

    # Why: TRL writes RUN/README.md with every checkpoint, and asks services for their address to do so.
    def create_model_card(self, *args: Any, **named: Any) -> None:
        """TRL's model card, where the user asks for it: checkpoints come without."""
        if self._partial is None:
            super().create_model_card(*args, **named)

    # Why: what is pushed must be complete.
    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._partial is None:
            super()._push_from_checkpoint(checkpoint_folder)


def latest_checkpoint(run: Path, world_size: int | None = None) -> Path | None:
    """The newest complete checkpoint of a run, None without one.

    world_size: processes of this run; None takes WORLD_SIZE, which launchers set. A checkpoint
    without manifest, or with a file that is too short or holds other bytes than were written, is torn:
    it is skipped, with a line on stderr.
    Raises UserError where the newest whole one cannot be resumed from: files were removed, it was
    saved without optimizer, or by another number of processes.
    """
    if world_size is None:
        world_size = int(os.environ.get("WORLD_SIZE", 1))
    for checkpoint in _newest_first(run):
        manifest = read_manifest(checkpoint)
        if manifest is None:
            fault = "no readable prerl.json in it"
        else:
            fault = cut_off(checkpoint, manifest) or changed(checkpoint, manifest)
        if manifest is None or fault:
            if os.environ.get("RANK", "0") == "0":
                print(f"warning: {checkpoint} is torn ({fault}); it is skipped", file=sys.stderr)
            continue
        _check_resumable(checkpoint, manifest, world_size)
        return checkpoint
    return None


def latest_complete(run: Path) -> Path | None:
    """The newest checkpoint that is whole, whoever may resume from it; None without one."""
    return next((folder for folder in _newest_first(run) if _is_complete(folder)), None)


def clear_partial(run: Path) -> None:
    """Remove what killed saves left; only for the holder of the run's lock.

    A checkpoint that was being replaced is put back where its successor did not arrive.
    """
    for old in run.glob(f"{REPLACED}*"):
        final = run / f"checkpoint-{old.name.removeprefix(REPLACED)}"
        if final.exists():
            shutil.rmtree(old)
        else:
            old.rename(final)
    for left in run.glob(f"{PARTIAL}*"):
        shutil.rmtree(left)


def rotate(run: Path, keep: int | None, protected: set[Path]) -> None:
    """Delete the oldest complete checkpoints but `keep` of them; None or 0 keeps all.

    protected: never deleted, nor is the newest. What is incomplete is left alone: it is not counted,
    and somebody may have put it there.
    """
    if not keep or keep < 0:
        return
    complete = [folder for folder in _newest_first(run) if _is_complete(folder)]
    for old in complete[keep:]:
        if old not in protected:
            # A kill while deleting must not leave a checkpoint with holes.
            doomed = run / f"{PARTIAL}{old.name}-rotated"
            old.rename(doomed)
            shutil.rmtree(doomed)


def _newest_first(run: Path) -> list[Path]:
    if not run.is_dir():
        return []
    steps = {path: FOLDER.fullmatch(path.name) for path in run.iterdir() if path.is_dir()}
    return [path for _, path in sorted(((int(m[1]), p) for p, m in steps.items() if m), reverse=True)]


def _is_complete(checkpoint: Path) -> bool:
    manifest = read_manifest(checkpoint)
    return manifest is not None and not missing(checkpoint, manifest) and not cut_off(checkpoint, manifest)


def _check_resumable(checkpoint: Path, manifest: Mapping[str, Any], world_size: int) -> None:
    gone = missing(checkpoint, manifest)
    if gone:
        raise UserError(
            f"{checkpoint} lacks {', '.join(gone[:3])}{' and more' if len(gone) > 3 else ''}, "
            "without which no run resumes exactly; put it back, or remove the folder to use an older one"
        )
    if not manifest.get("resumable", True):
        raise UserError(
            f"{checkpoint} was saved without optimizer (save_only_model): no run resumes from it; start "
            "a new run with it as model"
        )
    if manifest.get("world_size") != world_size:
        raise UserError(
            f"{checkpoint} was saved by {manifest.get('world_size')} processes, this run has {world_size}; "
            f"start {manifest.get('world_size')}, or a new run with it as model"
        )


@cache
def _let_torch_load_to_cpu_numbers() -> None:
    """torch.load knows no "cpu:1", which is the device of a process among several on CPU."""
    from torch.serialization import register_package

    # torch sorts by priority and cannot compare two of one priority: 37 is nobody else's.
    register_package(
        37, lambda storage: None, lambda storage, place: storage if place[:4] == "cpu:" else None
    )


def _check_generation_config(model: Any) -> None:
    """Refuse now what save_pretrained would refuse at the first checkpoint."""
    config = getattr(model, "generation_config", None)
    if config is None:
        return
    try:
        config.validate(strict=True)
    except ValueError as error:
        name = getattr(model.config, "_name_or_path", "") or "the model"
        raise UserError(
            f"generation_config.json of {name} contradicts itself, so no checkpoint could be saved "
            f"({' '.join(str(error).split())[:200]}); correct it"
        ) from error


def _check_rng_files(written: Path, world_size: int) -> None:
    names = ["rng_state.pth"] if world_size == 1 else [f"rng_state_{rank}.pth" for rank in range(world_size)]
    missing = [name for name in names if not (written / name).is_file()]
    if missing:
        raise RunStopped(
            f"{written.parent.parent}: {missing[0]} of another process did not arrive there; give an --out "
            "on a file system that all nodes share"
        )


def _move_into_place(written: Path, final: Path) -> None:
    replaced = final.with_name(final.name.replace("checkpoint-", REPLACED))
    if final.exists():
        final.rename(replaced)
    written.rename(final)
    sync_path(final.parent)
    written.parent.rmdir()
    if replaced.exists():
        shutil.rmtree(replaced)


@contextmanager
def _stopping_on_write_errors(run: Path, name: str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch.save reports a full disk by a RuntimeError of its archive writer.
        if isinstance(error, RuntimeError) and not re.search(
            "inline_container|PytorchStreamWriter", str(error)
        ):
            raise
        shutil.rmtree(run / f"{PARTIAL}{name.removeprefix('checkpoint-')}", ignore_errors=True)
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise RunStopped(
            f"cannot write {run / name} ({reason}); the last good checkpoint is {latest_complete(run)}: "
            "make room and run the same command to go on"
        ) from error


@contextmanager
def _attributes(model: Any, wanted: Sequence[Attribute]) -> Iterator[None]:
    """Set `model.<part>.<name>` for a moment, in the parts that the model has."""
    holders = [(getattr(model, part, None), name, value) for part, name, value in wanted]
    changed = [(part, name, value, getattr(part, name, None)) for part, name, value in holders if part]
    for part, name, value, _ in changed:
        setattr(part, name, value)
    try:
        yield
    finally:
        for part, name, _, before in changed:
            setattr(part, name, before)
