"""Stored responses as token ids: the prompts they followed, and the tokens that were sampled.

Covers which rows are wanted, runs that store no ids (other tools' files, servers that hide them), and
the check that a checkpoint's tokenizer means by an id what the run meant. Loads no weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prerl_eval.engines.base import Sampling
from prerl_eval.errors import UserError
from prerl_eval.prompts import PromptBuilder
from prerl_eval.run_record import read_record
from prerl_eval.store import RowKey, read_samples

COLUMNS = ("benchmark", "problem_id", "sample_index", "step", "prompt", "completion", "token_ids")

RENDERED = ("import", "openai")
"""Engines of runs that store what was asked, and not the prompt as the model saw it."""

THINKING_TAGS = re.compile(r"</?think>")

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Responses:
    """R responses: what is scored, in the order it is stored.

    prompts, completions: token ids, one array each. retokenised: whether the completion's ids are its
    text tokenised again; they hold no end token then.
    """

    keys: list[RowKey]
    prompts: list[Ids]
    completions: list[Ids]
    retokenised: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def lengths(self) -> tuple[list[int], list[int]]:
        """Tokens of each prompt and of each completion."""
        return list(map(len, self.prompts)), list(map(len, self.completions))


def read_responses(
    run: Path,
    builder: PromptBuilder,
    *,
    benchmarks: Sequence[str] = (),
    step: int | None = None,
    done: Collection[RowKey] = (),
    retokenise: bool = False,
) -> Responses:
    """The responses of a run that are wanted and not done, tokenised for the checkpoint of `builder`.

    benchmarks, step: only these, all where none is named. retokenise: tokenise all texts again.
    Raises UserError for a benchmark or step that the run does not hold, and, unless retokenise, for a
    tokenizer that is not the run's.
    """
    record = read_record(run)
    table = _wanted(run, read_samples(run, COLUMNS), benchmarks, step)
    keys = list(zip(*(table[name].to_pylist() for name in COLUMNS[:4]), strict=True))
    missing = [row for row, key in enumerate(keys) if key not in done]
    if len(missing) < len(keys):
        table, keys = table.take(pa.array(missing, pa.int64())), [keys[row] for row in missing]
    prompts = _prompts(table, record, builder)
    stored = [None] * len(keys) if retokenise else _stored_ids(table["token_ids"])
    if not retokenise:
        _check_prompt_ids(run, record, builder)
        _check_completions(run, record, builder, prompts, stored, table, keys)
    completions, retokenised = _tokenised_again(stored, table["completion"], builder)
    return Responses(keys, prompts, completions, retokenised)


def stores_prompts(record: Mapping[str, Any]) -> bool:
    """Whether a run stores its prompts as the model saw them, by its run.json."""
    return record["settings"].get("engine") not in RENDERED


def _wanted(run: Path, table: pa.Table, benchmarks: Sequence[str], step: int | None) -> pa.Table:
    for column, values, flag in (("benchmark", benchmarks, "--bench"), ("step", [step], "--step")):
        chosen = [value for value in values if value is not None]
        present = table[column].unique().to_pylist()
        unknown = [value for value in chosen if value not in present]
        if unknown:
            listed = ", ".join(map(str, sorted(present)[:8])) or "no samples"
            raise UserError(f"{run} holds nothing of {flag} {unknown[0]}; it holds: {listed}")
        if chosen:
            table = table.filter(pc.is_in(table[column], pa.array(chosen, table[column].type)))
    if not len(table):
        raise UserError(f"{run} holds no samples yet; run `prerl-eval run` on it first")
    return table


def _prompts(table: pa.Table, record: Mapping[str, Any], builder: PromptBuilder) -> list[Ids]:
    """Each row's prompt, tokenised once for all rows that share it."""
    columns = ["benchmark", "prompt"]
    distinct = table.group_by(columns).aggregate([]).select(columns).to_pylist()
    shared = {
        (row["benchmark"], row["prompt"]): np.asarray(
            _prompt_ids(**row, record=record, builder=builder), np.int32
        )
        for row in distinct
    }
    return [shared[pair] for pair in zip(*(table[name].to_pylist() for name in columns), strict=True)]


def _prompt_ids(
    benchmark: str, prompt: str, record: Mapping[str, Any], builder: PromptBuilder
) -> tuple[int, ...]:
    if stores_prompts(record):
        return builder.tokens_of(prompt)
    if record["settings"]["engine"] == "import":
        template = record["benchmarks"][benchmark]["prompt"]
        unknown = [part for part in ("{options}", "{shots}") if part in template]
        if unknown:
            raise UserError(
                f"{benchmark}: an imported run does not hold {unknown[0]} of its prompts, so they cannot be "
                "scored; choose other benchmarks with --bench, or sample them with `prerl-eval run`"
            )
        asked = template.replace("{problem}", prompt)
    else:
        asked = prompt.removeprefix(f"{builder.system}\n\n")
    return builder.ask(asked).token_ids or ()


def _stored_ids(column: pa.ChunkedArray) -> list[Ids | None]:
    found: list[Ids | None] = []
    for chunk in column.chunks:
        values, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
        known = chunk.is_valid().to_numpy(zero_copy_only=False)
        found += [
            values[start:end] if valid else None
            for start, end, valid in zip(offsets[:-1], offsets[1:], known, strict=True)
        ]
    return found


def _tokenised_again(
    stored: Sequence[Ids | None], texts: pa.ChunkedArray, builder: PromptBuilder
) -> tuple[list[Ids], NDArray[np.bool_]]:
    absent = [row for row, ids in enumerate(stored) if ids is None]
    completions = list(stored)
    if absent:
        again = builder.tokenizer(texts.take(absent).to_pylist(), add_special_tokens=False).input_ids
        for row, ids in zip(absent, again, strict=True):
            completions[row] = np.asarray(ids, dtype=np.int32)
    return (
        [ids for ids in completions if ids is not None],
        np.asarray([ids is None for ids in stored], dtype=np.bool_),
    )


def _check_prompt_ids(run: Path, record: Mapping[str, Any], builder: PromptBuilder) -> None:
    for name, benchmark in record["benchmarks"].items():
        first = benchmark.get("prompt_of_sample_0") or {}
        ids = first.get("token_ids") if stores_prompts(record) else None
        if ids and list(builder.tokens_of(first["text"])) != ids:
            raise _other_tokenizer(run, builder, f"it splits the first prompt of {name} into other ids")


def _check_completions(
    run: Path,
    record: Mapping[str, Any],
    builder: PromptBuilder,
    prompts: Sequence[Ids],
    stored: Sequence[Ids | None],
    table: pa.Table,
    keys: Sequence[RowKey],
) -> None:
    """Raise UserError unless ids read as the stored text in rows that together hold every id of the run.

    A server's text is its own business (it may drop special tokens): there most rows must agree.
    """
    from prerl_eval.engines.detokenize import Detokenizer

    rows = _rows_of_every_id(stored)
    limit = builder.checkpoint.text_config.get("vocab_size", math.inf)
    detokenizer = Detokenizer(builder.tokenizer)
    sampling = Sampling(stop_token_ids=tuple(record["settings"].get("stop_token_ids", ())))
    served = not stores_prompts(record)
    different = []
    for row, text in zip(rows, table["completion"].take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
        ids = stored[row]
        assert ids is not None
        if int(ids.max()) >= limit:
            raise _other_tokenizer(run, builder, f"the run has ids up to {ids.max()}, it has {limit}")
        read = detokenizer.text(prompts[row].tolist(), ids.tolist(), sampling)
        read = read.encode("utf-8", "replace").decode("utf-8")
        if read != text and not (served and _bare(read, builder) == _bare(text, builder)):
            different.append((row, text, read))
    if len(different) > (len(rows) // 2 if served else 0):
        row, text, read = different[0]
        where = " ".join(map(str, keys[row][:3]))
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(read, text, strict=False)))
        here, there = read[same : same + 20], text[same : same + 20]
        raise _other_tokenizer(run, builder, f"{where} reads {here!r} where {there!r} is stored")


def _rows_of_every_id(stored: Sequence[Ids | None]) -> list[int]:
    known = [(row, ids) for row, ids in enumerate(stored) if ids is not None and len(ids)]
    if not known:
        return []
    ends = np.cumsum([len(ids) for _, ids in known])
    _, first = np.unique(np.concatenate([ids for _, ids in known]), return_index=True)
    places = np.unique(np.searchsorted(ends, first, side="right"))
    return [known[place][0] for place in places]


def _bare(text: str, builder: PromptBuilder) -> str:
    """A text without blanks, thinking tags and special tokens."""
    for token in builder.tokenizer.all_special_tokens:
        text = text.replace(token, "")
    return "".join(THINKING_TAGS.sub("", text).split())


def _other_tokenizer(run: Path, builder: PromptBuilder, why: str) -> UserError:
    return UserError(
        f"the tokenizer of {builder.checkpoint.ref} is not the one that {run} was sampled with ({why}); "
        "score a checkpoint of the same family, or give --retokenize to score the texts in its own tokens"
    )
