"""Sampling, grading and storing through the run loop against the bare engine, in turn.

Same loaded model, same prompts, same batch size (transformers) or the same AsyncLLM (vllm). The bare
engine only generates; the run loop also seeds every row by itself, decodes text, grades and stores.
Start-up is in neither.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from prerl_eval.cards import resolve_benchmarks
from prerl_eval.checkpoint import Checkpoint, open_checkpoint
from prerl_eval.engines import make_engine
from prerl_eval.engines.base import Engine, Request, Sampling
from prerl_eval.grading import GradingPool
from prerl_eval.plan import RunOptions, RunPlan, plan_run
from prerl_eval.problems import load_problems
from prerl_eval.run import execute
from prerl_eval.store import read_samples
from tests.speed.rows import Measured, Row, Unavailable, script

BOUND = 1.10
BASE = Path(__file__).resolve().parents[2] / "results" / "base-nano"
N = 64
BATCH = 128

Bare = Callable[[Engine, Sequence[Request], Sampling], int]


@dataclass(frozen=True)
class Timing:
    seconds: float
    tokens: int

    @property
    def per_token(self) -> float:
        """The two sides draw different samples, so lengths differ by a percent or so."""
        return self.seconds / self.tokens


def bare_transformers(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> int:
    """Plain `generate(do_sample=True)` on left-padded batches; returns the number of sampled tokens."""
    import torch
    from transformers import GenerationConfig

    from prerl_eval.engines.decoding import _left_padded

    model = engine._model  # type: ignore[attr-defined]
    config = GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_k=0,
        max_new_tokens=requests[0].max_tokens,
        eos_token_id=list(sampling.stop_token_ids),
        pad_token_id=0,
    )
    stops = torch.tensor(sampling.stop_token_ids)
    tokens = 0
    for start in range(0, len(requests), BATCH):
        prompts = [request.prompt.token_ids or () for request in requests[start : start + BATCH]]
        ids, mask = _left_padded(prompts, model.device)
        with torch.inference_mode():
            new = model.generate(ids, attention_mask=mask, generation_config=config)[:, ids.shape[1] :]
        ended = torch.isin(new, stops).cumsum(1)
        tokens += int((ended == 0).sum() + (ended[:, -1] > 0).sum())
    return tokens


def bare_vllm(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> int:
    """Every request at once to AsyncLLM.generate; returns the number of sampled tokens."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    llm, loop = engine._llm, engine._loop  # type: ignore[attr-defined]

    async def one(number: int, request: Request) -> int:
        params = SamplingParams(
            temperature=sampling.temperature,
            seed=request.seed,
            max_tokens=request.max_tokens,
            stop_token_ids=list(sampling.stop_token_ids),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": list(request.prompt.token_ids or ())}
        tokens = 0
        async for output in llm.generate(prompt, params, request_id=f"bare-{number}"):
            tokens = len(output.outputs[0].token_ids)
        return tokens

    async def everything() -> int:
        return sum(await asyncio.gather(*(one(number, request) for number, request in enumerate(requests))))

    return int(loop.submit(everything()).result())


def through_run_loop(engine: Engine, pool: GradingPool, plan: RunPlan) -> Timing:
    start = time.perf_counter()
    execute(plan, engine, pool)
    seconds = time.perf_counter() - start
    tokens = read_samples(plan.out, ["tokens"]).column("tokens").to_pylist()
    return Timing(seconds, sum(tokens))


def bare(engine: Engine, run: Bare, plan: RunPlan) -> Timing:
    requests = plan.benchmarks[0].requests(seed=0)
    start = time.perf_counter()
    tokens = run(engine, requests, plan.sampling)
    return Timing(time.perf_counter() - start, tokens)


def make_plan(engine: str, checkpoint: Checkpoint, problems: int, out: Path) -> RunPlan:
    batch = BATCH if engine == "transformers" else None
    options = RunOptions(
        ckpt=[str(BASE)], bench=["countdown"], n=N, limit=problems, batch_size=batch, out=out
    )
    cards = resolve_benchmarks(options.bench)
    loaded = [load_problems(card, None, options.limit) for card in cards]
    return plan_run(options, engine, checkpoint, cards, loaded, 1)


def measure_engine(name: str, label: str, run: Bare, quick: bool) -> Measured:
    """Both sides' median speeds and the median ratio of pairs in turn."""
    engine = make_engine(name, batch_size=BATCH if name == "transformers" else None)
    checkpoint = open_checkpoint(str(BASE))
    problems, pairs = (8, 2) if quick else (32, 5)
    timings: list[tuple[Timing, Timing]] = []
    try:
        with tempfile.TemporaryDirectory() as folder, GradingPool() as pool:
            engine.load(checkpoint)
            for number in range(pairs + 1):
                plan = make_plan(name, checkpoint, problems, Path(folder) / str(number))
                sides = [
                    lambda p=plan: through_run_loop(engine, pool, p),
                    lambda p=plan: bare(engine, run, p),
                ]
                # Who goes first alternates; the first pair only warms up.
                results = [side() for side in (sides if number % 2 else sides[::-1])]
                ours, peer = results if number % 2 else results[::-1]
                if number:
                    timings.append((ours, peer))
    finally:
        engine.close()
    own, bare_speed = (
        statistics.median(pair[side].tokens / pair[side].seconds for pair in timings) for side in (0, 1)
    )
    row = Row(
        name=f"sampling, grading and storing {problems} × {N} samples of results/base-nano, {name}",
        unit="tokens/s",
        prerl=own,
        peer_name=label,
        peer=bare_speed,
        ratio=statistics.median(ours.per_token / peer.per_token for ours, peer in timings),
        ratio_is="times its time per token",
        bound=BOUND,
    )
    return Measured([row])


def measure(quick: bool = False) -> Measured:
    """Against transformers' `generate`."""
    return measure_engine(
        "transformers", "bare `transformers.generate`, same batches", bare_transformers, quick
    )


def measure_vllm(quick: bool = False) -> Measured:
    """Against vLLM's AsyncLLM. Raises Unavailable where vLLM is not installed."""
    if not find_spec("vllm"):
        raise Unavailable("no vLLM here")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    return measure_engine("vllm", "bare vLLM (CPU build), one engine", bare_vllm, quick)


if __name__ == "__main__":
    script(measure_vllm if find_spec("vllm") else measure)
