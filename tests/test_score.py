"""Scores of stored responses against one-by-one computations, on runs and models made on the spot."""

import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from prerl_eval import annotations, store
from prerl_eval.annotations import annotation_folder, annotation_names, read_about, read_annotations
from prerl_eval.errors import UserError
from prerl_eval.plan import RunOptions
from prerl_eval.run import evaluate
from prerl_eval.scoring import score as scoring
from prerl_eval.scoring.plan import ScoreOptions
from prerl_eval.scoring.score import ALONE, GIVEN_PROMPT, score
from tests.runs import sample, write_run
from tests.tiny import WORDS, save_tokenizer

START, END = 1, 2


@pytest.fixture(scope="module")
def sampled(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("score") / "run"
    options = {"n": 4, "limit": 6, "max_tokens": 24, "batch_size": 8, "engine": "transformers"}
    evaluate(RunOptions(ckpt=[str(tiny_model)], bench=["countdown"], out=folder, **options))
    return folder


@pytest.fixture
def run(sampled, tmp_path):
    return shutil.copytree(sampled, tmp_path / "run")


def scored(run, name, label):
    """Key -> (sum, per token)."""
    rows = read_annotations(run, name).to_pylist()
    found = {key_of(row): (row["value"], row["values"]) for row in rows if row["label"] == label}
    assert 2 * len(found) == len(rows)
    return found


def key_of(row):
    return tuple(row[column] for column in annotations.KEY)


def one_by_one(model, prefix, completion):
    """Per-token log-probs of one response, in float32, without padding, batches or tricks."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prefix, *completion]])).logits[0]
    logps = logits.log_softmax(-1)
    places = range(len(prefix) - 1, len(prefix) + len(completion) - 1)
    return [logps[place, token].item() for place, token in zip(places, completion, strict=True)]


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def check_all(run, name, folder_or_model, prompt_of, completion_of=lambda row: row["token_ids"]):
    """Every stored score is that of one_by_one."""
    model = load(folder_or_model) if isinstance(folder_or_model, Path) else folder_or_model
    found = {label: scored(run, name, label) for label in (GIVEN_PROMPT, ALONE)}
    for row in store.read_samples(run).to_pylist():
        for label, prefix in ((GIVEN_PROMPT, prompt_of(row)), (ALONE, [START])):
            value, values = found[label][key_of(row)]
            expected = one_by_one(model, prefix, completion_of(row))
            assert value == pytest.approx(sum(expected), abs=1e-4)
            if values is not None:
                assert values == pytest.approx(expected, abs=1e-4)
                assert value == pytest.approx(sum(values), abs=1e-6)


def words(tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return lambda text: tokenizer(text, add_special_tokens=False).input_ids


# --- Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_tokens", [1, 100, 4096])
def test_scores_equal_a_one_by_one_computation(run, tiny_model, other_model, batch_tokens):
    score(ScoreOptions(run, [str(other_model)], per_token=True, batch_tokens=batch_tokens))
    ids = words(tiny_model)
    check_all(run, "logp-tiny-b", other_model, lambda row: ids(row["prompt"]))


def test_an_end_token_counts_where_it_was_sampled(run, tiny_model):
    rows = store.read_samples(run).to_pylist()
    ended = [row for row in rows if row["token_ids"][-1] == END]
    assert 0 < len(ended) < len(rows)
    score(ScoreOptions(run, [str(tiny_model)], per_token=True))
    found = scored(run, "logp-tiny-a", ALONE)
    for row in rows:
        assert len(found[key_of(row)][1]) == row["tokens"] == len(row["token_ids"])


def test_an_adapter_is_scored_on_its_base(run, tiny_model, tiny_adapter):
    from peft import PeftModel

    score(ScoreOptions(run, [str(tiny_adapter)], name="adapter"))
    merged = PeftModel.from_pretrained(load(tiny_model), tiny_adapter).merge_and_unload().eval()
    ids = words(tiny_model)
    check_all(run, "logp-adapter", merged, lambda row: ids(row["prompt"]))


def test_a_response_without_tokens_has_probability_one(tmp_path, tiny_model):
    rows = [
        sample("1", 0, "wrong", prompt="make 3", completion="", token_ids=[], tokens=0),
        sample(
            "1", 1, "wrong", prompt="make 3", completion=" yes", token_ids=words(tiny_model)("yes"), tokens=1
        ),
    ]
    run = write_run(tmp_path / "run", rows, settings={"engine": "transformers", "template": "plain"})
    score(ScoreOptions(run, [str(tiny_model)], per_token=True))
    assert scored(run, "logp-tiny-a", GIVEN_PROMPT)["aime24", "1", 0, 0] == (0.0, [])
    assert scored(run, "logp-tiny-a", ALONE)["aime24", "1", 1, 0][0] < 0


def test_another_start_token_is_another_p_of_y(run, tiny_model):
    model = load(tiny_model)
    score(ScoreOptions(run, [str(tiny_model)], start_token="make", name="make"))
    row = store.read_samples(run).to_pylist()[0]
    expected = sum(one_by_one(model, words(tiny_model)("make"), row["token_ids"]))
    assert scored(run, "logp-make", ALONE)[key_of(row)][0] == pytest.approx(expected, abs=1e-4)
    assert read_about(run, "logp-make")["start_token"]["token"] == "make"


# --- Runs without token ids ----------------------------------------------------------------------


def test_texts_without_ids_are_tokenised_and_said_to_be(tmp_path, tiny_model):
    text = "try 1 + 2 = 3 yes answer : 1 + 2"
    settings = {"engine": "import"}
    rows = [
        sample("1", 0, "correct", prompt="make 3 from 1 2", completion=text, token_ids=None, tokens=0),
        sample("2", 0, "wrong", prompt="make 4", completion="no", token_ids=None, tokens=0),
    ]
    run = write_run(tmp_path / "run", rows, {"aime24": {"prompt": "check {problem} ."}}, settings=settings)
    score(ScoreOptions(run, [str(tiny_model)]))
    ids = words(tiny_model)
    check_all(
        run,
        "logp-tiny-a",
        tiny_model,
        lambda row: ids(f"check {row['prompt']} ."),
        lambda row: ids(row["completion"]),
    )
    assert set(read_annotations(run, "logp-tiny-a")["note"].to_pylist()) == {"retokenised"}
    assert read_about(run, "logp-tiny-a")["sessions"][0]["retokenised"] == 2


def test_imported_prompts_that_held_options_are_refused(tmp_path, tiny_model):
    rows = [sample("1", 0, "correct", prompt="make 3", completion="1 + 2", token_ids=None, tokens=0)]
    plan = {"aime24": {"prompt": "{problem} {options}"}}
    run = write_run(tmp_path / "run", rows, plan, settings={"engine": "import"})
    with pytest.raises(UserError, match=r"aime24: an imported run does not hold \{options\} of its prompts"):
        score(ScoreOptions(run, [str(tiny_model)]))
    assert annotation_names(run) == []


def test_another_tokenizer_is_refused_unless_texts_are_tokenised_again(run, tiny_model, tmp_path):
    other = shutil.copytree(tiny_model, tmp_path / "other")
    save_tokenizer(other, WORDS[::-1])
    with pytest.raises(UserError, match=r"the tokenizer of .*other is not the one .* give --retokenize"):
        score(ScoreOptions(run, [str(other)]))
    assert annotation_names(run) == []
    score(ScoreOptions(run, [str(other)], retokenize=True))
    assert set(read_annotations(run, "logp-other")["note"].to_pylist()) == {"retokenised"}


def test_a_tokenizer_that_differs_in_one_sampled_word_is_refused(run, tiny_model, tmp_path):
    prompts = set(" ".join(store.read_samples(run)["prompt"].to_pylist()).split())
    seen = set(" ".join(store.read_samples(run)["completion"].to_pylist()).split()) & set(WORDS)
    word = sorted(seen - prompts)[0]
    other = shutil.copytree(tiny_model, tmp_path / "other")
    save_tokenizer(other, ["changed" if known == word else known for known in WORDS])
    with pytest.raises(UserError, match="changed"):
        score(ScoreOptions(run, [str(other)]))


# --- Going on ------------------------------------------------------------------------------------


def undisturbed(run, tmp_path, options):
    whole = shutil.copytree(run, tmp_path / "whole")
    score(options(whole))
    return whole


def content(run, name):
    rows = read_annotations(run, name).to_pylist()
    return sorted(rows, key=lambda row: (row["problem_id"], row["sample_index"], row["label"]))


def killed_at(options, target, number):
    """Score in a child that dies by SIGKILL as it renames the number-th file to a name with `target`.

    Its clock runs fast, so that each block becomes a part.
    """
    child = os.fork()
    if child == 0:
        try:
            seen = itertools.count(1)

            def hook(event, arguments):
                if event == "os.rename" and target in str(arguments[1]) and next(seen) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            scoring.time = SimpleNamespace(monotonic=itertools.count(0, 5).__next__)
            score(options)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize(
    ("target", "number", "rows"), [("about.json", 1, 0), ("part-", 1, 0), ("part-", 3, 32)]
)
def test_a_killed_scoring_goes_on_to_the_bits_of_an_undisturbed_one(
    run, other_model, tmp_path, target, number, rows
):
    def options(folder):
        return ScoreOptions(folder, [str(other_model)], per_token=True, batch_tokens=40)

    whole = undisturbed(run, tmp_path, options)
    assert killed_at(options(run), target, number)
    parts = {part: part.read_bytes() for part in store.parts_in(annotation_folder(run, "logp-tiny-b"))}
    if target == "part-":
        assert len(read_annotations(run, "logp-tiny-b")) == rows
    score(options(run))
    assert content(run, "logp-tiny-b") == content(whole, "logp-tiny-b")
    assert all(part.read_bytes() == before for part, before in parts.items())


def test_what_is_scored_is_not_scored_again(run, other_model, capsys):
    options = ScoreOptions(run, [str(other_model)])
    score(options)
    before = content(run, "logp-tiny-b")
    score(options)
    assert "0 responses to go" in capsys.readouterr().err
    assert content(run, "logp-tiny-b") == before
    assert len(read_about(run, "logp-tiny-b")["sessions"]) == 1


def test_a_run_that_grew_gets_the_rest(run, tiny_model):
    table = store.read_samples(run)
    part = store.parts(run)[0]
    for extra in store.parts(run)[1:]:
        extra.unlink()
    store._put(part, table.slice(0, 10))
    score(ScoreOptions(run, [str(tiny_model)]))
    store.write_part(run, table.slice(10))
    score(ScoreOptions(run, [str(tiny_model)]))
    assert annotations.annotated_keys(run, "logp-tiny-a") == store.stored_keys(run)
    assert [sitting["responses"] for sitting in read_about(run, "logp-tiny-a")["sessions"]] == [10, 14]


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_tokens": 0}, r"--batch-tokens 0 is too small"),
        ({"dtype": "int8"}, r"--dtype int8 is unknown"),
        ({"bench": ["aime24"]}, r"holds nothing of --bench aime24; it holds: countdown"),
        ({"step": 7}, r"holds nothing of --step 7; it holds: 0"),
        ({"start_token": "nowhere"}, r"--start-token nowhere is no token"),
        ({"template": "chat"}, r"--template is for imported runs"),
        ({"ckpt": "both", "name": "one"}, r"--name one is one name for 2 checkpoints"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(run, tiny_model, other_model, changes, message):
    ckpt = [str(tiny_model), str(other_model)] if changes.pop("ckpt", None) else [str(tiny_model)]
    options = ScoreOptions(run, ckpt, **changes)
    with pytest.raises(UserError, match=message):
        score(options)
    assert not (run / "annotations").exists()


def test_another_checkpoint_under_a_name_that_is_taken_is_refused(run, tiny_model, other_model):
    score(ScoreOptions(run, [str(tiny_model)], name="x"))
    before = content(run, "logp-x")
    for options in (
        ScoreOptions(run, [str(other_model)], name="x"),
        ScoreOptions(run, [str(tiny_model)], name="x", start_token="make"),
        ScoreOptions(run, [str(tiny_model)], name="x", dtype="bfloat16"),
    ):
        with pytest.raises(UserError, match=r"logp-x of .* was made with other settings .* another --name"):
            score(options)
    assert content(run, "logp-x") == before


def test_responses_beyond_the_context_are_refused(run, tiny_model, tmp_path):
    short = shutil.copytree(tiny_model, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 16}))
    with pytest.raises(UserError, match=r"the context of .*short is 16"):
        score(ScoreOptions(run, [str(short)]))
    assert not (run / "annotations").exists()
