"""`prerl-train align`: does a step on log P(y) move log P(y|x), and on which tokens?

    prerl-train align --ckpt results/base-nano --data countdown --samples 40

For responses y that the checkpoint samples to prompts x, over all parameters:

    <grad log P(y), grad log P(y|x)>   inner product and cosine, and the same with another problem's prompt x'
    theta' = theta + lr * R * grad log P(y), R = 1 for a correct response, else -1: the change of
        log P(y|x) that first order predicts, lr * R * <grad log P(y), grad log P(y|x)>, and the change
        that is there (PreRL paper, arXiv 2604.14142)
    per token, the cosine of grad log p(y_t|y_<t) and grad log p(y_t|x,y_<t)

    OUT/rollouts          the graded responses, an ordinary run of prerl-eval
    OUT/responses.jsonl   one measured response a line, in the order they were measured
    OUT/alignment.json    settings, versions, responses, summary
    OUT/tokens.parquet    one row a token
    OUT/alignment.png     the picture

The same command goes on where it was stopped. What is measured and how to read it: docs/alignment.md.
Covers the main path; plan.py checks, measure.py measures, summary.py concludes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from prerl_eval import provenance, store
from prerl_eval.console import progress
from prerl_eval.engines.transformers import TINY_MODEL, TransformersEngine, read_model
from prerl_eval.errors import RunStopped
from prerl_eval.grading import GradingPool
from prerl_eval.json_files import read_json
from prerl_eval.run import execute
from prerl_eval.run_lock import RunLock
from prerl_train.alignment import gradients
from prerl_train.alignment.files import Row, append_row, read_rows, write_json, write_tokens
from prerl_train.alignment.measure import Response, measure_response
from prerl_train.alignment.plan import (
    PICTURE,
    RESULT,
    ROWS,
    TOKENS,
    AlignOptions,
    Study,
    check_out,
    plan_study,
)
from prerl_train.alignment.plot import plot_alignment
from prerl_train.alignment.summary import summarise_responses, summarise_tokens, table, token_columns

RESTATEMENT = re.compile(r"\s*make\s+\d+\s+from\s[\d\s]+\.")
"""How a response in the Countdown world repeats its problem (prerl_train.traces)."""


def align(ckpt: str, data: str, **flags: Any) -> Path:
    """Sample, measure, conclude; prints the table and returns the study's folder.

    flags: the fields of `AlignOptions`, which are the command's flags. Raises UserError for bad input
    (nothing written), RunStopped where the work could not go on; what is measured stays.
    """
    study = plan_study(AlignOptions(ckpt, data, **flags))
    with RunLock(study.out):
        check_out(study)
        sample(study)
        rows = measure(study)
        for line in conclude(study, rows):
            print(line)
    return study.out


def sample(study: Study) -> None:
    """Fill OUT/rollouts with graded responses; they are never sampled twice."""
    engine = TransformersEngine(dtype="float32")
    try:
        with GradingPool() as pool:
            execute(study.rollouts, engine, pool)
    finally:
        engine.close()


def measure(study: Study) -> list[Row]:
    """Measure the responses that OUT/responses.jsonl lacks; all rows, in the order of sampling."""
    file = study.out / ROWS
    rows = {_key(row): row for row in read_rows(file)}
    wanted = _sampled(study)
    missing = [row for row in wanted if _key(row) not in rows]
    if not missing:
        return [rows[_key(row)] for row in wanted]
    per_token = {_key(row) for row in wanted[: study.options.token_samples]}
    with (
        _model(study) as model,
        progress("align", len(wanted), len(wanted) - len(missing), "responses") as advance,
    ):
        write_json(study.out / RESULT, _record(study, model) | {"complete": False})
        for sampled in missing:
            response = _response(study, sampled)
            try:
                row = measure_response(model, response, study.options.lr, response.key in per_token)
            except torch.OutOfMemoryError as error:
                raise RunStopped(
                    f"memory is full at a response of {len(response.completion)} tokens; repeat with "
                    "--device cpu, or measure shorter ones: --max-tokens with its own --out"
                ) from error
            row["restated"] = _restated(study, sampled)
            append_row(file, row)
            rows[response.key] = row
            advance(1, f"cosine {row['cosine']:.2f}")
    return [rows[_key(row)] for row in wanted]


def conclude(study: Study, rows: Sequence[Row]) -> list[str]:
    """Write the result, the tokens and the picture; the lines of the table."""
    responses = summarise_responses(rows)
    columns = token_columns(rows)
    tokens = summarise_tokens(columns)
    title = f"{study.checkpoint.name} on {study.settings['data']} ({study.settings['split']})"
    if columns:
        write_tokens(study.out / TOKENS, columns)
    plot_alignment(rows, tokens, title, study.out / PICTURE)
    result = {
        "complete": True,
        "seconds": {
            "responses": round(sum(row["seconds"] for row in rows), 1),
            "tokens": round(sum(row["token_seconds"] for row in rows), 1),
        },
        "summary": {"responses": responses, "tokens": tokens},
        "responses": [{name: value for name, value in row.items() if name != "per_token"} for row in rows],
    }
    write_json(study.out / RESULT, _record(study) | result)
    return [*table(title, responses, tokens), f"wrote {study.out / RESULT} and {study.out / PICTURE}"]


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["problem_id"], row["sample_index"]


def _record(study: Study, model: Any = None) -> dict[str, Any]:
    """What made the numbers; with a model, another sitting is noted."""
    earlier = read_json(study.out / RESULT, missing_ok=True).get("sessions", [])
    sitting = []
    if model is not None:
        facts = {
            "device": torch.cuda.get_device_name() if model.device.type == "cuda" else model.device.type,
            "dtype": study.options.dtype,
            "threads": torch.get_num_threads(),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "tokens_per_chunk": gradients.chunk_size(model),
        }
        sitting = [provenance.session(facts)]
    return {
        "settings": study.settings,
        "checkpoint": study.checkpoint.describe(),
        "sessions": [*earlier, *sitting],
    }


def _sampled(study: Study) -> list[Row]:
    """The stored responses in the order in which they were asked for, without any beyond --samples."""
    table = store.read_samples(study.rollouts.out)
    stored = {_key(row): row for row in table.to_pylist()}
    (benchmark,) = study.rollouts.benchmarks
    keys = [request.key[1:] for request in benchmark.requests(study.options.seed)]
    return [stored[key] for key in keys[: study.options.samples]]


def _response(study: Study, sampled: Row) -> Response:
    (benchmark,) = study.rollouts.benchmarks
    prompts = {
        problem.problem_id: prompt.token_ids
        for problem, prompt in zip(benchmark.problems, benchmark.prompts, strict=True)
    }
    other_id, other = study.other[sampled["problem_id"]]

    def ids(numbers: Sequence[int] | None) -> torch.Tensor:
        return torch.tensor(list(numbers or ()), dtype=torch.long, device=study.device)

    return Response(
        {**sampled, "mispaired_with": other_id},
        ids(sampled["token_ids"]),
        ids(prompts[sampled["problem_id"]]),
        ids(other.token_ids),
        ids([study.start_id]),
    )


def _restated(study: Study, sampled: Row) -> int | None:
    """Tokens of a Countdown response that repeat its problem; None for another task, or where it does not."""
    if not sampled["grader"].startswith("countdown/"):
        return None
    found = RESTATEMENT.match(sampled["completion"])
    if found is None:
        return None
    ids = sampled["token_ids"]
    texts = (study.tokenizer.decode(ids[: count + 1], skip_special_tokens=True) for count in range(len(ids)))
    return next((count + 1 for count, text in enumerate(texts) if len(text) >= found.end()), None)


@contextmanager
def _model(study: Study) -> Iterator[Any]:
    """The checkpoint with all parameters counting, in the study's dtype; one thread where more are slower."""
    model = read_model(study.checkpoint, "float32", study.device).to(getattr(torch, study.options.dtype))
    gradients.prepare(model)
    threads = torch.get_num_threads()
    if study.device == "cpu" and model.num_parameters() < TINY_MODEL:
        torch.set_num_threads(1)
    try:
        yield model
    finally:
        torch.set_num_threads(threads)
