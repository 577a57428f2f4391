"""Words through training: what is collected from runs, and that the page is what the data say."""

import json

import pytest

from behavior.finding import Finder
from behavior.lexicon import load_lexicon
from behavior.sources import open_source
from prerl_eval.errors import UserError
from prerl_train.traces import WORDS
from results.study import behavior_course as course
from results.study.behavior_page import page
from tests.conftest import REPO
from tests.runs import sample, write_run

NANO = REPO / "results" / "nano"
TRAINING = {
    "kind": "training",
    "settings": {"steps": 10},
    "checkpoint": {"fingerprint": "0123456789abcdef"},
}
CLEAN = "make 9 from 4 5 . try 4 + 5 = 9 yes answer : 4 + 5"
WORDY = "make 9 from 4 5 . try 4 * 5 = 20 no hmm , wait , wait , another way , try 4 + 5 = 9 yes let me check"


def rollout(update, index, text, status="correct", **changes):
    facts = {"step": update, "completion": text, "tokens": 10, "benchmark": "countdown", "prompt": ""}
    return sample(f"p{update}", index, status, **(facts | changes))


def training_run(folder, updates=10, **record):
    rows = [
        rollout(1, 0, CLEAN),
        rollout(1, 1, WORDY, "wrong", tokens=40),
        *(rollout(update, 0, WORDY, tokens=40) for update in range(2, updates + 1)),
    ]
    write_run(folder, rows, {"countdown": {"n": 8}}, **(TRAINING | record))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": u + 1}) + "\n" for u in range(updates)))
    return folder


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("grpo-8e-4-0", ("grpo", "8e-4", "0")),
        ("dsrl-rl-w3e-4-1.2e-4-12", ("dsrl-rl-w3e-4", "1.2e-4", "12")),
        ("base", ("base", "", "")),
        ("base.v0", ("base.v0", "", "")),
        ("base-resampled", ("base-resampled", "", "")),
        ("dsrl.seed1-8e-4-2", ("dsrl.seed1", "8e-4", "2")),
    ],
)
def test_names(model, parts):
    assert course.named(model) == parts


def test_a_name_without_a_rate_is_refused():
    with pytest.raises(UserError, match="grpo-0 is no model's name; models are called"):
        course.named("grpo-0")


def test_windows_of_five_after_the_first_update():
    assert [course.window_of(update) for update in (1, 2, 5, 6, 10, 41)] == [0, 5, 5, 10, 10, 45]


def test_the_words_are_those_of_the_presets_that_the_corpus_has():
    """What a preset would count here is what its label counts; the lexicon's labels are the table's."""
    corpus = " ".join(WORDS)
    for preset, label in (("seal", "reflection"), ("seal", "transition"), ("simplerl", "reflection")):
        phrases = [phrase.text for phrase in load_lexicon(preset).labels[label]]
        there = {phrase for phrase in phrases if all(word in WORDS for word in phrase.split())}
        name = label if preset == "seal" else preset
        assert there == set(course.LABELS[name]), corpus
    lexicon = load_lexicon(str(course.LEXICON))
    assert [phrase.text for _, phrase in lexicon.entries()] == list(course.PHRASES)
    for label in ("reflection", "transition"):
        assert [phrase.text for phrase in lexicon.labels[label]] == list(course.LABELS[label])


def test_the_sums_of_a_run_by_hand(tmp_path):
    run = training_run(tmp_path / "grpo-8e-4-0")
    (part,) = course.finished_parts(tmp_path, ())
    assert part == course.Part(run, "grpo-8e-4-0", "train", 10, "0123456789ab")
    table = course.count_part(part, open_source(str(run)), Finder(load_lexicon(str(course.LEXICON))))
    rows = {(row["step"], row["correct"]): row for row in table.to_pylist() if row["step"] == 0}
    clean, wordy = rows[0, True], rows[0, False]
    assert {name: clean[name] for name in course.SUMS if clean[name]} == {"responses": 1, "tokens": 10}
    assert {name: wordy[name] for name in course.SUMS if wordy[name]} == {
        "responses": 1,
        "tokens": 40,
        "n wait": 2,
        "n hmm": 1,
        "n another way": 1,
        "n let me check": 1,
        "with wait": 1,
        "with hmm": 1,
        "with another way": 1,
        "with let me check": 1,
        "with reflection": 1,
        "with transition": 1,
        "with simplerl": 1,
    }
    totals = {}
    for row in table.to_pylist():
        totals[row["step"]] = totals.get(row["step"], 0) + row["responses"]
    assert totals == {0: 2, 5: 4, 10: 5}  # updates 1, 2 to 5, 6 to 10


def test_a_collection_takes_what_is_finished_once_and_goes_on(tmp_path):
    work, data = tmp_path / "work", tmp_path / "data"
    data.mkdir()
    training_run(work / "grpo-8e-4-0")
    training_run(work / "dsrl-8e-4-0", updates=9)  # one update is not made yet
    assert course.collect(work, data, ("test",)) == ["grpo-8e-4-0"]
    first = (data / course.FILE).read_bytes()
    assert course.collect(work, data, ("test",)) == []
    assert (data / course.FILE).read_bytes() == first

    rows = [rollout(0, 0, CLEAN, benchmark="countdown-ood")]
    sizes = {"countdown-ood": {"n": 1, "problems": 1}}
    checkpoint = {"fingerprint": "ffff"}
    sampled = {"sampled": {"countdown-ood": {"tokens": 10}}}
    for name, sessions in (("10-test", [sampled]), ("5-test", [{}]), ("10-val", [sampled])):
        folder = work / f"grpo-8e-4-0@{name}"
        write_run(folder, rows, sizes, sessions=sessions, checkpoint=checkpoint)
    assert course.collect(work, data, ("test",)) == ["grpo-8e-4-0@10-test"]
    (row,) = [row for row in course.read_behavior(data).to_pylist() if row["measure"] == "test"]
    assert (row["step"], row["start"], row["responses"], row["tokens"]) == (10, "0123456789ab", 1, 10)


def test_training_that_went_on_is_counted_anew(tmp_path):
    work = tmp_path / "work"
    training_run(work / "grpo-8e-4-0")
    course.collect(work, tmp_path, ())
    for file in (work / "grpo-8e-4-0" / "samples").iterdir():
        file.unlink()
    training_run(work / "grpo-8e-4-0", updates=15, settings={"steps": 15})
    assert course.collect(work, tmp_path, ()) == ["grpo-8e-4-0"]
    table = course.read_behavior(tmp_path)
    assert sum(table["responses"].to_pylist()) == 16
    assert set(table["step"].to_pylist()) == {0, 5, 10, 15}


def test_the_page_is_what_the_data_say():
    assert (NANO / "behavior.md").read_text(encoding="utf-8") == page(NANO)
