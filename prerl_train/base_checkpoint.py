"""A base model as a checkpoint on disk, with the record of how it was made.

    OUT/config.json, generation_config.json, model.safetensors, tokenizer files   an ordinary checkpoint
    OUT/pretraining.json    command, settings, corpus, seed, versions, device, time
    OUT/train.jsonl         the loss curve
    OUT/README.md           what it is

The folder appears whole or not at all. Torch is imported only once the command is known to be good.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerl_eval import __version__
from prerl_eval.console import progress
from prerl_eval.errors import RunStopped, UserError
from prerl_train.traces import DEFAULT_CORPUS, Corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

README = """\
# prerl base model, {size}

A Qwen3 of {parameters:,} parameters, pre-trained from random weights on {tokens:,} tokens of Countdown
reasoning traces (module `prerl_train.traces`) by

    {command}

in {seconds:.0f} s; the loss ended at {loss:.3f}. It is made to be improved by RL in minutes on a CPU, and it
is evidence about nothing but its own small world. A prompt is plain text after one start token, such as
`use 3 4 5 to reach 27 .`. Settings and versions are in `pretraining.json`, the loss curve in `train.jsonl`.
"""


def train_base(
    out: Path,
    *,
    size_name: str,
    seed: int,
    tokens: int | None,
    threads: int,
    device: str,
    corpus: Corpus = DEFAULT_CORPUS,
) -> dict[str, Any]:
    """Pre-train a base model and write it to `out`; the record of how it was made.

    size_name: a key of base_model.SIZES. tokens: None for the size's own number. Raises UserError, before
    any work, for a folder that holds something, for a share outside 0 to 1 and for a device that is not
    there; RunStopped where the checkpoint cannot be written.
    """
    check_out(out)
    if not 0 <= corpus.promptless_share <= 1:
        raise UserError(f"--promptless-share {corpus.promptless_share} is no share of documents; give 0 to 1")
    import torch
    import transformers

    from prerl_train.base_model import SIZES, pretrain

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device; use --device cpu")
    torch.set_num_threads(threads)
    size = SIZES[size_name]
    tokens = tokens or size.tokens
    start = time.monotonic()
    with progress(f"pre-training the {size_name} base", tokens, unit="tokens") as advance:
        model, tokenizer, log = pretrain(
            size, seed=seed, tokens=tokens, corpus=corpus, device=device, advance=advance
        )
    seconds = time.monotonic() - start
    record = {
        "command": f"prerl-train base --size {size_name} --seed {seed} --tokens {tokens} --threads {threads}"
        f" --device {device}{_corpus_flags(corpus)} --out {out}",
        "size": size_name,
        **asdict(size),
        **asdict(corpus),
        "seed": seed,
        "tokens": int(log[-1]["tokens"]),
        "parameters": model.num_parameters(),
        "loss": log[-1]["loss"],
        "threads": threads,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "seconds": round(seconds, 1),
        "tokens_per_second": round(log[-1]["tokens"] / seconds),
        "versions": {
            "prerl": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    save_checkpoint(out.resolve(), model, tokenizer, record, log)
    return record


def _corpus_flags(corpus: Corpus) -> str:
    """The flags that make this corpus of the default one, each after a space."""
    share = corpus.promptless_share
    flags = "" if share == DEFAULT_CORPUS.promptless_share else f" --promptless-share {share}"
    return flags + ("" if corpus.restate else " --no-restate")


def check_out(out: Path) -> None:
    """Raise UserError unless `out` can be replaced by a new folder: it is empty, or not there yet."""
    try:
        place = out.resolve()
        taken = place.exists() and not (place.is_dir() and not any(place.iterdir()))
    except OSError as error:
        raise UserError(f"--out {out}: cannot write there ({error.strerror}); give another folder") from error
    if taken:
        raise UserError(f"--out {out} is there already and is not an empty folder; give another folder")
    if place == Path.cwd():
        raise UserError(
            f"--out {out} is the folder you are in, which cannot be replaced; give another folder"
        )
    parent = next(folder for folder in place.parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"--out {out}: cannot write in {parent}; give another folder")


def save_checkpoint(
    out: Path,
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    record: Mapping[str, Any],
    log: Sequence[Mapping[str, float]],
) -> None:
    """Write model, tokenizer, pretraining.json, train.jsonl and README.md, then move them to `out` at once.

    Raises RunStopped where that fails, on a full disk above all.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            folder = Path(temporary) / out.name
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            lines = "".join(json.dumps(line) + "\n" for line in log)
            (folder / "train.jsonl").write_text(lines, encoding="utf-8")
            text = json.dumps(record, indent=2) + "\n"
            (folder / "pretraining.json").write_text(text, encoding="utf-8")
            (folder / "README.md").write_text(README.format(**record), encoding="utf-8")
            folder.rename(out)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunStopped(f"--out {out}: cannot write ({reason}); make room and start again") from error
