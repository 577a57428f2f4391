"""The transformers engine on tiny real models: seeds, fixed batches, settings, text, bad input."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prerl_eval.checkpoint import Checkpoint
from prerl_eval.engines.base import Completion, Sampling
from prerl_eval.engines.decoding import InverseCdf, Row
from prerl_eval.engines.detokenize import Detokenizer
from prerl_eval.engines.transformers import TransformersEngine, cache_bytes_per_token
from prerl_eval.errors import RunStopped, UserError
from tests.tiny import SPECIAL, WORDS, collect, make_requests, save_model, save_tokenizer

EOS = 2
SAMPLED = Sampling(stop_token_ids=(EOS,))
GREEDY = Sampling(temperature=0.0, stop_token_ids=(EOS,))


def engine_for(folder: Path, base: Path | None = None, **settings: object) -> TransformersEngine:
    engine = TransformersEngine(**settings)  # type: ignore[arg-type]
    engine.load(checkpoint_at(folder, base))
    return engine


def checkpoint_at(folder: Path, base: Path | None = None) -> Checkpoint:
    return Checkpoint(str(folder), folder.name, folder, checkpoint_at(base) if base else None)


def ids(found: dict) -> dict:
    return {key: completion.token_ids for key, completion in found.items()}


def test_every_request_once_and_within_its_limit(tiny_model):
    requests = make_requests(problems=3, n=7, max_tokens=70)
    found = collect(engine_for(tiny_model, batch_size=8), requests, SAMPLED)
    assert list(found) == [request.key for request in requests]
    assert {completion.finish_reason for completion in found.values()} == {"stop", "length"}
    for completion in found.values():
        assert completion.tokens == len(completion.token_ids) <= 70
        stopped = completion.token_ids[-1] == EOS
        assert completion.finish_reason == ("stop" if stopped else "length")
        assert EOS not in completion.token_ids[:-1]
        assert stopped or completion.tokens == 70


def test_limits_are_per_request(tiny_model):
    requests = [
        replace(request, max_tokens=limit)
        for request, limit in zip(make_requests(1, 4), (1, 5, 33, 50), strict=True)
    ]
    found = collect(engine_for(tiny_model, batch_size=4), requests, Sampling())
    assert [completion.tokens for completion in found.values()] == [1, 5, 33, 50]
    assert {completion.finish_reason for completion in found.values()} == {"length"}


@pytest.mark.parametrize("stored", [0.1, 0.5, 0.9])
def test_resumed_rows_are_the_same_bit_for_bit(tiny_model, stored):
    requests = make_requests(problems=3, n=16, max_tokens=60)
    whole = collect(engine_for(tiny_model, batch_size=8), requests, SAMPLED)
    random = np.random.default_rng(0)
    done = {request.key for request in requests if random.random() < stored}
    rest = collect(engine_for(tiny_model, batch_size=8), requests, SAMPLED, done)
    assert set(rest) == set(whole) - done
    assert all(rest[key].token_ids == whole[key].token_ids for key in rest)
    assert all(rest[key].text == whole[key].text for key in rest)


def test_batches_are_pieces_of_the_whole_list_and_stored_ones_are_skipped(tiny_model):
    requests = make_requests(problems=2, n=6)
    done = {request.key for request in requests[4:8]} | {requests[0].key}
    engine = engine_for(tiny_model, batch_size=4)
    groups = [
        [request.key for request, _ in finished]
        for finished in engine.generate(requests, SAMPLED, done.__contains__)
    ]
    assert groups == [[r.key for r in requests[1:4]], [r.key for r in requests[8:]]]


def test_a_row_depends_on_its_seed_and_not_on_its_neighbours(tiny_model):
    requests = make_requests(problems=3, n=5)
    together = collect(engine_for(tiny_model, batch_size=15), requests, SAMPLED)
    alone = collect(engine_for(tiny_model, batch_size=1), requests, SAMPLED)
    assert ids(together) == ids(alone)
    assert len(set(ids(alone).values())) > 10


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_settings_that_leave_one_token_are_greedy(tiny_model, settings):
    requests = make_requests()
    engine = engine_for(tiny_model)
    narrow = collect(engine, requests, Sampling(**settings, stop_token_ids=(EOS,)))
    assert ids(narrow) == ids(collect(engine, requests, GREEDY))


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(), None),
        (Sampling(temperature=0.6), None),
        (Sampling(temperature=1.5, top_k=7), 7),
        (Sampling(top_p=0.8), None),
    ],
)
def test_first_tokens_follow_the_models_own_distribution(tiny_model, sampling, kept):
    count = 4000
    requests = make_requests(problems=1, n=count, max_tokens=1)
    found = collect(engine_for(tiny_model, batch_size=1000), requests, sampling)
    sampled = np.bincount([c.token_ids[0] for c in found.values()], minlength=len(SPECIAL) + 1 + len(WORDS))

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.inference_mode():
        logits = model(torch.tensor([requests[0].prompt.token_ids])).logits[0, -1].double()
    expected = (logits / sampling.temperature).softmax(-1).numpy()
    order = np.argsort(-expected)
    if kept:
        expected[order[kept:]] = 0
    # top_p keeps the smallest set whose mass reaches it.
    mass_before = np.concatenate([[0], np.cumsum(expected[order])[:-1]])
    expected[order[mass_before >= sampling.top_p]] = 0
    expected /= expected.sum()

    assert sampled[expected == 0].sum() == 0
    spread = np.sqrt(count * expected * (1 - expected)) + 1e-9
    assert np.abs((sampled - count * expected) / np.maximum(spread, 1)).max() < 4.5


def test_inverse_cdf_by_hand():
    scores = torch.log(torch.tensor([[0.25, 0.0, 0.5, 0.25, 0.0]]))
    # Cumulated: .25 .25 .75 1 1. Tokens 1 and 4 have no mass, so an edge belongs to the token on its right.
    edge = float(scores.softmax(-1, dtype=torch.float64)[0, 0])
    uniforms = torch.tensor([[0.0], [0.2499], [edge], [0.7499], [0.7501], [1 - 2**-53]], dtype=torch.float64)
    chosen = InverseCdf(uniforms)(torch.zeros(6, 1), scores.repeat(6, 1))
    assert chosen.argmax(-1).tolist() == [0, 0, 2, 2, 3, 3]
    assert torch.isinf(chosen).sum() == 6 * 4


def test_logits_that_are_no_numbers_stop_the_run():
    with pytest.raises(RunStopped, match="not numbers"):
        InverseCdf(torch.zeros(1, 1))(torch.zeros(1, 1), torch.full((1, 3), torch.nan))


def test_nothing_leaks_from_generation_config(tiny_model, tmp_path):
    poisoned = shutil.copytree(tiny_model, tmp_path / "poisoned")
    (poisoned / "generation_config.json").write_text(
        json.dumps(
            {
                "do_sample": True,
                "temperature": 0.01,
                "top_k": 1,
                "top_p": 0.1,
                "repetition_penalty": 5.0,
                "no_repeat_ngram_size": 1,
                "eos_token_id": [10, 11, 12, 13],
                "suppress_tokens": [20, 21, 22, 23, 24],
                "forced_eos_token_id": 9,
                "min_new_tokens": 30,
                "max_new_tokens": 3,
                "num_beams": 4,
            }
        )
    )
    requests = make_requests()
    clean = engine_for(tiny_model, batch_size=4)
    other = engine_for(poisoned, batch_size=4)
    for sampling in (SAMPLED, GREEDY):
        assert ids(collect(other, requests, sampling)) == ids(collect(clean, requests, sampling))


def test_greedy_is_what_generate_does_for_each_prompt_alone(tiny_model):
    found = collect(engine_for(tiny_model, batch_size=8), make_requests(4, 1, 50), GREEDY)
    assert list(ids(found).values()) == plain_greedy(tiny_model, make_requests(4, 1, 50))


def plain_greedy(folder: Path, requests: list) -> list[tuple[int, ...]]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    answers = []
    for request in requests:
        prompt = torch.tensor([request.prompt.token_ids])
        whole = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_tokens,
            do_sample=False,
            eos_token_id=EOS,
            pad_token_id=0,
        )
        answers.append(tuple(whole[0, prompt.shape[1] :].tolist()))
    return answers


def architectures() -> dict:
    import transformers as t

    shape = {"vocab_size": len(SPECIAL) + 1 + len(WORDS), "hidden_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    ends = {"bos_token_id": 1, "eos_token_id": EOS, "pad_token_id": 0, "initializer_range": 0.4}
    return {
        "llama": t.LlamaConfig(**shape, **heads, **ends),
        "gpt2": t.GPT2Config(vocab_size=shape["vocab_size"], n_embd=32, n_layer=2, n_head=4, **ends),
        "sliding": t.Gemma3TextConfig(
            **{**shape, "num_hidden_layers": 6}, **heads, **ends, head_dim=8, sliding_window=8
        ),
        "linear": t.Qwen3NextConfig(
            **{**shape, "num_hidden_layers": 4},
            **heads,
            **ends,
            head_dim=16,
            linear_num_key_heads=2,
            linear_num_value_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            num_experts=2,
            num_experts_per_tok=1,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
        ),
    }


@pytest.mark.parametrize("name", ["llama", "gpt2", "sliding", "linear"])
def test_other_architectures(name, tmp_path):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(architectures()[name]).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    # Prompts of equal length: plain generate alone is the reference, also where padding is approximate.
    requests = (
        make_requests(1, 1, 80, "make") + make_requests(1, 1, 80, "try") + make_requests(1, 1, 80, "no")
    )
    requests = [
        type(r)(("tiny", str(i), 0), r.prompt, r.seed, (80, 40, 70)[i]) for i, r in enumerate(requests)
    ]
    found = collect(engine_for(tmp_path, batch_size=3), requests, GREEDY)
    assert list(ids(found).values()) == plain_greedy(tmp_path, requests)


def test_adapter_is_merged_into_its_base(tiny_model, tiny_adapter):
    requests = make_requests()
    adapted = collect(engine_for(tiny_adapter, tiny_model, batch_size=4), requests, GREEDY)
    base = collect(engine_for(tiny_model, batch_size=4), requests, GREEDY)
    assert ids(adapted) != ids(base)

    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter)
    prompt = torch.tensor([requests[-1].prompt.token_ids])
    whole = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=40, pad_token_id=0
    )
    assert adapted[requests[-1].key].token_ids == tuple(whole[0, prompt.shape[1] :].tolist())


def test_second_load_swaps_the_weights(tiny_model, other_model):
    requests = make_requests()
    engine = engine_for(tiny_model, batch_size=4)
    first = collect(engine, requests, GREEDY)
    engine.load(checkpoint_at(other_model))
    second = collect(engine, requests, GREEDY)
    assert ids(second) == ids(collect(engine_for(other_model, batch_size=4), requests, GREEDY))
    assert ids(second) != ids(first)


def test_text_is_what_follows_the_prompt_without_the_stop_token(tiny_model):
    requests = make_requests(problems=3, n=8, max_tokens=60)
    found = collect(engine_for(tiny_model), requests, SAMPLED)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for request in requests:
        completion = found[request.key]
        sampled = [token for token in completion.token_ids if token != EOS]
        whole = tokenizer.decode([*request.prompt.token_ids, *sampled])
        assert request.prompt.text + completion.text == whole
    texts = "".join(completion.text for completion in found.values())
    assert "<think>" in texts
    assert "</s>" not in texts


def test_stop_strings_end_a_completion_before_themselves(tiny_model):
    requests = make_requests(problems=3, n=8, max_tokens=60)
    free = collect(engine_for(tiny_model), requests, Sampling())
    stop = ("wait", "= 1")
    stopped = collect(engine_for(tiny_model), requests, Sampling(stop=stop))
    ended: list[Completion] = [c for c in stopped.values() if c.finish_reason == "stop"]
    assert len(ended) > 5
    for key, completion in stopped.items():
        longest = free[key]
        assert longest.token_ids[: completion.tokens] == completion.token_ids
        found = [longest.text.find(word) for word in stop if word in longest.text]
        assert completion.text == (longest.text[: min(found)] if found else longest.text)
        assert completion.finish_reason == ("stop" if found else "length")


def test_a_stop_string_over_several_tokens(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokens = tokenizer.encode("make 1 + 2 = 3 . yes", add_special_tokens=False)
    sampling = Sampling(stop=("2 = 3",), stop_token_ids=(tokens[-1],))
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.end(tokens[:count], 0, sampling) for count in (5, 6, 8)] == [None, 6, 6]
    assert detokenizer.end(tokens, 6, Sampling(stop_token_ids=(tokens[-1],))) == 8
    assert detokenizer.text([1], tokens[:6], sampling) == " make 1 + "


@pytest.mark.parametrize(
    ("new", "end", "tokens", "reason"),
    [
        ([7, 8], None, [5, 7, 8], ""),
        ([7, 8, 9], None, [5, 7, 8, 9], "length"),
        ([7, 8, 9, 9], None, [5, 7, 8, 9], "length"),
        ([7, 8, 9, 9], 2, [5, 7], "stop"),
        ([7, 8, 9, 9], 4, [5, 7, 8, 9], "stop"),
        ([7, 8, 9, 9], 5, [5, 7, 8, 9], "length"),
    ],
)
def test_a_row_ends_at_its_stop_or_its_limit(new, end, tokens, reason):
    row = Row(prompt=(1,), seed=0, limit=4, tokens=[5])
    row.extend(new, lambda tokens, checked: end)
    assert (row.tokens, row.finish_reason) == (tokens, reason)


def test_automatic_batch_size_by_hand(tiny_model):
    engine = engine_for(tiny_model)
    # 2 (keys, values) x 2 layers x 2 heads x 32 wide x 4 bytes.
    assert cache_bytes_per_token(engine._model) == 1024
    assert engine.automatic_batch_size(make_requests(max_tokens=100)) == 128
    # 8 GiB / (1024 B x (2**20 + 7)) is 7.99: the power of two below.
    assert engine.automatic_batch_size(make_requests(max_tokens=2**20)) == 4
    assert engine.automatic_batch_size(make_requests(max_tokens=2**30)) == 1


def test_a_tiny_model_takes_one_thread_and_gives_them_back(tiny_model):
    torch.set_num_threads(2)
    try:
        engine = engine_for(tiny_model)
        assert engine.describe() == {
            "name": "transformers",
            "device": "cpu",
            "dtype": "float32",
            "attention": "sdpa",
            "threads": 1,
            "batch_size": "auto",
        }
        engine.close()
        engine.close()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_dtype_is_the_flags(tiny_model):
    assert engine_for(tiny_model, dtype="bfloat16").describe()["dtype"] == "bfloat16"


def test_weights_that_are_missing_are_never_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the model's weights \(model.layers.1.mlp.up_proj"):
        engine_for(folder)


def test_a_cut_off_weight_file_is_one_line(tmp_path):
    folder = save_model(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        engine_for(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("peft_type", "NEW_METHOD"), ("r", 4)])
def test_an_adapter_that_peft_cannot_load_is_one_line(tiny_model, tiny_adapter, tmp_path, key, value):
    broken = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    config = json.loads((broken / "adapter_config.json").read_text())
    (broken / "adapter_config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match="adapter cannot be loaded") as caught:
        engine_for(broken, tiny_model)
    assert "\n" not in str(caught.value)
