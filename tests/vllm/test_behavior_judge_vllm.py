"""The judge against vLLM's own server (its CPU build): json_schema output by a model made to find "Wait".

The model knows no more than which sign follows which, the grammar of the schema does the rest. Its
tokens are bytes: the most that any tokenizer makes of a prompt.
"""

import json
from dataclasses import replace

import pytest

from behavior.judge.judge import judge
from behavior.judge.options import JudgeOptions
from prerl_eval.annotations import read_annotations
from tests.behavior_traces import judge_run
from tests.servers import vllm_server

NEXT = {'"': "Wv}", "W": "a", "a": "i", "i": "t", "t": '"', "{": '"', ":": '["', "[": "{", "}": "]", "]": "}"}
"""Sign -> the signs that may follow it, best first; the best that the grammar allows is taken."""

TEXTS = {
    0: "n is 5. Wait, n is 6.",
    1: "n is 5.",
    2: "Waiting for n to be 5.",
}


def save_bigram_model(folder):
    """A Qwen3 whose attention and MLP add nothing: the logits are a table of the last byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {sign: number for number, sign in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "<s>{% for message in messages %}{{ message.content }}\n{% endfor %}"
    fast.save_pretrained(folder)

    config = Qwen3Config(
        vocab_size=len(ids),
        hidden_size=320,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=16384,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        layer = model.model.layers[0]
        for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight, model.lm_head.weight):
            weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(ids), 320))
        for sign, followers in NEXT.items():
            for rank, follower in enumerate(followers):
                model.lm_head.weight[ids[follower], ids[sign]] = 1.0 - 0.1 * rank
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    model = save_bigram_model(tmp_path_factory.mktemp("served") / "bigram")
    with vllm_server(model, "--served-model-name", "org/bigram", "--max-model-len", "12288") as (url, _):
        yield url


def test_findings_refusals_of_quotes_and_limits(server, tmp_path):
    run = judge_run(tmp_path / "run", 3, texts=TEXTS)
    options = JudgeOptions([run], "org/bigram", base_url=server, price_in=1.0, price_out=1.0, max_cost=1.0)
    report = judge(options)
    assert report.stopped is None
    (result,) = report.results
    (group,) = result["groups"]
    assert group["statuses"] == {"ok": 3, "invalid": 0, "refused": 0, "truncated": 0, "error": 0}
    assert (group["quotes"], group["lost"]) == (3, 2)
    assert result["canaries"] == {"asked": 3, "held": 3, "unread": 0}

    rows = read_annotations(run, "judge-org-bigram").to_pylist()
    found = sorted(
        (row["sample_index"], *(row[name] for name in ("label", "start", "end", "note"))) for row in rows
    )
    assert [row for row in found if row[1] != "status"] == [(0, "verification", 8, 12, "Wait")]
    assert [row for row in found if row[1] == "status"] == [(i, "status", None, None, "ok") for i in range(3)]

    log = (run / "annotations" / "judge-org-bigram" / "replies.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in log]
    worst = {event["id"]: event["worst"] for event in events if event["event"] == "sent"}
    for event in events:
        if event["event"] == "reply":
            used = json.loads(event["body"])["usage"]
            assert 1000 < used["prompt_tokens"] <= worst[event["id"]][0]
            assert used["completion_tokens"] <= worst[event["id"]][1]

    cut = judge(replace(options, max_output=20, name="cut", canaries=False)).results[0]["groups"][0]
    assert cut["statuses"] == {"ok": 0, "invalid": 0, "refused": 0, "truncated": 3, "error": 0}
    assert cut["labels"] == {}
