"""The openai engine against `transformers serve`: a real server that knows the plain API only."""

import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prerl_eval.checkpoint import remote_checkpoint
from prerl_eval.engines import make_engine
from prerl_eval.engines.base import Sampling
from prerl_eval.engines.openai import OpenAIEngine, _chat_text, _fields, _refusable
from prerl_eval.errors import RunStopped, UserError
from tests.servers import free_port, stop, transformers_server
from tests.tiny import collect, make_requests

CHAT_TEMPLATE = "{% for message in messages %}<s> {{ message.content }}{% endfor %}"


@pytest.fixture(scope="module")
def served_model(tiny_model, tmp_path_factory):
    """`tiny_model`, sampling by default: this server takes `do_sample` from the model's files."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("served") / "tiny")
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "eos_token_id": 2}))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def server(served_model, tmp_path_factory):
    with transformers_server(served_model, tmp_path_factory.mktemp("cache")) as (url, process):
        yield url, process


@pytest.fixture
def engine(server, served_model):
    engine = OpenAIEngine(server[0], concurrency=4)
    engine.load(remote_checkpoint(str(served_model)))
    yield engine
    engine.close()
    engine.close()


def chat(requests):
    """The same requests with messages instead of a plain prompt."""
    return [
        replace(request, prompt=replace(request.prompt, messages=({"role": "user", "content": "make 1 2"},)))
        for request in requests
    ]


def test_completions_each_once_and_only_the_missing(engine):
    requests = make_requests(problems=2, n=4, max_tokens=12)
    done = {requests[1].key, requests[6].key}
    found = collect(engine, requests, Sampling(), done)
    assert set(found) == {request.key for request in requests} - done
    assert len({completion.text for completion in found.values()}) > 3
    for completion in found.values():
        assert completion.token_ids is None
        assert 1 <= completion.tokens <= 12
        assert completion.finish_reason == ("length" if completion.tokens == 12 else "stop")
        # This server hides special tokens and draws without our seeds: one that stops after them has no text.
        assert completion.text.strip() or completion.finish_reason == "stop"


def test_what_the_server_does_not_know_is_left_out_and_said_once(engine, capsys):
    collect(engine, make_requests(problems=2, n=4, max_tokens=3), Sampling())
    refused = ["min_p", "repetition_penalty", "return_token_ids", "skip_special_tokens", "top_k"]
    assert engine.describe()["settings_not_taken"] == refused
    assert capsys.readouterr().err.count("does not take") == 1


def test_a_setting_that_the_user_asked_for_is_never_left_out(engine):
    with pytest.raises(RunStopped, match="top_k"):
        collect(engine, make_requests(problems=1, n=3, max_tokens=3), Sampling(top_k=5))


def test_chat(engine):
    found = collect(engine, chat(make_requests(problems=1, n=3, max_tokens=8)), Sampling(temperature=0.0))
    assert len({completion.text for completion in found.values()}) == 1
    assert all(1 <= completion.tokens <= 8 and completion.text for completion in found.values())


def test_seeds_are_passed(server, served_model):
    """One at a time: this server seeds torch for the whole process."""
    request = make_requests(problems=1, n=1, max_tokens=30)[0]
    again = [
        replace(request, key=("tiny", "again", index), seed=seed) for index, seed in enumerate([5, 6, 5])
    ]
    engine = OpenAIEngine(server[0], concurrency=1)
    engine.load(remote_checkpoint(str(served_model)))
    texts = [completion.text for completion in collect(engine, again, Sampling()).values()]
    engine.close()
    assert texts[0] == texts[2] != texts[1]


def test_no_server_is_one_line_before_anything_starts(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UserError, match="needs --base-url"):
        make_engine("openai")
    url = f"http://localhost:{free_port()}/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    engine = make_engine("openai")
    with pytest.raises(UserError, match=f"no server answers at {url}"):
        engine.load(remote_checkpoint("tiny"))
    engine.close()


@contextmanager
def web_server(models, reply):
    """The address of a web server that answers every GET with `models` and every POST with `reply`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(models)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send(reply)

        def _send(self, body):
            self.send_response(200)
            self.send_header("Content-Type", "application/json" if body[:1] in "{[" else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *parts):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


ONE_MODEL = '{"data": [{"id": "m"}]}'


@pytest.mark.parametrize("models", ["<html>hello</html>", '["m"]', '{"data": ["m"]}'])
def test_an_address_that_is_no_openai_server_is_one_line(models):
    with web_server(models, "") as url:
        engine = OpenAIEngine(url)
        with pytest.raises(UserError, match="no OpenAI-compatible server"):
            engine.load(remote_checkpoint("m"))
        engine.close()


@pytest.mark.parametrize(
    "reply",
    ["<html>sign in</html>", "{", '{"error": {"message": "overloaded"}}', '{"choices": []}'],
)
def test_a_reply_without_a_completion_stops_the_run_resumably(reply):
    with web_server(ONE_MODEL, reply) as url:
        engine = OpenAIEngine(url)
        engine.load(remote_checkpoint("m"))
        with pytest.raises(RunStopped, match="holds no completion"):
            collect(engine, make_requests(problems=1, n=1), Sampling())
        engine.close()


def test_a_null_text_is_an_empty_completion():
    reply = {"choices": [{"text": None, "finish_reason": "length"}], "usage": {"completion_tokens": None}}
    with web_server(ONE_MODEL, json.dumps(reply)) as url:
        engine = OpenAIEngine(url)
        engine.load(remote_checkpoint("m"))
        (completion,) = collect(engine, make_requests(problems=1, n=1), Sampling()).values()
        engine.close()
    assert (completion.text, completion.tokens, completion.finish_reason) == ("", 0, "length")


def test_a_model_that_the_server_does_not_have(server):
    engine = OpenAIEngine(server[0])
    engine.load(remote_checkpoint("elsewhere"))  # this server lists no local models
    with pytest.raises(RunStopped, match=r"elsewhere.*the same command goes on"):
        collect(engine, make_requests(problems=1, n=2), Sampling())
    engine.close()


def test_a_server_that_goes_away_stops_the_run_resumably(served_model, tmp_path, monkeypatch):
    monkeypatch.setattr("prerl_eval.engines.openai.RETRIES", 1)
    requests = make_requests(problems=2, n=8, max_tokens=20)
    with transformers_server(served_model, tmp_path) as (url, process):
        engine = OpenAIEngine(url, concurrency=2)
        engine.load(remote_checkpoint(str(served_model)))
        stream = engine.generate(requests, Sampling(), lambda key: False)
        found = {request.key for request, _ in next(stream)}
        stop(process)
        with pytest.raises(RunStopped, match="went away"):
            found.update(request.key for finished in stream for request, _ in finished)
        engine.close()
    assert 0 < len(found) < len(requests)


def test_every_setting_is_sent_under_its_name():
    request = make_requests(problems=1, n=1, max_tokens=9)[0]
    assert _fields(request, Sampling(0.6, 0.95, 20, ("x",), (2,)), frozenset()) == {
        "max_tokens": 9,
        "temperature": 0.6,
        "top_p": 0.95,
        "seed": 0,
        "top_k": 20,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "skip_special_tokens": False,
        "return_token_ids": True,
        "stop": ["x"],
        "stop_token_ids": [2],
    }
    assert _fields(request, Sampling(), frozenset())["top_k"] == -1
    renamed = _fields(request, Sampling(), frozenset({"max_tokens"}))
    assert renamed["max_completion_tokens"] == 9
    assert "max_tokens" not in renamed


def test_only_settings_that_restate_a_default_may_be_left_out():
    fields = dict.fromkeys(("temperature", "top_p", "top_k", "min_p", "seed", "max_tokens"), 0)
    message = "unknown: top_k, min_p, temperature"
    assert _refusable(message, fields, Sampling()) == {"top_k", "min_p"}
    assert _refusable(message, fields, Sampling(top_k=20)) == {"min_p"}
    assert _refusable("Use 'max_completion_tokens' instead of max_tokens", fields, Sampling()) == {
        "max_tokens"
    }
    assert _refusable("the prompt is too long", fields, Sampling()) == frozenset()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "4", "reasoning": "2+2"}, "<think>2+2</think>4"),
        ({"content": "4", "reasoning_content": "2+2"}, "<think>2+2</think>4"),
        ({"content": None, "reasoning": "2+"}, "<think>2+"),
        ({"content": "4"}, "4"),
        ({"content": None}, ""),
    ],
)
def test_thinking_that_a_server_split_off_is_put_back(message, text):
    from openai.types.chat import ChatCompletionMessage

    assert _chat_text(ChatCompletionMessage(role="assistant", **message)) == text
