"""The store of annotations: what is written comes back, whole, in order, and in its own folder."""

import pyarrow.parquet as pq
import pytest

from prerl_eval import store
from prerl_eval.annotations import (
    ANNOTATION_SCHEMA,
    ANNOTATION_VERSION,
    KEY,
    Annotation,
    annotated_keys,
    annotation_folder,
    annotation_lock,
    annotation_names,
    read_about,
    read_annotations,
    replace_annotations,
    write_about,
    write_annotations,
)
from prerl_eval.durable import replace_json
from prerl_eval.errors import UserError
from tests.runs import sample, write_run

WHOLE = Annotation("aime24", "1", 0, 0, "logp", value=-1.5, values=[-0.5, -1.0], note="retokenised")
QUOTE = Annotation("aime24", "1", 1, 0, "backtracking", start=3, end=7)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", [sample("1", 0, "correct"), sample("1", 1, "wrong")])


def annotate(run, name, *rows):
    write_about(run, name, {"made_by": "a test"})
    return write_annotations(run, name, rows)


def test_rows_come_back_as_they_were_written(run):
    annotate(run, "marks", WHOLE, QUOTE)
    table = read_annotations(run, "marks")
    assert table.schema.equals(ANNOTATION_SCHEMA)
    first, second = table.to_pylist()
    assert first == {
        "benchmark": "aime24",
        "problem_id": "1",
        "sample_index": 0,
        "step": 0,
        "label": "logp",
        "value": -1.5,
        "start": None,
        "end": None,
        "values": [-0.5, -1.0],
        "note": "retokenised",
    }
    assert (second["value"], second["start"], second["end"], second["values"]) == (None, 3, 7, None)


def test_later_rows_follow_in_parts_of_their_own(run):
    first = annotate(run, "marks", WHOLE)
    content = first.read_bytes()
    second = write_annotations(run, "marks", [QUOTE])
    assert (first.name, second.name) == ("part-00000.parquet", "part-00001.parquet")
    assert first.read_bytes() == content
    assert read_annotations(run, "marks", ["label"]).to_pydict() == {"label": ["logp", "backtracking"]}
    assert write_annotations(run, "marks", []) is None
    assert len(store.parts_in(annotation_folder(run, "marks"))) == 2


def test_keys_are_those_of_the_samples_spoken_of_each_once(run):
    write_about(run, "marks", {})
    assert annotated_keys(run, "marks") == set()
    write_annotations(run, "marks", [WHOLE, WHOLE])
    assert annotated_keys(run, "marks") == {("aime24", "1", 0, 0)}
    assert annotated_keys(run, "marks") < store.stored_keys(run)


def test_replaced_rows_take_the_place_of_all_parts(run):
    annotate(run, "marks", WHOLE)
    write_annotations(run, "marks", [WHOLE])
    replace_annotations(run, "marks", [QUOTE])
    assert read_annotations(run, "marks", ["label"]).to_pydict() == {"label": ["backtracking"]}
    replace_annotations(run, "marks", [])
    assert len(read_annotations(run, "marks")) == 0


def test_an_annotation_without_rows_has_the_columns(run):
    write_about(run, "marks", {})
    assert read_annotations(run, "marks").schema.equals(ANNOTATION_SCHEMA)
    assert read_annotations(run, "marks", KEY).column_names == list(KEY)


def test_about_says_who_made_it_in_which_version(run):
    write_about(run, "marks", {"made_by": "a test", "settings": {"words": 3}})
    assert read_about(run, "marks") == {
        "annotation_version": ANNOTATION_VERSION,
        "made_by": "a test",
        "settings": {"words": 3},
    }
    write_about(run, "marks", {"made_by": "another"})
    assert read_about(run, "marks")["made_by"] == "another"


def test_samples_and_other_annotations_stay_as_they_are(run):
    before = store.read_samples(run)
    annotate(run, "marks", WHOLE)
    annotate(run, "words", QUOTE)
    assert annotation_names(run) == ["marks", "words"]
    assert len(read_annotations(run, "marks")) == len(read_annotations(run, "words")) == 1
    assert store.read_samples(run).equals(before)


def test_a_run_without_annotations_has_none(run):
    assert annotation_names(run) == []
    with pytest.raises(UserError, match="has no annotation marks; it has: none"):
        read_annotations(run, "marks")


def test_a_missing_annotation_is_told_with_those_there_are(run):
    annotate(run, "marks", WHOLE)
    with pytest.raises(UserError, match="has no annotation mark; it has: marks"):
        read_annotations(run, "mark")


@pytest.mark.parametrize("name", ["", "../marks", "a/b", ".hidden", "-x", "a b", "a\n", "x" * 101])
def test_a_name_that_is_no_folder_name_is_refused(run, name):
    with pytest.raises(UserError, match="is not usable as a folder"):
        annotation_folder(run, name)


def test_a_newer_annotation_is_not_read(run):
    annotate(run, "marks", WHOLE)
    replace_json(
        annotation_folder(run, "marks") / "about.json", {"annotation_version": ANNOTATION_VERSION + 1}
    )
    with pytest.raises(UserError, match="newer prerl"):
        read_annotations(run, "marks")


def test_a_damaged_part_is_named(run):
    part = annotate(run, "marks", WHOLE)
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"part-00000.parquet is damaged"):
        read_annotations(run, "marks")


def test_half_a_character_is_stored_as_a_question_mark(run):
    annotate(run, "marks", Annotation("aime24", "1", 0, 0, "quote", note="x\ud800y"))
    assert read_annotations(run, "marks")["note"].to_pylist() == ["x?y"]


def test_one_writer_per_annotation(run):
    with (
        annotation_lock(run, "marks"),
        annotation_lock(run, "words"),
        pytest.raises(UserError, match="is being written"),
        annotation_lock(run, "marks"),
    ):
        pass
    with annotation_lock(run, "marks"):
        annotate(run, "marks", WHOLE)


def test_any_reader_of_parquet_sees_the_version(run):
    part = annotate(run, "marks", WHOLE)
    assert pq.read_schema(part).metadata[b"prerl_annotation_version"] == b"1"
