"""Pre-training of the base: a real one in miniature, the tokenizer, and the checkpoint that is shipped."""

import itertools
import json
import logging
import math
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from prerl_eval.errors import RunStopped, UserError
from prerl_train.base_checkpoint import check_out, save_checkpoint, train_base
from prerl_train.base_model import (
    LOG_EVERY,
    SIZES,
    WARMUP,
    batches,
    build_model,
    build_tokenizer,
    learning_rate_factor,
)
from prerl_train.traces import Corpus, documents
from tests.conftest import REPO

MINIATURE = {"size_name": "nano", "tokens": 30_000, "threads": 1, "device": "cpu"}
SHIPPED = REPO / "results" / "base-nano"


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "new" / "miniature"
    return out, train_base(out, seed=0, **MINIATURE)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def load_quietly(folder, caplog):
    """Model and tokenizer through the Auto classes; fails on any warning that transformers logs."""
    transformers_logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            model = AutoModelForCausalLM.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
    finally:
        transformers_logging.disable_propagation()
    assert [record.message for record in caplog.records] == []
    return model, tokenizer


def test_miniature_learns_and_records_how(miniature):
    out, record = miniature
    log = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    # An untrained model is about uniform over the vocabulary.
    assert log[0]["loss"] == pytest.approx(math.log(135), abs=0.3)
    assert log[-1]["loss"] < 0.75 * log[0]["loss"]
    assert log[0]["step"] == 1
    assert log[-1]["tokens"] == record["tokens"]
    assert 30_000 <= record["tokens"] < 30_000 + SIZES["nano"].batch_tokens
    assert json.loads((out / "pretraining.json").read_text()) == record
    assert record["command"].startswith("prerl-train base --size nano --seed 0 --tokens 30000 --threads 1")
    assert record["command"] in (out / "README.md").read_text()
    assert [folder.name for folder in out.parent.iterdir()] == ["miniature"]


def test_seed_decides_the_weights(miniature, tmp_path):
    train_base(tmp_path / "same", seed=0, **MINIATURE)
    train_base(tmp_path / "other", seed=1, **MINIATURE)
    assert weights(tmp_path / "same") == weights(miniature[0])
    assert weights(tmp_path / "other") != weights(miniature[0])


def first_loss(folder):
    return json.loads((folder / "train.jsonl").read_text().splitlines()[0])["loss"]


def test_another_corpus_is_trained_on_and_recorded(miniature, tmp_path):
    assert (miniature[1]["promptless_share"], miniature[1]["restate"]) == (0.25, True)
    assert "restate" not in miniature[1]["command"]
    assert "promptless" not in miniature[1]["command"]
    out = tmp_path / "other"
    done = cli("base", "--tokens", 1, "--promptless-share", "0", "--no-restate", "--out", out)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "pretraining.json").read_text())
    assert (record["promptless_share"], record["restate"]) == (0.0, False)
    assert f"--device cpu --promptless-share 0.0 --no-restate --out {out}" in record["command"]
    # The first loss is that of the first weights, which the seed decides, on the first batch.
    assert first_loss(out) != first_loss(miniature[0])


def test_batches_are_of_the_given_corpus(tokenizer):
    bare = next(batches(tokenizer, 0, 2048, Corpus(promptless_share=1.0, restate=False)))
    words = {tokenizer.decode(row[1]) for row in bare}
    assert words == {"try"}


@pytest.mark.parametrize("share", ["-0.1", "1.5", "nan"])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    done = cli("base", "--out", tmp_path / "base", "--promptless-share", share)
    assert done.returncode == 2
    assert done.stderr == f"prerl-train: --promptless-share {share} is no share of documents; give 0 to 1\n"
    assert list(tmp_path.iterdir()) == []


def test_miniature_is_an_ordinary_checkpoint(miniature, caplog):
    model, tokenizer = load_quietly(miniature[0], caplog)
    config = model.generation_config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 0)
    assert model.config.vocab_size == len(tokenizer)
    assert model.dtype == torch.float32
    assert model.num_parameters() == miniature[1]["parameters"]


def test_sizes():
    tokenizer = build_tokenizer()
    assert build_model(SIZES["nano"], tokenizer, 0).num_parameters() == 608_192
    assert build_model(SIZES["tiny"], tokenizer, 0).num_parameters() == 1_797_376


def test_text_survives_the_tokenizer(tokenizer):
    for prompt, response in itertools.islice(documents(seed=3), 500):
        text = f"{prompt} {response}".strip()
        ids = tokenizer(text)["input_ids"]
        assert ids.count(tokenizer.bos_token_id) == 1
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == 1 + len(text.split())
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        whole = [*ids, tokenizer.eos_token_id]
        assert tokenizer(tokenizer.decode(whole), add_special_tokens=False)["input_ids"] == whole
        if prompt:
            assert tokenizer(prompt + response)["input_ids"] == ids


def test_unknown_words_are_unknown(tokenizer):
    ids = tokenizer("prove 7 100")["input_ids"]
    assert ids == [1, tokenizer.unk_token_id, tokenizer.convert_tokens_to_ids("7"), tokenizer.unk_token_id]
    assert tokenizer.chat_template is None


def test_batches_are_whole_documents_with_little_padding(tokenizer):
    drawn = list(itertools.islice(batches(tokenizer, seed=0, batch_tokens=1024), 40))
    assert all(batch.numel() <= 1024 for batch in drawn)
    rows = [row[row != tokenizer.pad_token_id].tolist() for batch in drawn for row in batch]
    assert all(row[0] == 1 and row[-1] == 2 and row.count(1) == row.count(2) == 1 for row in rows)
    assert sum(map(len, rows)) > 0.9 * sum(batch.numel() for batch in drawn)
    # 40 batches hold the whole first window, so the corpus's first documents are all there.
    texts = [f"{prompt} {response}".strip() for prompt, response in itertools.islice(documents(seed=0), 256)]
    assert Counter(texts) <= Counter(tokenizer.decode(row, skip_special_tokens=True) for row in rows)


def test_documents_do_not_see_each_other_or_the_padding(tokenizer):
    model = build_model(SIZES["nano"], tokenizer, seed=0).eval()
    batch = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(tokenizer(text)["input_ids"]) for text in ("make 9 from 4 5 . try", "make 9", "use 4")],
        batch_first=True,
        padding_value=tokenizer.pad_token_id,
    )
    with torch.no_grad():
        together = model(input_ids=batch).logits
        for row, ids in zip(together, batch, strict=True):
            ids = ids[ids != tokenizer.pad_token_id]
            alone = model(input_ids=ids[None]).logits[0]
            torch.testing.assert_close(row[: len(ids)], alone, rtol=1e-4, atol=1e-5)


def test_learning_rate_rises_then_falls_along_a_cosine():
    assert learning_rate_factor(0) == 0
    assert learning_rate_factor(WARMUP / 2) == pytest.approx(0.5)
    assert learning_rate_factor(WARMUP) == pytest.approx(1)
    assert learning_rate_factor((1 + WARMUP) / 2) == pytest.approx(0.5)
    assert learning_rate_factor(1) == learning_rate_factor(1.1) == pytest.approx(0)


def cli(*arguments):
    command = [sys.executable, "-m", "prerl_train.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_filled_folder_or_a_file_is_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    for out in (tmp_path / "full", tmp_path / "full" / "note", tmp_path / "full" / "note" / "base"):
        done = cli("base", "--out", out)
        assert done.returncode == 2
        assert done.stderr.startswith(f"prerl-train: --out {out}")
        assert len(done.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.rglob("*")] == ["full", "note"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("out", [".", "../here", "x" * 300])
def test_a_folder_that_cannot_be_replaced_is_refused_before_the_training(tmp_path, monkeypatch, out):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match=r"^--out .*; give another folder$"):
        check_out(Path(out))


def test_a_missing_device_is_refused(tmp_path):
    done = cli("base", "--out", tmp_path / "base", "--device", "cuda")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "use --device cpu" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(tmp_path):
    # A shell's background job ignores SIGINT, and so would its children.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"sys.argv = ['prerl-train', 'base', '--out', {str(tmp_path / 'base')!r}]; "
        "from prerl_train.cli import main; main()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        while "libtorch_cpu" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.1)
        time.sleep(8)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tokenizer, tmp_path):
    model = build_model(SIZES["nano"], tokenizer, seed=0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(RunStopped, match="File too large"):
            save_checkpoint(tmp_path / "base", model, tokenizer, {}, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_shipped_base(caplog):
    model, tokenizer = load_quietly(SHIPPED, caplog)
    record = json.loads((SHIPPED / "pretraining.json").read_text())
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 4 * 2**20
    assert model.num_parameters() == record["parameters"] == 608_192
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert record["tokens"] >= SIZES["nano"].tokens
    log = [json.loads(line) for line in (SHIPPED / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log[1:3]] == [LOG_EVERY, 2 * LOG_EVERY]
    assert log[-1]["loss"] == record["loss"]
    # What it was trained for: the loss on documents of another seed is the loss its log ends with.
    losses = []
    with torch.no_grad():
        for batch in itertools.islice(batches(tokenizer, seed=99, batch_tokens=2048), 32):
            labels = batch.masked_fill(batch == tokenizer.pad_token_id, -100)
            losses.append(model(input_ids=batch, labels=labels).loss.item())
    assert sum(losses) / len(losses) == pytest.approx(record["loss"], abs=0.05)


def test_shipped_base_answers_in_its_own_words():
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    prompt = tokenizer("use 3 4 to reach 12 .", return_tensors="pt")
    ids = model.generate(**prompt, do_sample=False, max_new_tokens=96)[0]
    assert tokenizer.decode(ids, skip_special_tokens=True).startswith(
        "use 3 4 to reach 12 . make 12 from 3 4"
    )
    assert ids[-1] == tokenizer.eos_token_id
