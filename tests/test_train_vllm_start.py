"""A vLLM that is not there or does not start is one line; one process per GPU carries it."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from prerl_eval.errors import RunStopped, UserError
from prerl_train.arguments import Machine
from prerl_train.resolve import resolve
from prerl_train.train_plan import find_engine
from prerl_train.with_vllm import explaining_start, rollouts_of_vllm, wait_for_server


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_server_that_answers_is_taken_and_one_that_is_gone_is_refused():
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.handle_request)
        thread.start()
        wait_for_server(url + "/", patience=5)
        thread.join()
    with pytest.raises(UserError, match=r"--vllm-server http://127.0.0.1:\d+ does not answer .*vllm serve"):
        wait_for_server(url, patience=0)
    with pytest.raises(UserError, match="--vllm-server somewhere is no address"):
        wait_for_server("somewhere", patience=0)


def raised_in(module, error):
    """Raise `error` in a function of a module of that name."""
    place = {"__name__": module, "error": error}
    exec("def fail():\n    raise error", place)
    place["fail"]()


def test_what_vllm_says_when_it_does_not_start_is_one_line():
    with pytest.raises(RunStopped) as caught, explaining_start(0.25):
        raised_in("vllm.v1.core.kv_cache_utils", ValueError("No available memory\nfor the cache blocks."))
    assert str(caught.value).startswith("vllm did not start (No available memory for the cache blocks.); ")
    assert "--vllm-memory" in str(caught.value)
    with pytest.raises(ValueError, match="ours"), explaining_start(0.25):
        raised_in("prerl_train.config", ValueError("ours"))


def test_groups_of_vllm_fit_the_processes(monkeypatch):
    monkeypatch.setattr("prerl_train.checks.find_spec", lambda name: True)
    settings = resolve("grpo", {"recipe": "qwen3-4b", "engine": "vllm"})
    assert find_engine(settings, Machine(8, "cuda")) == "vllm"
    with pytest.raises(UserError, match=r"--vllm-tp 2 does not divide the 1 process\(es\)"):
        find_engine(settings, Machine(1, "cuda"))
    served = {"vllm_mode": "server", "vllm_server": "http://host:1"}
    assert (
        find_engine(resolve("grpo", {"recipe": "qwen3-4b", "engine": "vllm"} | served), Machine()) == "vllm"
    )


def test_vllm_gets_the_prompt_with_one_start_token(tiny_model):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    saved = json.loads((tiny_model / "tokenizer.json").read_text())
    saved["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    plain = AutoTokenizer.from_pretrained(tiny_model)
    from tokenizers import Tokenizer

    adding = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(saved)), bos_token="<s>", eos_token="</s>"
    )
    assert adding("make 3").input_ids[0] == 1
    asked = []

    class Trainer:
        processing_class = adding
        num_generations = 2

        def _generate_single_turn(self, ids, images, fields, generations):
            asked.append((ids, generations))
            return [[7, 2]] * len(ids), [[-0.1, -0.2]] * len(ids)

    out = rollouts_of_vllm(["<s> make 3", "<s> make 3"], Trainer())
    expected = plain("<s> make 3", add_special_tokens=False).input_ids
    assert asked == [([expected, expected], 2)]
    assert out == {
        "prompt_ids": [expected] * 2,
        "completion_ids": [[7, 2]] * 2,
        "logprobs": [[-0.1, -0.2]] * 2,
    }
