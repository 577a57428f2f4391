"""`prerl-behavior count` as a user runs it: output, files, exit codes."""

import csv
import json
import signal
import sys

import pytest
from PIL import Image

from behavior.cli import main
from tests.conftest import REPO
from tests.runs import sample, write_run


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process: (exit code, stdout, lines of stderr without progress)."""
    monkeypatch.chdir(REPO)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prerl-behavior", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        return done.value.code, out, [line for line in err.splitlines() if not line.startswith("counting ")]

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def count(command):
    def run(*arguments):
        code, out, said = command("count", *arguments)
        assert not code, said
        return out

    return run


@pytest.fixture
def runs(tmp_path):
    """A base and a trained run on four problems, two samples of each."""
    texts = {
        "base": "So it is 4.\n\nWait, no.",
        "trained": "Hm. Wait.\n\nWait, let me check.\n\nAlternatively, 5.",
    }
    for name, text in texts.items():
        rows = [
            sample(str(problem), index, "wrong", completion=text, tokens=10 * (1 + problem))
            for problem in range(4)
            for index in range(2)
        ]
        write_run(tmp_path / name, rows, {"aime24": {"n": 2, "problems": 4}})
    return tmp_path


def test_json_holds_what_is_promised(count, runs):
    found = json.loads(count(f"b={runs / 'base'}", f"t={runs / 'trained'}", "--base", "b", "--json"))
    assert list(found["runs"]) == ["b", "t"]
    trained = found["runs"]["t"]
    assert (trained["responses"], trained["tokens"]) == (8, 200)
    reflection = trained["labels"]["reflection"]
    assert reflection["count"] == 8  # "Hm. Wait." does not start with wait
    assert reflection["per_response"] == 1.0
    assert reflection["per_1k_tokens"] == 40.0
    assert reflection["presence"] == 1.0
    assert trained["phrases"]["wait"] == 16
    assert trained["phrases"]["alternatively"] == 8
    assert trained["phrases"]["verify"] == 0
    ratio = trained["against_base"]["all"]["labels"]["reflection"]["per_response"]
    assert (ratio["base"], ratio["value"], ratio["ratio"]) == (1.0, 1.0, 1.0)
    assert trained["against_base"]["all"]["labels"]["transition"]["per_response"]["ratio"] is None
    assert found["lexicon"]["name"] == "seal"
    assert found["token_unit"] == "stored tokens"
    assert any("Words are not behaviour" in note for note in found["notes"])


def test_the_table_fits_and_says_what_words_are_not(count, runs):
    shown = count(runs / "trained", "--base", runs / "base", "--lexicon", "simplerl")
    assert max(map(len, shown.splitlines())) <= 100
    lines = shown.splitlines()
    assert sum(line.startswith("base: 8 responses to 4 problems") for line in lines) == 1
    (plain,) = (line for line in lines if "per response  " in line)
    assert plain.split()[:6] == ["reflection", "per", "response", "1.00", "3.00", "×3.00"]
    assert "Words are not behaviour" in shown


def test_the_base_is_counted_once_however_it_is_named(count, runs):
    by_path = json.loads(count(f"b={runs / 'base'}", runs / "trained", "--base", runs / "base", "--json"))
    assert (by_path["base"], list(by_path["runs"])) == ("b", ["b", "trained"])
    alone = json.loads(count(runs / "trained", "--base", f"trained={runs / 'base'}", "--json"))
    assert (alone["base"], list(alone["runs"])) == (str(runs / "base"), [str(runs / "base"), "trained"])


def test_picture_and_csv_are_the_same_bytes_again(count, runs):
    made = []
    for turn in ("one", "two"):
        out, table = runs / turn / "words.png", runs / turn / "words.csv"
        shown = count(runs / "trained", "--base", runs / "base", "--out", out, "--csv", table)
        assert f"wrote {table}" in shown
        made.append((out.read_bytes(), table.read_bytes()))
    assert made[0] == made[1]
    with Image.open(runs / "one" / "words.png") as picture:
        assert picture.width > 1000
    rows = list(csv.DictReader(made[0][1].decode().splitlines()))
    (row,) = (
        row
        for row in rows
        if (row["run"], row["part"], row["label"], row["rate"])
        == ("trained", "all", "transition", "per_response")
    )
    assert (row["responses"], row["count"], row["value"]) == ("8", "8", "1.0")
    assert {row["part"] for row in rows} == {"all", "finished", "clipped", "looping", "paired", "matched"}


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_steps_are_drawn_where_there_are_several(count, runs, suffix):
    rows = [sample("1", step, "wrong", step=step, completion="wait", tokens=9) for step in (1, 2, 3)]
    train = write_run(runs / "train", rows, kind="training")
    files = [f"c={runs / 'base'}@10", f"c={runs / 'trained'}@20"]
    count(train, *files, "--out", runs / f"x.{suffix}", "--lexicon", "simplerl")
    assert (runs / f"x.{suffix}").stat().st_size > 5000


def test_a_folder_of_its_own_tokenizer_counts(count, runs):
    found = json.loads(count(runs / "base", "--tokenizer", REPO / "results" / "base-nano", "--json"))
    assert found["token_unit"].startswith("tokens of")
    assert found["runs"]["base"]["tokens"] > 0


def test_annotations_are_written_on_request_only(count, runs):
    count(runs / "base")
    assert not (runs / "base" / "annotations").exists()
    count(runs / "base", "--annotate")
    about = json.loads((runs / "base" / "annotations" / "words-seal" / "about.json").read_text())
    assert about["complete"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is not there"),
        (["{run}", "--lexicon", "mine"], "no lexicon 'mine': presets are seal"),
        (["{run}", "{run}"], "given 2 times"),
        (["{run}", "--out", "picture.jpg"], "no known picture format"),
        (["{run}", "--out", "{folder}/a.png", "--csv", "{folder}/a.png"], "give another --csv"),
        (["{run}", "--base", "nowhere"], "nowhere is not there"),
        (["{run}", "--tokenizer", "{run}"], "has no tokenizer.json"),
        (["{run}", "{folder}/text.jsonl", "--annotate", "--csv", "{folder}/a.csv"], "is no prerl run"),
        (["{folder}/text.jsonl", "--text-field", "b", "--csv", "{folder}/a.csv"], "it has: text"),
        (["{folder}/text.jsonl", "--csv", "{folder}/text.jsonl"], "is a file that is counted"),
        (["{folder}/null.jsonl"], "row 0: 'completion' without text, and no other field"),
        (["{folder}/null.jsonl", "--text-field", "completion"], "row 0: field 'completion' is null"),
        (["{folder}/broken.jsonl", "--csv", "{folder}/a.csv"], "row 1: field 'text' is missing"),
    ],
)
def test_a_users_mistake_is_one_line_and_writes_nothing(command, runs, arguments, words):
    (runs / "text.jsonl").write_text('{"text": "a"}\n')
    (runs / "broken.jsonl").write_text('{"text": "a"}\n{"txt": "a"}\n')
    (runs / "null.jsonl").write_text('{"completion": null, "n": 1}\n')
    before = {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}
    code, out, said = command("count", *(one.format(run=runs / "base", folder=runs) for one in arguments))
    assert (code, out, len(said)) == (2, "", 1)
    assert words in said[0]
    assert {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()} == before


def test_real_traces_are_counted(count, outputs):
    """Published long traces: the counts are those of `Finder` alone, and streaming loses none."""
    folder = outputs / "math_runs"
    files = [folder / f"Sky-T1-math-reflection-{share}-32B--aime24.jsonl.gz" for share in ("1.0", "0.2")]
    found = json.loads(count(*files, "--base", files[1], "--json"))
    first, second = found["runs"].values()
    assert (first["responses"], first["problems"], second["problems"]) == (30, 30, 30)
    assert found["token_unit"] == "words"
    assert first["labels"]["reflection"]["count"] > second["labels"]["reflection"]["count"] > 1000
    assert first["against_base"]["all"]["problems"] == 30
