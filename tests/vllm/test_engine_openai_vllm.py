"""The openai engine against vLLM's own server (its CPU build): what vLLM adds to the plain API."""

import json
import shutil
from dataclasses import replace

import pytest

from prerl_eval.checkpoint import Checkpoint, remote_checkpoint
from prerl_eval.engines.base import Sampling
from prerl_eval.engines.openai import OpenAIEngine
from prerl_eval.engines.transformers import TransformersEngine
from prerl_eval.errors import UserError
from tests.servers import vllm_server
from tests.tiny import collect, make_requests

EOS = 2


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    """`tiny_model` under the name "tiny", with a generation_config.json that vLLM's server obeys."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("served") / "tiny")
    suggested = {"do_sample": True, "top_k": 1, "min_p": 0.9, "repetition_penalty": 5.0, "temperature": 0.01}
    (folder / "generation_config.json").write_text(json.dumps({**suggested, "eos_token_id": EOS}))
    template = "{% for message in messages %}<s> {{ message.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    with vllm_server(folder, "--served-model-name", "tiny", "--api-key", "secret") as (url, _):
        yield url


@pytest.fixture
def engine(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    engine = OpenAIEngine(server)
    engine.load(remote_checkpoint("tiny"))
    yield engine
    engine.close()


def test_greedy_tokens_are_those_of_the_transformers_engine(engine, tiny_model):
    """Also under a generation_config.json that suggests a repetition penalty of 5."""
    requests = make_requests(problems=3, n=2, max_tokens=50)
    local = TransformersEngine(batch_size=6)
    local.load(Checkpoint("tiny", "tiny", tiny_model))
    sampling = Sampling(temperature=0.0, stop_token_ids=(EOS,))
    reference = collect(local, requests, sampling)
    local.close()
    found = collect(engine, requests, Sampling(temperature=0.0))
    assert {key: c.token_ids for key, c in found.items()} == {
        key: c.token_ids for key, c in reference.items()
    }
    for key, completion in found.items():
        assert completion.text.split() == reference[key].text.split()
        assert completion.finish_reason == reference[key].finish_reason
        assert completion.tokens == len(completion.token_ids)


def test_samples_are_the_models_own_and_seeded(engine, capsys):
    requests = make_requests(problems=2, n=20, max_tokens=30)
    done = {requests[3].key}
    first, second = (collect(engine, requests, Sampling(), done) for _ in range(2))
    assert set(first) == {request.key for request in requests} - done
    assert len({completion.token_ids for completion in first.values()}) > 35  # a leaked top_k = 1 leaves 2
    same = sum(first[key].token_ids == second[key].token_ids for key in first)
    assert same >= 37  # vLLM's batches differ from call to call
    assert engine.describe()["settings_not_taken"] == []
    assert capsys.readouterr().err == ""


def test_chat_renders_at_the_server(engine):
    messages = ({"role": "user", "content": "make 0 1 2"},)
    request = make_requests(problems=2, n=1, max_tokens=20)[1]
    assert request.prompt.text == "<s> make 0 1 2"
    chat = replace(request, prompt=replace(request.prompt, messages=messages))
    sampling = Sampling(temperature=0.0)
    (as_chat,) = collect(engine, [chat], sampling).values()
    (as_text,) = collect(engine, [request], sampling).values()
    assert as_chat.token_ids == as_text.token_ids


def test_a_wrong_name_or_key_is_one_line_before_anything_starts(engine, server, monkeypatch):
    with pytest.raises(UserError, match="serves no huge; give --ckpt one of: tiny"):
        engine.load(remote_checkpoint("huge"))
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    other = OpenAIEngine(server)
    with pytest.raises(UserError, match="refuses the key; set OPENAI_API_KEY"):
        other.load(remote_checkpoint("tiny"))
    other.close()
