"""Pre-training of the embedded base models: tokenizer, Qwen3 model, corpus in batches, training loop.

`pretrain` needs minutes on one CPU thread and returns an ordinary Hugging Face model and tokenizer.
Everything is drawn from one seed: the same seed, settings and machine give the same weights. Covers no
files (prerl_train.base_checkpoint), no evaluation and no RL.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from prerl_eval.console import Advance
from prerl_train.countdown import LIMIT
from prerl_train.traces import DEFAULT_CORPUS, WORDS, Corpus, documents

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"

MAX_POSITIONS = 512

IGNORED = -100
"""Label of a position that no loss is taken at (the convention of transformers)."""

BATCHES_PER_WINDOW = 32
"""So many batches' documents are sorted by length together, and their batches shuffled."""


@dataclass(frozen=True, slots=True)
class Size:
    """A model size and the pre-training that suits it.

    tokens: of the whole pre-training, padding not counted. batch_tokens: positions per update, padding
    counted.
    """

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    tokens: int
    batch_tokens: int


SIZES: Mapping[str, Size] = {
    "nano": Size(128, 3, 4, 2, 384, tokens=3_000_000, batch_tokens=2048),
    "tiny": Size(192, 4, 6, 6, 512, tokens=60_000_000, batch_tokens=16384),
}
"""nano: for CPU, five minutes on one thread. tiny: for one GPU."""

HEAD_DIM = 32
"""The smallest that vLLM's CPU attention supports."""

LOG_EVERY = 50
"""Updates between two records of the log."""

MATRIX_LEARNING_RATE, OTHER_LEARNING_RATE = 0.02, 3e-3
"""The highest rates of Muon (weight matrices) and of AdamW (embedding and norms)."""

WARMUP = 0.03
"""Share of the tokens over which the learning rates rise; then they fall to zero along a cosine."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words and the numbers 0-99.

    Text with single spaces survives encoding and decoding unchanged. Encoding puts one start token
    first; there is no chat template. Prompt and response may be joined as text with or without a
    space, because punctuation ends a prompt.
    """
    vocabulary = [PAD, START, END, UNKNOWN, *map(str, range(LIMIT)), *WORDS]
    ids = {word: number for number, word in enumerate(vocabulary)}
    backend = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, ids[START])]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_POSITIONS,
    )


def build_model(size: Size, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 model in float32 with random weights."""
    special_ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        **special_ids,
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]
    model.generation_config = GenerationConfig(**special_ids)  # type: ignore[no-untyped-call]
    return model


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, batch_tokens: int, corpus: Corpus = DEFAULT_CORPUS
) -> Iterator[Tensor]:
    """An endless stream of batches (documents, length) of token ids, padded on the right.

    Documents of a batch have similar lengths, so little is padding; a batch holds at most
    `batch_tokens` positions. A document is a row of its own: none sees another.
    """
    rng = random.Random(f"{seed} batches")
    drawn = documents(seed, corpus)
    while True:
        window = _encode_documents(tokenizer, drawn, BATCHES_PER_WINDOW * batch_tokens)
        window.sort(key=len)
        groups = _group_by_positions(window, batch_tokens)
        rng.shuffle(groups)
        for group in groups:
            rows = [torch.tensor(document) for document in group]
            yield nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)


def _encode_documents(
    tokenizer: PreTrainedTokenizerFast, drawn: Iterator[tuple[str, str]], tokens: int
) -> list[list[int]]:
    """Start token, prompt, response and end token of the next documents, `tokens` tokens or a little more."""
    encoded: list[list[int]] = []
    total = 0
    while total < tokens:
        texts = [f"{prompt} {response}{END}" for prompt, response in itertools.islice(drawn, 256)]
        encoded += tokenizer(texts)["input_ids"]
        total = sum(map(len, encoded))
    return encoded


def _group_by_positions(documents_by_length: Sequence[list[int]], batch_tokens: int) -> list[list[list[int]]]:
    """Consecutive documents in groups of at most `batch_tokens` positions once padded."""
    groups: list[list[list[int]]] = [[]]
    for document in documents_by_length:
        if groups[-1] and len(document) * (len(groups[-1]) + 1) > batch_tokens:
            groups.append([])
        groups[-1].append(document)
    return groups


def learning_rate_factor(progress: float) -> float:
    """Factor of the highest learning rates when `progress` (0 to 1) of the tokens are done."""
    if progress < WARMUP:
        return progress / WARMUP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARMUP) / (1 - WARMUP))))


def pretrain(
    size: Size, *, seed: int, tokens: int, corpus: Corpus, device: str, advance: Advance
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast, list[dict[str, float]]]:
    """Pre-train a model of that size on `tokens` tokens of the corpus, each document seen once.

    The loss is taken at every token, prompts included. advance: called with the number of tokens after
    every update. Returns the model on the CPU, its tokenizer, and a record of the first update and of
    every LOG_EVERY-th: step, tokens, loss (mean since the record before), grad_norm, seconds.
    """
    tokenizer = build_tokenizer()
    model = build_model(size, tokenizer, seed)
    model.to(device)  # type: ignore[arg-type]
    pad: int = tokenizer.pad_token_id
    optimizers = build_optimizers(model)
    log: list[dict[str, float]] = []
    losses: list[float] = []
    done, start = 0, time.monotonic()
    for step, batch in enumerate(batches(tokenizer, seed, size.batch_tokens, corpus), start=1):
        loss, norm = _update(model, optimizers, batch.to(device), pad, learning_rate_factor(done / tokens))
        losses.append(loss)
        real = int((batch != pad).sum())
        done += real
        if step == 1 or step % LOG_EVERY == 0 or done >= tokens:
            record = {"step": step, "tokens": done, "loss": sum(losses) / len(losses), "grad_norm": norm}
            log.append({key: round(value, 4) for key, value in record.items()})
            log[-1]["seconds"] = round(time.monotonic() - start, 1)
            losses.clear()
        advance(real, f"loss {loss:.3f}")
        if done >= tokens:
            break
    model.to("cpu")  # type: ignore[arg-type]
    return model, tokenizer, log


def build_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the layers, AdamW for the embedding and the norms.

    With Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) the nano loss after 1M tokens
    was 0.53, with AdamW alone 0.71, for 12% more CPU time.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        (matrices if weight.ndim == 2 and "embed" not in name else others).append(weight)
    return [
        torch.optim.Muon(matrices, lr=MATRIX_LEARNING_RATE, weight_decay=0),
        torch.optim.AdamW(others, lr=OTHER_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0),
    ]


def _update(
    model: Qwen3ForCausalLM,
    optimizers: Sequence[torch.optim.Optimizer],
    ids: Tensor,
    pad: int,
    rate_factor: float,
) -> tuple[float, float]:
    """One update on a batch (documents, length); its loss and the norm of the gradient."""
    labels = ids.masked_fill(ids == pad, IGNORED)
    # Without an attention mask: attention is causal and the padding comes last.
    loss = model(input_ids=ids, labels=labels, use_cache=False).loss
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("highest_lr", group["lr"]) * rate_factor
        optimizer.step()
        optimizer.zero_grad()
    return loss.item(), norm.item()
