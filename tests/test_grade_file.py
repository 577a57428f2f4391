import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prerl_eval import store
from prerl_eval.errors import UserError
from prerl_eval.generations import find, read_rows
from prerl_eval.grade_file import grade_file
from prerl_eval.regrade import regrade
from prerl_eval.run_record import read_record
from prerl_eval.summary import summarize

PROBLEMS = [
    {"id": "a", "problem": "What is  1+1?", "answer": "2"},
    {"id": "b", "problem": "What is 2+2?", "answer": "4"},
    {"id": "c", "problem": "What is 3+3?", "answer": "6"},
]
CARD = """
name = "sums"
path = "sums.jsonl"
split = "test"
fields = { id = "id", problem = "problem", answer = "answer" }
prompt = "{problem}"
grader = "math"
"""
ROWS = [
    {"question": "What is 1+1?", "out": {"text": "\\boxed{2}"}, "gold": "3"},
    {"question": "What is 2+2?", "out": {"text": "\\boxed{5}"}, "gold": "5"},
    {"question": "What is 1+1?", "out": {"text": "two"}, "gold": "3"},
]


@pytest.fixture
def card(tmp_path):
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    (tmp_path / "sums.toml").write_text(CARD)
    return str(tmp_path / "sums.toml")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stored(run):
    rows = store.read_samples(run).to_pylist()
    return [(row["problem_id"], row["sample_index"], row["status"]) for row in rows]


def grade(card, file, tmp_path, field="out.text", **options):
    return grade_file(file, card, response_field=field, out=tmp_path / "run", **options)


def test_a_pattern_of_fields_names_a_problem(tmp_path):
    rows = [
        {"key": "sort/0", "problem": "x", "answer": "1"},
        {"key": "sort/1", "problem": "y", "answer": "2"},
    ]
    write(tmp_path / "sums.jsonl", rows)
    (tmp_path / "sums.toml").write_text(CARD.replace('id = "id"', 'id = "key"'))
    file = write(tmp_path / "g.jsonl", [{"task": "sort", "at": {"n": 1}, "out": "\\boxed{2}"}])
    card = str(tmp_path / "sums.toml")
    run = grade(card, file, tmp_path, "out", problem_field="{task}/{at.n}")
    assert stored(run) == [("sort/1", 0, "correct")]
    with pytest.raises(UserError, match=r"row 0: no field '\{task\}/\{m\}' \(--problem-field\)"):
        grade_file(file, card, response_field="out", out=tmp_path / "b", problem_field="{task}/{m}")


def test_rows_find_their_problems_by_text_and_count_their_samples(card, tmp_path, capsys):
    run = grade(card, write(tmp_path / "g.jsonl", ROWS), tmp_path)
    assert stored(run) == [("a", 0, "correct"), ("b", 0, "wrong"), ("a", 1, "unparsed")]
    assert "1 of sums's 3 problems have no row" in capsys.readouterr().err
    assert read_record(run)["settings"]["problem_field"] == "question"
    numbers = summarize(run)["benchmarks"]["sums"]
    assert (numbers["problems"], numbers["samples"], numbers["missing"]) == (2, 3, 0)
    assert numbers["mean_tokens"] is None


def test_the_files_kinds_give_the_same_rows(card, tmp_path):
    kinds = {
        "g.jsonl": lambda path: write(path, ROWS),
        "g.jsonl.gz": lambda path: path.write_bytes(
            gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in ROWS))
        ),
        "g.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    }
    rows = []
    for name, make in kinds.items():
        make(tmp_path / name)
        run = grade_file(tmp_path / name, card, response_field="out.text", out=tmp_path / f"run-{name}")
        rows.append(stored(run))
    assert rows[0] == rows[1] == rows[2]


def test_a_field_may_hold_a_list_and_finish_reasons_go_along(card, tmp_path):
    row = {"id": "c", "samples": ["\\boxed{6}", "none", "none"], "finish_reason": ["stop", "length", "stop"]}
    run = grade(card, write(tmp_path / "g.jsonl", [row]), tmp_path, "samples")
    assert stored(run) == [("c", 0, "correct"), ("c", 1, "truncated"), ("c", 2, "unparsed")]


def test_golds_of_the_file_replace_the_cards_and_admit_strangers(card, tmp_path):
    rows = [*ROWS, {"question": "What is 9+9?", "out": {"text": "\\boxed{18}"}, "gold": 18}]
    run = grade(
        card, write(tmp_path / "g.jsonl", rows), tmp_path, gold_field="gold", problem_field="question"
    )
    assert stored(run) == [
        ("a", 0, "wrong"),
        ("b", 0, "correct"),
        ("a", 1, "unparsed"),
        ("row-3", 0, "correct"),
    ]


def test_the_order_of_rows_counts_where_no_field_names_problems(card, tmp_path, capsys):
    rows = [{"out": f"\\boxed{{{answer}}}"} for answer in (2, 4, 7)]
    run = grade(card, write(tmp_path / "g.jsonl", rows), tmp_path, "out")
    assert stored(run) == [("a", 0, "correct"), ("b", 0, "correct"), ("c", 0, "wrong")]
    assert "by their order" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "field", "options", "words"),
    [
        ([], "out.text", {}, "is empty"),
        (ROWS, "nope", {}, "no field 'nope'.*question, out.text, gold"),
        (ROWS, "out", {}, "holds dict"),
        ([{"question": "What is 1+1?", "out": {"text": None}}], "out.text", {}, "'out.text'.*is null"),
        (ROWS, "out.text", {"gold_field": "answer"}, "no field 'answer'"),
        (ROWS, "out.text", {"problem_field": "title"}, "no field 'title'"),
        (ROWS, "out.text", {"problem_field": "gold"}, "neither id nor text"),
        ([{"question": "What is 7+7?", "out": {"text": "x"}}] * 3, "out.text", {}, "--problem-field"),
        (
            [*ROWS, {"question": "What is 7+7?", "out": {"text": "x"}}] * 6 + [{"question": "?"}],
            "out.text",
            {},
            "--",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(card, tmp_path, rows, field, options, words):
    file = write(tmp_path / "g.jsonl", rows)
    with pytest.raises(UserError, match=words) as trouble:
        grade(card, file, tmp_path, field, **options)
    assert "\n" not in str(trouble.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("g.jsonl", b'{"a": 1}\n{"a"\n', "line 2 is not JSON"),
        ("g.jsonl", b"[1]\n", "line 1 is a JSON list"),
        ("g.jsonl", b"\xff\xfe\x00", "NUL bytes"),
        ("g.jsonl.gz", gzip.compress(b'{"a"\x00'), "NUL bytes"),
        (
            "g.jsonl",
            '{"a": "é"}\n'.encode() + '{"a": "é"}'.encode("latin-1"),
            "line 2 .* UTF-8 .byte 0xe9 at 7",
        ),
        ("g.jsonl", b"[" * 200_000, "line 1 is not JSON"),
        ("g.jsonl.gz", b"no gzip", "cannot be read"),
        ("g.jsonl.gz", gzip.compress(b"{}")[:10] + b"\xff\xff\xff\xff", "cannot be read"),
        ("g.parquet", b"no parquet", "cannot be read"),
        ("g.csv", b"a,b", "unknown kind"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize("name", ["g.jsonl", "g.jsonl.gz", "g.parquet"])
def test_reading_says_how_far_it_is(tmp_path, name):
    rows = [{"a": number, "b": "x"} for number in range(1000)]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    places = []
    read = list(read_rows(tmp_path / name, ["a"], places.append))
    assert [row["a"] for row in read] == list(range(1000))
    assert ("b" in read[0]) == (not name.endswith("parquet"))
    assert places == sorted(places)
    assert places[-1] == (tmp_path / name).stat().st_size


def test_parquet_text_that_is_no_utf8_is_named(tmp_path):
    offsets, data = (pa.py_buffer(part) for part in (b"\0\0\0\0\2\0\0\0", b"\xff\xfe"))
    pq.write_table(pa.table({"a": pa.StringArray.from_buffers(1, offsets, data)}), tmp_path / "g.parquet")
    with pytest.raises(UserError, match="cannot be read"):
        list(read_rows(tmp_path / "g.parquet"))


@pytest.mark.parametrize("name", ["g.jsonl", "g.jsonl.gz"])
def test_byte_order_marks_and_windows_line_ends_are_skipped(tmp_path, name):
    content = b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert list(read_rows(tmp_path / name)) == [{"a": 1}, {"a": 2}]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="is no file"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_the_same_command_goes_on_and_another_is_refused(card, tmp_path):
    file = write(tmp_path / "g.jsonl", ROWS)
    run = grade(card, file, tmp_path)
    before = {path: path.read_bytes() for path in store.parts(run)}
    grade(card, file, tmp_path)
    assert {path: path.read_bytes() for path in store.parts(run)} == before
    with pytest.raises(UserError, match="gold_field"):
        grade(card, file, tmp_path, gold_field="gold")
    store.parts(run)[0].unlink()
    grade(card, file, tmp_path)
    assert len(stored(run)) == 3


def test_another_benchmark_in_the_same_folder_is_refused(card, tmp_path):
    file = write(tmp_path / "g.jsonl", ROWS)
    run = grade(card, file, tmp_path)
    before = store.read_samples(run)
    other = tmp_path / "other.toml"
    other.write_text(CARD.replace('"sums"', '"other"'))
    with pytest.raises(UserError, match=r"card other.*card sums"):
        grade(str(other), file, tmp_path)
    assert store.read_samples(run).equals(before)


def test_finish_reasons_of_chat_completions_stand_beside_the_message(card, tmp_path):
    choices = [
        {"message": {"content": "hm"}, "finish_reason": "length"},
        {"message": {"content": "\\boxed{2}"}, "finish_reason": "stop"},
    ]
    file = write(tmp_path / "g.jsonl", [{"id": "a", "choices": choices}])
    run = grade(card, file, tmp_path, "choices.message.content")
    assert stored(run) == [("a", 0, "truncated"), ("a", 1, "correct")]
    file = write(tmp_path / "h.jsonl", [{"id": "a", "choices": choices[:1]}])
    run = grade_file(file, card, response_field="choices.0.message.content", out=tmp_path / "single")
    assert stored(run) == [("a", 0, "truncated")]


@pytest.mark.parametrize("word", ["length", "MAX_TOKENS", "max_length"])
def test_every_tools_word_for_a_cut_response_counts_as_cut(card, tmp_path, word):
    rows = [
        {"id": "a", "out": "hm", "finish_reason": word},
        {"id": "b", "out": "hm", "finish_reason": "stop"},
    ]
    run = grade(card, write(tmp_path / "g.jsonl", rows), tmp_path, "out")
    assert stored(run) == [("a", 0, "truncated"), ("b", 0, "unparsed")]
    assert summarize(run)["benchmarks"]["sums"]["truncated"] == 0.5


def test_half_characters_in_any_field_are_replaced(card, tmp_path):
    row = {
        "question": "\ud800x",
        "out": {"text": "\\boxed{2}\udfff"},
        "gold": "\ud83d",
        "finish_reason": "\ude00",
    }
    run = grade(
        card, write(tmp_path / "g.jsonl", [row]), tmp_path, gold_field="gold", problem_field="question"
    )
    assert stored(run) == [("?x", 0, "wrong")]
    grade(card, tmp_path / "g.jsonl", tmp_path, gold_field="gold", problem_field="question")
    assert stored(run) == [("?x", 0, "wrong")]


def test_dotted_paths():
    row = {"a": {"b": [{"c": 1}, {"c": 2}]}, "x.y": 3, "l": [[4], 5]}
    assert find(row, "a.b.c") == [1, 2]
    assert find(row, "a.b.1.c") == 2
    assert find(row, "x.y") == 3
    assert find(row, "l.0.0") == 4
    assert find(row, "a.z") is find(row, "l.9") is find(row, "l.1.q") is None


def test_regrade_corrects_old_verdicts_and_nothing_else(card, tmp_path):
    run = grade(card, write(tmp_path / "g.jsonl", ROWS), tmp_path)
    part = store.parts(run)[0]
    truth = pq.read_table(part)
    index = truth.column_names.index("status")
    wrong = truth.set_column(index, truth.schema.field(index), pa.array(["timeout"] * 3))
    pq.write_table(wrong, part)
    lines = regrade(run)
    moves = "timeout -> correct 1, timeout -> unparsed 1, timeout -> wrong 1"
    assert lines == [f"{run}: sums: 3 of 3 verdicts changed ({moves})"]
    assert pq.read_table(part).equals(truth)
    assert regrade(run) == [f"{run}: sums: 0 of 3 verdicts changed"]
    assert read_record(run)["regrades"][-1]["finished"]


def test_regrade_under_the_looser_rule_says_so(card, tmp_path):
    rows = [{"id": "a", "out": "<think> \\boxed{2}"}]
    run = grade(card, write(tmp_path / "g.jsonl", rows), tmp_path, "out")
    assert stored(run) == [("a", 0, "truncated")]
    first, second = regrade(run, accept_box_in_thinking=True)
    assert first.endswith("accept_box_in_thinking: False -> True")
    assert "truncated -> correct 1" in second
    assert read_record(run)["settings"]["accept_box_in_thinking"] is True
