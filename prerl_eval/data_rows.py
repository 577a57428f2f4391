"""The rows of a data set, wherever they are: on the hub, in a clone under a data root, in local files.

Covers reaching them through datasets.load_dataset, all configurations of a set at once, and what to say
where they cannot be had. Does not cover what the columns mean (prerl_eval.problems).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prerl_eval.cards import EVERY
from prerl_eval.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from prerl_eval.cards import Card

DATA_ROOT_VARIABLE = "PRERL_DATA_ROOT"

BUILDERS = {".jsonl": "json", ".jsonl.gz": "json", ".parquet": "parquet"}
"""Local files a card's `path` may name, and the datasets builder that reads them."""


class HubUnreachable(UserError):
    """The hub did not answer: no other set of it can be had now either."""


def load_rows(card: Card, data_root: Path | None, split: str) -> Dataset:
    """The rows of a split, through datasets.load_dataset. data_root: as `load_problems` has it.

    Raises UserError where they cannot be reached or read, with how to obtain them.
    """
    with _quiet():
        return _load(card, data_root, split)


def data_folder(card: Card, data_root: Path | None) -> Path:
    """Where the files of a set lie: beside the card, or its clone (a relative path where it has none)."""
    if card.path:
        return card.file.parent
    return (_data_root(data_root) or Path()) / card.hub_id


def column_names(card: Card, data_root: Path | None = None, split: str | None = None) -> list[str]:
    """The columns of a card's split. Raises UserError where the data cannot be reached."""
    return list(load_rows(card, data_root, split or card.split).column_names)


def _load(card: Card, data_root: Path | None, split: str) -> Dataset:
    if card.path:
        return _load_files(card, split)
    data_root = _data_root(data_root)
    return _load_hub(card, split) if data_root is None else _load_clone(card, data_root, split)


def _data_root(data_root: Path | None) -> Path | None:
    named = os.environ.get(DATA_ROOT_VARIABLE)
    return Path(named) if data_root is None and named else data_root


def _load_hub(card: Card, split: str) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        if card.config == EVERY:
            return _joined({name: _hub_folder(card, name, split) for name in _hub_folders(card)})
        return load_dataset(card.hub_id, card.config or None, split=split, revision=card.revision)
    except (ValueError, RuntimeError) as error:  # an unknown configuration or split; a set that is a script
        raise UserError(f"{card.name}: {card.hub_id}: {_first_line(error)}") from error
    except ConnectionError as error:
        raise hub_unreachable(card) from error
    except (DatasetsError, OSError) as error:
        raise UserError(
            f"{card.name}: the hub does not give {card.hub_id} ({_first_line(error)}); where it is gated, "
            f"accept its terms at {_page(card)} and log in (hf auth login), or run "
            f"`{clone_command(card, 'DIR')}` and pass --data-root DIR"
        ) from error


def _hub_folders(card: Card) -> list[str]:
    """Names of the folders at the top of a hub repository: its configurations (see EVERY)."""
    import httpx
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(card.hub_id, repo_type="dataset", revision=card.revision)
    except httpx.TransportError as error:  # what datasets makes of it where it asks the hub itself
        raise ConnectionError(str(error)) from error
    return sorted({file.partition("/")[0] for file in files if "/" in file})


def _hub_folder(card: Card, name: str, split: str) -> Dataset:
    from datasets import load_dataset

    return load_dataset(card.hub_id, data_dir=name, split=split, revision=card.revision)


def _joined(parts: Mapping[str, Dataset]) -> Dataset:
    """The rows of all configurations with the columns `config` and `config_row`."""
    from datasets import concatenate_datasets

    if not parts:
        raise ValueError("no folder holds the split")
    return concatenate_datasets(
        [
            rows.add_column("config", [name] * len(rows)).add_column(
                "config_row", [f"{name}/{number}" for number in range(len(rows))]
            )
            for name, rows in parts.items()
        ]
    )


def hub_unreachable(card: Card) -> HubUnreachable:
    """What to say of a hub set while the hub does not answer: how to obtain it elsewhere."""
    return HubUnreachable(
        f"{card.name}: the hub cannot be reached; on a machine that reaches it accept the terms of "
        f"{card.hub_id} where it has any, run `{clone_command(card, 'DIR')}`, and pass --data-root DIR here"
    )


def clone_command(card: Card, data_root: Path | str) -> str:
    """The command that puts a hub set where --data-root looks for it."""
    if card.revision != "main":
        return (
            f"hf download {card.hub_id} --repo-type dataset --revision {card.revision} "
            f"--local-dir {Path(data_root) / card.hub_id}"
        )
    return f"git clone {_page(card)} {Path(data_root) / card.hub_id}"


def _page(card: Card) -> str:
    return f"https://huggingface.co/datasets/{card.hub_id}"


def _load_clone(card: Card, data_root: Path, split: str) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    clone = data_root / card.hub_id
    if not clone.is_dir():
        raise UserError(
            f"{card.name}: no clone at {clone}; run `{clone_command(card, data_root)}` "
            "(where the set is gated, accept its terms on that page first)"
        )
    try:
        if card.config == EVERY:
            found = sorted(folder for folder in clone.iterdir() if any(folder.glob(f"{split}*")))
            return _joined({folder.name: load_dataset(str(folder), split=split) for folder in found})
        return load_dataset(str(clone), card.config or None, split=split)
    except (DatasetsError, OSError, ValueError) as error:
        raise UserError(
            f"{card.name}: {clone}: {_first_line(error)}; is it a complete clone (git lfs pull)?"
        ) from error


def _load_files(card: Card, split: str) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    place = card.file.parent / card.path
    files = [place / f"{split}{suffix}" for suffix in BUILDERS] if place.is_dir() else [place]
    file = next((file for file in files if file.is_file()), None)
    builder = next((BUILDERS[suffix] for suffix in BUILDERS if file and file.name.endswith(suffix)), None)
    if file is None or builder is None or (place.is_file() and split != card.split):
        wanted = f"{split}.jsonl (or {', '.join(list(BUILDERS)[1:])})"
        raise UserError(f"{card.name}: {place} holds no {wanted}, which {card.file} asks for")
    try:
        return load_dataset(builder, data_files={split: str(file)}, split=split)
    except StopIteration as error:
        raise UserError(f"{card.name}: {file} is empty; write one problem a line") from error
    except (DatasetsError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise UserError(f"{card.name}: {file} cannot be read: {_first_line(cause)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and retry notes of datasets and the hub client: the error says it all."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    bars, level = datasets.are_progress_bars_disabled(), hub_logging.get_verbosity()
    datasets.disable_progress_bars()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
