"""Real vLLM (its CPU build), in this process: keys, seeds, settings, series, adapters, its end.

Its tokens are compared with the transformers engine's: a float32 model decodes greedily to the same ids.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from prerl_eval.checkpoint import Checkpoint
from prerl_eval.engines import make_engine
from prerl_eval.engines.base import Sampling
from prerl_eval.engines.transformers import TransformersEngine
from prerl_eval.engines.vllm import VllmEngine, sampling_params, weight_layout
from prerl_eval.errors import RunStopped
from prerl_eval.plan import RunOptions
from prerl_eval.run import evaluate
from prerl_eval.store import parts, read_samples, write_part
from tests.tiny import collect, make_requests, save_adapter

EOS = 2
SAMPLED = Sampling(stop_token_ids=(EOS,))
GREEDY = Sampling(temperature=0.0, stop_token_ids=(EOS,))


def checkpoint_at(folder: Path, base: Path | None = None) -> Checkpoint:
    return Checkpoint(str(folder), folder.name, folder, checkpoint_at(base) if base else None)


def expected(folder, requests, sampling=GREEDY, base=None):
    """Completions of the transformers engine."""
    engine = TransformersEngine(batch_size=16)
    engine.load(checkpoint_at(folder, base))
    found = collect(engine, requests, sampling)
    engine.close()
    return found


def ids(found):
    return {key: completion.token_ids for key, completion in found.items()}


@pytest.fixture(scope="module")
def poisoned(tiny_model, tmp_path_factory):
    """`tiny_model` with a generation_config.json that would change every completion."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("poisoned") / "tiny")
    suggested = {"do_sample": True, "top_k": 1, "temperature": 0.01, "repetition_penalty": 5.0}
    (folder / "generation_config.json").write_text(json.dumps({**suggested, "eos_token_id": [9, 10, 11, 12]}))
    return folder


@pytest.fixture(scope="module")
def started(poisoned):
    engine = make_engine("vllm")
    engine.load(checkpoint_at(poisoned))
    yield engine
    engine.close()
    engine.close()


@pytest.fixture
def engine(started, poisoned):
    """The engine with the first model's weights in it."""
    started.load(checkpoint_at(poisoned))
    return started


def test_greedy_tokens_are_those_of_the_transformers_engine(engine, tiny_model):
    requests = make_requests(problems=4, n=4, max_tokens=60)
    found, reference = collect(engine, requests, GREEDY), expected(tiny_model, requests)
    assert ids(found) == ids(reference)
    for key, completion in found.items():
        assert (completion.text, completion.finish_reason) == (
            reference[key].text,
            reference[key].finish_reason,
        )


def test_samples_have_their_own_seeds_and_repeat(engine):
    requests = make_requests(problems=2, n=20, max_tokens=40)
    first, second = (collect(engine, requests, SAMPLED) for _ in range(2))
    assert set(first) == {request.key for request in requests}
    assert len(set(ids(first).values())) > 35  # a leaked top_k = 1 would leave 2
    same = sum(first[key].token_ids == second[key].token_ids for key in first)
    assert same >= 38  # not bit for bit: vLLM's batches differ from call to call


def test_only_the_missing_and_each_as_it_finishes(engine):
    requests = make_requests(problems=3, n=40, max_tokens=150)
    done = {request.key for request in requests[::3]}
    groups = list(engine.generate(requests, SAMPLED, done.__contains__))
    keys = [request.key for group in groups for request, _ in group]
    assert sorted(keys) == sorted({request.key for request in requests} - done)
    assert len(groups) > 5
    tokens = [completion.tokens for group in groups for _, completion in group]
    early, late = tokens[: len(tokens) // 4], tokens[-len(tokens) // 4 :]
    assert sum(early) < sum(late)


def test_more_requests_than_are_in_flight(engine, monkeypatch):
    monkeypatch.setattr("prerl_eval.engines.vllm.IN_FLIGHT", 5)
    requests = make_requests(problems=3, n=10, max_tokens=10)
    assert set(collect(engine, requests, SAMPLED)) == {request.key for request in requests}


def test_a_caller_that_stops_listening_leaves_the_engine_usable(engine):
    requests = make_requests(problems=3, n=40, max_tokens=200)
    stream = engine.generate(requests, SAMPLED, lambda key: False)
    next(stream)
    stream.close()
    assert len(collect(engine, requests[:5], SAMPLED)) == 5


def test_stop_strings(engine, tiny_model):
    requests = make_requests(problems=4, n=1, max_tokens=60)
    free = expected(tiny_model, requests)
    word = free[requests[0].key].text.split()[5]
    sampling = Sampling(temperature=0.0, stop=(word,), stop_token_ids=(EOS,))
    found, reference = collect(engine, requests, sampling), expected(tiny_model, requests, sampling)
    assert ids(found) == ids(reference)
    assert [found[key].text for key in found] == [reference[key].text for key in found]
    assert found[requests[0].key].finish_reason == "stop"


def test_a_series_reloads_weights_without_a_new_start(engine, other_model):
    running = engine._llm
    requests = make_requests(problems=3, n=3, max_tokens=60)
    before = collect(engine, requests, GREEDY)
    engine.load(checkpoint_at(other_model))
    after = collect(engine, requests, GREEDY)
    assert engine._llm is running
    assert ids(after) == ids(expected(other_model, requests))
    assert ids(after) != ids(before)


def test_a_run_over_a_series_goes_on_where_it_stopped(
    started, tiny_model, other_model, tmp_path, monkeypatch
):
    monkeypatch.setattr("prerl_eval.run.make_engine", lambda *args, **settings: started)
    monkeypatch.setattr(started, "close", lambda: None)
    options = RunOptions(
        ckpt=[str(tiny_model), str(other_model)],
        bench=["countdown"],
        n=6,
        limit=4,
        max_tokens=20,
        engine="vllm",
        out=tmp_path / "runs",
        workers=1,
    )

    def asked_for(run):
        rows = read_samples(run, ["problem_id", "sample_index", "seed"]).to_pylist()
        return sorted(tuple(row.values()) for row in rows)

    runs = evaluate(options)
    whole = [asked_for(run) for run in runs]
    assert [len(set(rows)) for rows in whole] == [24, 24]
    for run in runs:
        table = read_samples(run)
        for part in parts(run):
            part.unlink()
        write_part(run, table.take([3, 7, 11, 20]))
    assert evaluate(options) == runs
    assert [asked_for(run) for run in runs] == whole


def test_a_request_longer_than_the_model_is_refused(engine):
    with pytest.raises(RunStopped, match=r"may take 1003 tokens, but vllm takes 512 here"):
        collect(engine, make_requests(problems=1, n=1, max_tokens=1000), SAMPLED)


def test_what_a_run_records(engine):
    described = engine.describe()
    assert {key: described[key] for key in ("name", "device", "dtype", "tp", "dp", "max_model_len")} == {
        "name": "vllm",
        "device": "cpu",
        "dtype": "float32",
        "tp": 1,
        "dp": 1,
        "max_model_len": 512,
    }


def test_every_setting_is_explicit():
    request = make_requests(problems=1, n=1, max_tokens=9)[0]
    params = sampling_params(request, Sampling(0.6, 0.95, 20, (), (2, 3)))
    assert (params.temperature, params.top_p, params.top_k, params.seed) == (0.6, 0.95, 20, request.seed)
    assert (params.n, params.max_tokens, params.ignore_eos) == (1, 9, True)
    assert params.stop_token_ids == [2, 3]


def test_weights_are_swapped_only_between_equal_layouts(tiny_model, other_model, tmp_path):
    from tests.tiny import save_model

    wider = save_model(tmp_path / "wide", width=64)
    assert weight_layout(checkpoint_at(tiny_model)) == weight_layout(checkpoint_at(other_model))
    assert weight_layout(checkpoint_at(tiny_model)) != weight_layout(checkpoint_at(wider))


def test_adapters_and_a_dead_engine(tiny_model, tiny_adapter, tmp_path):
    """One start for two adapters of one base; then the engine's process is killed in mid-run."""
    second = save_adapter(tmp_path / "second", tiny_model, seed=2)
    requests = make_requests(problems=3, n=3, max_tokens=50)
    engine = VllmEngine()
    try:
        engine.load(checkpoint_at(tiny_adapter, tiny_model))
        running = engine._llm
        assert ids(collect(engine, requests, GREEDY)) == ids(
            expected(tiny_adapter, requests, base=tiny_model)
        )
        engine.load(checkpoint_at(second, tiny_model))
        assert engine._llm is running
        assert ids(collect(engine, requests, GREEDY)) == ids(expected(second, requests, base=tiny_model))

        core = running.engine_core.resources.engine_manager.processes[0]
        stream = engine.generate(make_requests(3, 200, 400), SAMPLED, lambda key: False)
        next(stream)
        os.kill(core.pid, signal.SIGKILL)
        with pytest.raises(RunStopped, match="stored rows are safe"):
            list(stream)
    finally:
        engine.close()


SITTING = """
import sys
from pathlib import Path
from prerl_eval.checkpoint import Checkpoint
from prerl_eval.engines.base import Sampling
from prerl_eval.engines.vllm import VllmEngine
from tests.tiny import make_requests

if __name__ == "__main__":
    engine = VllmEngine()
    try:
        print("starting", flush=True)
        engine.load(Checkpoint("tiny", "tiny", Path(sys.argv[1])))
        print("sampling", flush=True)
        for finished in engine.generate(make_requests(3, 5000, 400), Sampling(), lambda key: False):
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        engine.close()
    print("closed", flush=True)
"""


@contextmanager
def sitting(model: Path, folder: Path):
    """A process that samples for long, in a process group of its own as under a terminal."""
    script = folder / "sitting.py"
    script.write_text(SITTING)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(
        [sys.executable, str(script), str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        yield process


def wait_until_gone(group: int, seconds: float) -> None:
    """Fails if a process of the group outlives the time."""
    deadline = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            if time.monotonic() > deadline:
                os.killpg(group, signal.SIGKILL)
                pytest.fail("processes of the engine are still there")
            time.sleep(0.2)


@pytest.mark.parametrize("moment", ["starting", "sampling"])
def test_ctrl_c_ends_quietly_and_leaves_no_process(moment, tiny_model, tmp_path):
    with sitting(tiny_model, tmp_path) as process:
        while process.stdout.readline() != f"{moment}\n":
            pass
        time.sleep(12 if moment == "starting" else 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        out, err = process.communicate(timeout=60)
    assert out == "interrupted\nclosed\n"
    if moment == "sampling":
        assert "Traceback" not in err
    assert process.returncode == 0
    wait_until_gone(process.pid, 5)


def test_a_killed_run_leaves_no_process(tiny_model, tmp_path):
    with sitting(tiny_model, tmp_path) as process:
        while process.stdout.readline() != "sampling\n":
            pass
        process.kill()
        process.wait()
        wait_until_gone(process.pid, 30)
