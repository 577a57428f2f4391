"""Counting: the sums, classes of endings, lengths, problems beyond the limit, and annotations of runs."""

import numpy as np
import pytest

from behavior.annotate import WordsAnnotator
from behavior.cells import Cells, Problems, length_bin
from behavior.count import count_source
from behavior.figures import figures
from behavior.finding import Finder
from behavior.lexicon import load_lexicon
from behavior.looping import is_looping
from behavior.sources import open_source
from prerl_eval.annotations import read_about, read_annotations
from prerl_eval.errors import UserError
from tests.runs import sample, write_run

LOOP = "I will try the same again. " * 40

ROWS = [
    # 20 characters, "wait" in the first tenth and in the fifth
    sample("1", 0, "correct", completion="Wait, so wait. It is", tokens=6, prompt="2+2?"),
    sample("1", 1, "wrong", completion="The waiter is waiting", tokens=4, prompt="2+2?"),
    sample("2", 0, "wrong", completion="However, wait", tokens=3, prompt="2+2?", finish_reason="length"),
    sample("2", 1, "wrong", completion=LOOP + "wait", tokens=300, prompt="2+2?", finish_reason="length"),
    # "retry, wait and see" is copied: five words in a row that stand in the prompt
    sample(
        "3",
        0,
        "wrong",
        completion="retry, wait and see now. $wait$",
        tokens=10,
        prompt="Retry, wait and see now",
    ),
]


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", ROWS)


def counted(run, lexicon="simplerl", problems=None, **options):
    finder = Finder(load_lexicon(lexicon))
    return count_source(open_source(str(run)), finder, problems or Problems(), **options)


def test_every_sum_is_the_hand_count(run):
    one = counted(run)
    found = figures([one], load_lexicon("simplerl"))["runs"]["run"]
    # wait, wait | none | however, wait | try again x0 (never "try again"), wait | all masked
    reflection = found["labels"]["reflection"]
    assert (found["responses"], found["tokens"], found["problems"]) == (5, 323, 3)
    assert (reflection["count"], reflection["occurrences"], reflection["masked"]) == (5, 5, 3)
    assert reflection["per_response"] == pytest.approx(5 / 5)
    assert reflection["per_1k_tokens"] == pytest.approx(5 / 0.323)
    assert reflection["presence"] == pytest.approx(3 / 5)
    assert {phrase: count for phrase, count in found["phrases"].items() if count} == {
        "wait": 6,
        "however": 1,
        "retry": 1,
    }
    assert found["thoughts"] == 5
    assert reflection["share_of_thoughts"] == pytest.approx(3 / 5)
    # starts 0/20, 9/20; 0/13, 9/13; 1080/1084
    assert np.array(reflection["position"]) * 5 == pytest.approx([2, 0, 0, 0, 1, 0, 1, 0, 0, 1])


def test_responses_are_apart_by_how_they_ended(run):
    groups = figures([counted(run)], load_lexicon("simplerl"))["runs"]["run"]["groups"]
    assert {
        end: (part["responses"], part["labels"]["reflection"]["count"]) for end, part in groups.items()
    } == {
        "finished": (3, 2),
        "clipped": (1, 2),
        "looping": (1, 1),
    }


@pytest.mark.parametrize(
    ("lexicon", "count"), [("simplerl", 5), ("r1-zero", 0), ("seal", 1), ("underthinking", 0)]
)
def test_the_count_is_in_the_lexicons_unit(run, lexicon, count):
    labels = figures([counted(run, lexicon)], load_lexicon(lexicon))["runs"]["run"]["labels"]
    assert sum(rates["count"] for rates in labels.values()) == count


def test_presence_counts_responses(tmp_path):
    text = "Let me rethink. Rethink and double-check."
    run = write_run(tmp_path / "run", [sample("1", i, "wrong", completion=text) for i in range(2)])
    (rates,) = figures([counted(run, "r1-zero")], load_lexicon("r1-zero"))["runs"]["run"]["labels"].values()
    assert (rates["count"], rates["occurrences"], rates["presence"]) == (2, 6, 1.0)


def test_words_stand_in_for_tokens_of_all_sources_where_one_lacks_them(run, tmp_path):
    other = write_run(tmp_path / "other", [sample("1", 0, "wrong", completion="wait a bit", tokens=0)])
    problems = Problems()
    found = figures(
        [counted(run, problems=problems), counted(other, problems=problems)], load_lexicon("simplerl")
    )
    assert found["token_unit"] == "words"
    assert found["runs"]["other"]["tokens"] == 3
    assert found["runs"]["run"]["tokens"] == 5 + 4 + 2 + 241 + 6
    assert "not known for other:" in found["notes"][0]


def test_a_named_tokenizer_counts_instead(run):
    one = counted(run, count_tokens=lambda text: 7)
    found = figures([one], load_lexicon("simplerl"), tokenizer="mine")
    assert (found["token_unit"], found["runs"]["run"]["tokens"]) == ("tokens of mine", 35)


def test_windows_hold_all_steps_of_a_training_run(tmp_path):
    rows = [
        sample(str(step), 0, "wrong", step=step, completion="wait " * step, tokens=10)
        for step in range(1, 42)
    ]
    run = write_run(tmp_path / "train", rows, kind="training")
    found = figures([counted(run)], load_lexicon("simplerl"))["runs"]["train"]
    assert len(found["windows"]) == 20
    assert [found["windows"][0][key] for key in ("first", "last")] == [1, 3]
    assert found["windows"][0]["labels"]["reflection"]["per_response"] == pytest.approx(2.0)
    assert sum(window["responses"] for window in found["windows"]) == 41
    assert found["steps"] == list(range(1, 42))


def test_length_bins_are_half_octaves():
    lengths = np.unique(np.geomspace(1, 1e7, 5000).astype(int)).tolist()
    bins = [length_bin(length) for length in lengths]
    assert bins == sorted(bins)
    for number in set(bins):
        inside = [length for length, at in zip(lengths, bins, strict=True) if at == number]
        assert max(inside) / min(inside) < 2**0.5
    assert length_bin(0) == 0


def test_problems_beyond_the_limit_are_pooled_the_same_for_every_source():
    problems = Problems(most=4)
    names = [f"p{number}" for number in range(100)]
    first = [problems.number(name) for name in names]
    assert first[:4] == [0, 1, 2, 3]
    assert set(first[4:]) == {4, 5, 6, 7}
    assert [problems.number(name) for name in names[::-1]] == first[::-1]


def test_pooled_problems_are_not_called_problems(tmp_path):
    file = tmp_path / "many.jsonl"
    file.write_text("".join(f'{{"text": "wait", "prompt": "p {number}"}}\n' for number in range(4200)))
    found = figures([counted(file)], load_lexicon("simplerl"))
    assert found["runs"]["many"]["problems"] is None
    assert found["runs"]["many"]["labels"]["reflection"]["per_response"] == 1.0
    assert any("more than 4,096 problems" in note for note in found["notes"])


def test_cells_add_up_whatever_the_order():
    draws = np.random.default_rng(0)
    cells = Cells(["a"], Problems())
    width = len(cells.columns)
    added = []
    for _ in range(300):
        step, problem, length = draws.integers(3), str(draws.integers(5)), int(draws.integers(1, 100))
        values = draws.integers(5, size=width).tolist()
        cells.add(int(step), problem, length, "clipped", values)
        added.append((int(step), problem, values))
    table = cells.table()
    assert table.sums.sum(axis=0).tolist() == np.sum([values for _, _, values in added], axis=0).tolist()
    at_two = table.where(table.step == 2)
    assert at_two.total("count/a") == sum(values[8 + 1] for step, _, values in added if step == 2)
    per_problem = table.per_problem(np.unique(table.problem), "responses")
    assert per_problem.sum() == table.total("responses")


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        (LOOP, True),
        ("x" * 200, True),
        ("x" * 199, False),
        ("A start of its own. " + "".join(f"line {n} of {n * n}, {n % 7} left. " for n in range(300)), False),
        ("".join(f"Case {n}: a case that is new, {n * 7919}. " for n in range(100)) + "the end " * 500, True),
        (
            "the end " * 500 + "".join(f"Case {n}: a case that is new, {n * 7919}. " for n in range(100)),
            False,
        ),
        (("é" * 50 + "字" * 50) * 5, True),
    ],
)
def test_loops_are_known_by_their_end(text, looping):
    assert is_looping(text) is looping


# --- annotations ---------------------------------------------------------------------------------


def annotate(run):
    sink = WordsAnnotator(open_source(str(run)), load_lexicon("simplerl"))
    with sink:
        counted(run, sink=sink)
    return read_annotations(run, "words-simplerl").to_pylist()


def test_marks_that_counted_are_annotated_with_raw_offsets(run):
    rows = annotate(run)
    completions = {(row.problem_id, row.sample_index): row.completion for row in ROWS}
    assert [(row["problem_id"], row["sample_index"], row["note"]) for row in rows] == [
        ("1", 0, "wait"),
        ("1", 0, "wait"),
        ("2", 0, "however"),
        ("2", 0, "wait"),
        ("2", 1, "wait"),
    ]
    for row in rows:
        quote = completions[row["problem_id"], row["sample_index"]][row["start"] : row["end"]]
        assert (quote.lower(), row["label"]) == (row["note"], "reflection")
    assert read_about(run, "words-simplerl")["complete"] is True


def test_a_second_count_adds_nothing_and_a_stopped_one_is_finished(run):
    first = annotate(run)
    assert annotate(run) == first
    sink = WordsAnnotator(open_source(str(run)), load_lexicon("oat-zero"))
    with pytest.raises(KeyboardInterrupt), sink:
        raise KeyboardInterrupt
    assert read_about(run, "words-oat-zero")["complete"] is False


def test_annotations_are_refused_for_files_steps_and_other_versions(run, tmp_path):
    (tmp_path / "f.jsonl").write_text('{"text": "a"}\n')
    lexicon = load_lexicon("simplerl")
    with pytest.raises(UserError, match="is no prerl run"):
        WordsAnnotator(open_source(str(tmp_path / "f.jsonl")), lexicon)
    with pytest.raises(UserError, match="without @3"):
        WordsAnnotator(open_source(f"{run}@3"), lexicon)
    annotate(run)
    file = tmp_path / "mine.toml"
    file.write_text(
        'name="simplerl2"\nversion="1"\nsource="s"\nrule="r"\nunit="occurrences"\n[labels]\na=["x"]\n'
    )
    mine = load_lexicon(str(file))
    object.__setattr__(mine, "name", "simplerl")
    with pytest.raises(UserError, match="another version of the lexicon"):
        WordsAnnotator(open_source(str(run)), mine)
