"""Checkpoints: found, checked and described before an engine starts.

Covers local folders, hub ids, PEFT adapters, series of checkpoints, stop ids and the settings that
generation_config.json suggests. Reads JSON and weight headers only; imports no torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prerl_eval import weights
from prerl_eval.errors import UserError
from prerl_eval.json_files import read_json
from prerl_eval.tokenizer_files import TokenizerFiles, has_tokenizer, read_tokenizer_files

STEP_FOLDER = re.compile(r"(?:checkpoint|global_step|step|epoch)[-_]?(\d+)")
INNER_FOLDERS = frozenset({"actor", "huggingface", "hf", "merged", "model", "policy", "weights"})
"""Folder names that say nothing without their parent's."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.safetensors")
CAUSAL_LM = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")

NEUTRAL = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "no_repeat_ngram_size": 0,
}
"""Sampling keys of a generation_config.json, with the value at which each does nothing."""


@dataclass(frozen=True)
class StopIds:
    """sources: file -> the stop ids it names. used: all of them, sorted: what ends a completion here.

    disagreements: one line where the sources differ, for the log of a run.
    """

    sources: Mapping[str, tuple[int, ...]]
    used: tuple[int, ...]
    disagreements: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A model to evaluate.

    ref: what the user gave. name: for folders and tables. path: local folder of the weights, of the
    adapter where `base` is set; None for a remote server's model. base: the model a PEFT adapter
    stands on.
    """

    ref: str
    name: str
    path: Path | None
    base: Checkpoint | None = None

    @property
    def base_path(self) -> Path | None:
        """Folder of the adapter's base model; None where this is no adapter."""
        return self.base.path if self.base else None

    @property
    def tokenizer_path(self) -> Path | None:
        """Folder of the tokenizer: an adapter's own where it has one."""
        if self.base and self.path and not has_tokenizer(self.path):
            return self.base.tokenizer_path
        return self.path

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json of the model (of an adapter's base); {} for a remote model."""
        if self.base:
            return self.base.config
        return read_json(self.path / "config.json") if self.path else {}

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """generation_config.json, {} without one; an adapter's own comes before its base's."""
        if self.path is None:
            return {}
        own = read_json(self.path / "generation_config.json", missing_ok=True)
        return own or (self.base.generation_config if self.base else {})

    @cached_property
    def tokenizer_files(self) -> TokenizerFiles | None:
        """What the tokenizer's files say; None for a remote model."""
        return read_tokenizer_files(self.tokenizer_path) if self.tokenizer_path else None

    @property
    def text_config(self) -> dict[str, Any]:
        """The part of the config that describes the language model (multimodal models nest it)."""
        nested = self.config.get("text_config")
        return nested if isinstance(nested, dict) else self.config

    @property
    def context_length(self) -> int | None:
        """Positions that the model was made for, prompt and completion together; None if unknown."""
        config = self.text_config
        names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
        length = next((config[name] for name in names if isinstance(config.get(name), int)), None)
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if length and rope.get("rope_type", rope.get("type")) == "yarn":
            length = max(
                length, int(rope.get("original_max_position_embeddings", length) * rope.get("factor", 1))
            )
        return length

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the weights: another value means another model, also under the same path."""
        if self.path is None:
            return f"remote:{self.ref}"
        digest = hashlib.sha256(weights.fingerprint(_weight_files(self.path, self.base is not None)).encode())
        for name in ("config.json", "adapter_config.json"):
            if (self.path / name).is_file():
                digest.update((self.path / name).read_bytes())
        if self.base:
            digest.update(self.base.fingerprint.encode())
        return digest.hexdigest()

    def stop_ids(self) -> StopIds:
        """Every id that config, generation_config and tokenizer name as an end of text."""
        eos = self.tokenizer_files.special_id("eos_token") if self.tokenizer_files else None
        named = {
            "config.json": _ids(self.text_config.get("eos_token_id"))
            or _ids(self.config.get("eos_token_id")),
            "generation_config.json": _ids(self.generation_config.get("eos_token_id")),
            "tokenizer": _ids(eos),
        }
        sources = {source: ids for source, ids in named.items() if ids}
        used = tuple(sorted({number for ids in sources.values() for number in ids}))
        disagreements: tuple[str, ...] = ()
        if len({frozenset(ids) for ids in sources.values()}) > 1:
            listed = "; ".join(f"{source}: {', '.join(map(str, ids))}" for source, ids in sources.items())
            disagreements = (f"stop ids differ ({listed}); all of them end a completion here",)
        return StopIds(sources, used, disagreements)

    def generation_defaults(self) -> dict[str, Any]:
        """Sampling settings that generation_config.json suggests and that would change something."""
        suggested = {key: self.generation_config.get(key) for key in NEUTRAL}
        return {key: value for key, value in suggested.items() if value is not None and value != NEUTRAL[key]}

    def describe(self) -> dict[str, Any]:
        """What run.json records."""
        return {
            "ref": self.ref,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "base": self.base.describe() if self.base else None,
            "architectures": self.config.get("architectures"),
            "context_length": self.context_length,
            "stop_ids": {source: list(ids) for source, ids in self.stop_ids().sources.items()},
            "generation_config": self.generation_config,
        }


def open_checkpoint(ref: str) -> Checkpoint:
    """Find and check one checkpoint: a folder (model or PEFT adapter) or a hub id.

    Raises UserError, one line, for whatever would keep an engine from loading it.
    """
    path = _locate(ref)
    adapter = (path / "adapter_config.json").is_file()
    if not adapter and not (path / "config.json").is_file():
        raise _no_model(path, "config.json")
    base = _open_base(path) if adapter else None
    checkpoint = Checkpoint(ref, _name(ref, path), path, base)
    if not base:
        _check_architecture(checkpoint)
    files = _weight_files(path, adapter)
    if not files:
        raise _no_model(path, "adapter_model.safetensors" if adapter else "model.safetensors")
    weights.check_weights(files)
    _check_vocabulary(checkpoint, None if adapter else weights.embedding_rows(files))
    return checkpoint


def expand_checkpoints(refs: Sequence[str]) -> list[Checkpoint]:
    """Open every ref; a folder that is no model but holds checkpoint-*, global_step_* or step_*
    folders stands for those, sorted by step.

    Raises UserError for a ref that cannot be opened, and for two checkpoints of one name.
    """
    if not refs:
        raise UserError("no checkpoint given; give --ckpt PATH or a hub id")
    checkpoints = [open_checkpoint(ref) for given in refs for ref in _series(given)]
    names = [checkpoint.name for checkpoint in checkpoints]
    for checkpoint in checkpoints:
        if names.count(checkpoint.name) > 1:
            raise UserError(
                f"two checkpoints are called {checkpoint.name!r}; run each by itself, with its own --out"
            )
    return checkpoints


def remote_checkpoint(name: str) -> Checkpoint:
    """A model that a server holds: only its name is known here."""
    return Checkpoint(ref=name, name=name.rstrip("/").rpartition("/")[2], path=None)


def _series(ref: str) -> list[str]:
    folder = _as_path(ref)
    is_model = any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    if not folder.is_dir() or is_model or weights.merge_command(folder):
        return [ref]
    steps = {path: STEP_FOLDER.fullmatch(path.name) for path in folder.iterdir() if path.is_dir()}
    found = sorted((int(match[1]), path) for path, match in steps.items() if match)
    return [str(path) for _, path in found] or [ref]


def _as_path(ref: str) -> Path:
    try:
        return Path(ref).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"no checkpoint at {ref}: there is no such user; give a folder or a hub id"
        ) from error


def _locate(ref: str) -> Path:
    path = _as_path(ref)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{ref} is a file; give the folder that holds config.json and the weights")
    if not HUB_ID.fullmatch(ref):
        raise UserError(f"no checkpoint at {ref}; give a folder, or a hub id such as Qwen/Qwen3-4B")
    return _download(ref)


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(hub_id, allow_patterns=list(HUB_FILES)))
        if not any(path.glob("*.safetensors")):
            snapshot_download(hub_id, allow_patterns=["*.bin", "*.bin.index.json"])
    except (OSError, ValueError) as error:  # ValueError: no well-formed id
        cause = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise UserError(
            f"no folder {hub_id} here, and the hub has no such model for you or cannot be reached ({cause}); "
            "download it where it can (hf download) and give its folder"
        ) from error
    return path


def _open_base(adapter: Path) -> Checkpoint:
    ref = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(ref, str) or not ref:
        raise UserError(
            f"{adapter}/adapter_config.json names no base_model_name_or_path; write the base model there"
        )
    if _as_path(ref).is_dir() and _as_path(ref).samefile(adapter):
        raise UserError(
            f"{adapter}/adapter_config.json names itself as base model; write the base model there"
        )
    beside = adapter / ref
    try:
        return open_checkpoint(str(beside) if not Path(ref).exists() and beside.is_dir() else ref)
    except UserError as error:
        raise UserError(f"base model of the adapter {adapter}: {error}") from error


def _no_model(path: Path, missing: str) -> UserError:
    command = weights.merge_command(path)
    if command:
        return UserError(f"{path} holds a trainer's shards, not a model; merge them first: {command}")
    return UserError(f"no {missing} in {path}; give the folder that save_pretrained wrote")


def _weight_files(path: Path, adapter: bool) -> list[Path]:
    return weights.find_weights(path, "adapter_model" if adapter else "model")


def _check_architecture(checkpoint: Checkpoint) -> None:
    architectures = checkpoint.config.get("architectures") or []
    if architectures and not any(CAUSAL_LM.search(str(name)) for name in architectures):
        raise UserError(f"{checkpoint.path} is a {architectures[0]}; give a causal language model")


def _check_vocabulary(checkpoint: Checkpoint, rows: int | None) -> None:
    folder = checkpoint.tokenizer_path
    if folder is None or not has_tokenizer(folder):
        raise UserError(
            f"no tokenizer in {checkpoint.path}; "
            "copy tokenizer.json and tokenizer_config.json of the model it comes from into it"
        )
    vocabulary = checkpoint.text_config.get("vocab_size")
    # Multimodal models may keep extra rows for image tokens (Llama 3.2 Vision).
    is_text_only = checkpoint.text_config is checkpoint.config
    if is_text_only and rows is not None and isinstance(vocabulary, int) and rows != vocabulary:
        raise UserError(
            f"{checkpoint.path}: config.json says vocab_size {vocabulary}, the embedding has {rows} rows; "
            "take both from one model"
        )
    size = checkpoint.tokenizer_files.size if checkpoint.tokenizer_files else None
    limit = rows if rows is not None else vocabulary
    if size is not None and isinstance(limit, int) and size > limit:
        raise UserError(
            f"{checkpoint.path}: the tokenizer has ids up to {size - 1}, the model only {limit} embeddings; "
            "take both from one model"
        )


def _name(ref: str, path: Path) -> str:
    """Folder name, with its parents' while it says too little: RUN/checkpoint-50 -> RUN-checkpoint-50."""
    if not _as_path(ref).is_dir():
        return ref.rpartition("/")[2]
    parts = list(path.resolve().parts[1:])
    name = parts.pop() if parts else "checkpoint"
    last = name
    while parts and (last in INNER_FOLDERS or STEP_FOLDER.fullmatch(last)):
        last = parts.pop()
        name = f"{last}-{name}"
    return name


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    ids = tuple(value) if isinstance(value, list) else (value,)
    if not all(isinstance(number, int) for number in ids):
        raise UserError(
            f"eos_token_id = {value!r} of the checkpoint is no token id; write a number or a list"
        )
    return ids
