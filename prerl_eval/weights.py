"""Weight files of a checkpoint: found, checked for damage and fingerprinted without loading them.

Reads safetensors headers and zip directories only, so a 70B checkpoint is checked in a moment.
Also recognises folders that hold a trainer's shards instead of a model, and names the command
that merges them. Does not cover configs and tokenizers (prerl_eval.checkpoint).
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prerl_eval.errors import UserError

MIB = 1 << 20
SAMPLES_PER_FILE = 64
SAMPLE_BYTES = 64 << 10
MAX_HEADER_BYTES = 100_000_000
"""The safetensors format's own bound."""

EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in)\.weight$")
LEGACY_PICKLE = b"\x80\x02"
"""How torch.save began a file before its zip format (torch 1.6)."""


def find_weights(folder: Path, stem: str) -> list[Path]:
    """The weight files that transformers would load from `folder`, [] where there are none.

    stem: "model" or "adapter_model". Safetensors are preferred to torch's .bin files.
    Raises UserError where an index is unreadable or names a file that is missing.
    """
    bin_stem = "pytorch_model" if stem == "model" else stem
    for name in (f"{stem}.safetensors", f"{bin_stem}.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            return _indexed(index)
    return []


def check_weights(files: Sequence[Path]) -> None:
    """Raise UserError for a file that is cut off or is not what its name says."""
    for file in files:
        if file.suffix == ".safetensors":
            read_header(file)
        elif not zipfile.is_zipfile(file) and _head(file, 2) != LEGACY_PICKLE:
            raise UserError(f"{file} is corrupt or cut off (not a torch file); copy or save it again")


def read_header(file: Path) -> dict[str, Any]:
    """Header of a safetensors file: tensor name -> dtype, shape, data_offsets.

    Raises UserError where the header is unreadable or the file's size is not the one it promises.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > MAX_HEADER_BYTES or 8 + length > size:
            raise UserError(
                f"{file} is corrupt or cut off ({size:,} bytes, no header); copy or save it again"
            )
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        promised = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{file} is corrupt (its header is not readable); copy or save it again") from error
    if size != promised:
        raise UserError(
            f"{file} is cut off or damaged ({size:,} bytes, its header promises {promised:,}); "
            "copy or save it again"
        )
    return tensors


def embedding_rows(files: Sequence[Path]) -> int | None:
    """Rows of the token embedding by the safetensors headers; None where they do not tell."""
    shapes = [
        entry["shape"]
        for file in files
        if file.suffix == ".safetensors"
        for name, entry in read_header(file).items()
        if EMBEDDING.search(name)
    ]
    return int(shapes[0][0]) if len(shapes) == 1 else None


def fingerprint(files: Sequence[Path]) -> str:
    """sha256 over name, size and samples of each weight file: it notices an overwritten checkpoint.

    Whole files up to 8 MiB; of larger ones the first MiB, the last MiB and 64 stretches of 64 KiB
    spread evenly, since an update may leave long runs of rare tokens' embeddings as they were.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}\n".encode())
        with file.open("rb") as stream:
            if size <= 8 * MIB:
                digest.update(stream.read())
                continue
            digest.update(stream.read(MIB))
            for sample in range(1, SAMPLES_PER_FILE + 1):
                stream.seek(sample * (size - MIB) // (SAMPLES_PER_FILE + 1))
                digest.update(stream.read(SAMPLE_BYTES))
            stream.seek(size - MIB)
            digest.update(stream.read(MIB))
    return digest.hexdigest()


def merge_command(folder: Path) -> str | None:
    """The command that turns a trainer's shards in `folder` into a model; None where there are none.

    Commands as their projects document them: verl.model_merger, DeepSpeed's zero_to_fp32.py,
    `accelerate merge-weights`, torch.distributed.checkpoint.format_utils, Megatron-Bridge.
    """
    out = f"{folder}-merged"
    # verl keeps shards in STEP/actor and the config alone in STEP/actor/huggingface.
    for place in (folder, folder / "actor", folder.parent if folder.name == "huggingface" else folder):
        if any(place.glob("model_world_size_*_rank_*.pt")):
            return f"python -m verl.model_merger merge --backend fsdp --local_dir {place} --target_dir {out}"
        if (place / "dist_ckpt").is_dir():
            return (
                f"python -m verl.model_merger merge --backend megatron --local_dir {place} --target_dir {out}"
            )
    if any(folder.glob("global_step*/*_optim_states.pt")):
        return f"python {folder}/zero_to_fp32.py {folder} {out} --safe_serialization"
    if any(folder.glob("*_optim_states.pt")):
        return f"python {folder.parent}/zero_to_fp32.py {folder.parent} {out} --safe_serialization"
    for place in (folder, *sorted(folder.glob("pytorch_model_fsdp_*"))):
        if any(place.glob("*.distcp")):
            return f"accelerate merge-weights {place} {out}"
    if any(folder.glob("mp_rank_*/*.pt")) or any(folder.glob("iter_*")):
        return (
            "python examples/conversion/convert_checkpoints.py export --hf-model BASE "
            f"--megatron-path {folder} --hf-path {out} (of Megatron-Bridge)"
        )
    return None


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (index.parent / name).is_file()]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index} is not a weight index; copy or save the checkpoint again") from error
    if missing:
        raise UserError(
            f"{index.parent}: {len(missing)} of {len(names)} weight files are missing (first: {missing[0]}); "
            "finish the download or copy"
        )
    return [index.parent / name for name in names]


def _head(file: Path, count: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(count)
