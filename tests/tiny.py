"""Tiny real checkpoints, made on the spot: a random Qwen3 with a word tokenizer, and LoRA adapters of it.

Import the fixtures where they are wanted: `from tests.tiny import tiny_model`.
"""

from collections.abc import Container, Sequence
from pathlib import Path

import pytest

from prerl_eval.engines.base import Completion, Engine, Key, Prompt, Request, Sampling

SIGNS = (",", ":", ".", "=", "+", "-", "*", "\\boxed", "{", "}")
WORDS = (
    *(str(number) for number in range(40)),
    *("make", "from", "try", "wait", "yes", "no", "check", "answer", "alternatively"),
    *SIGNS,
)
SPECIAL = ("<pad>", "<s>", "</s>", "<think>", "</think>")


def save_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> None:
    """Words separated by blanks; `SPECIAL` are its special tokens, ids from 0."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, "<unk>", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<think>", "</think>"],
        model_max_length=512,
    ).save_pretrained(folder)


def save_model(
    folder: Path, *, seed: int = 0, width: int = 32, layers: int = 2, sharpness: float = 0.4
) -> Path:
    """A random Qwen3 checkpoint in float32; `sharpness` (init std) makes its choice of tokens less even."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(SPECIAL) + 1 + len(WORDS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=sharpness,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_adapter(folder: Path, base: Path, *, seed: int = 1) -> Path:
    """A random LoRA adapter of `base`, in PEFT's format, strong enough to change what is sampled."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = get_peft_model(
        model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("tiny") / "tiny-a")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The architecture and tokenizer of `tiny_model` with other weights, as a later step of training."""
    return save_model(tmp_path_factory.mktemp("tiny") / "tiny-b", seed=1)


@pytest.fixture(scope="session")
def tiny_adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("tiny") / "tiny-lora", tiny_model)


def make_requests(
    problems: int = 3, n: int = 4, max_tokens: int = 40, first_word: str = "make"
) -> list[Request]:
    """Requests with prompts of different lengths, `<s> make 0 1 2 ...`, in the order of a run."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, "<unk>", *WORDS))}
    requests = []
    for problem in range(problems):
        words = ["<s>", first_word, *map(str, range(2 * problem + 1))]
        prompt = Prompt(" ".join(words), tuple(vocabulary[word] for word in words))
        requests += [
            Request(("tiny", str(problem), index), prompt, 1000 * problem + index, max_tokens)
            for index in range(n)
        ]
    return requests


def collect(
    engine: Engine, requests: Sequence[Request], sampling: Sampling, done: Container[Key] = ()
) -> dict[Key, Completion]:
    """Everything that an engine yields; fails if a key comes twice."""
    found: dict[Key, Completion] = {}
    for finished in engine.generate(requests, sampling, done.__contains__):
        for request, completion in finished:
            assert request.key not in found
            found[request.key] = completion
    return found
