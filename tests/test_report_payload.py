"""Packing of traces, and reading runs for it: any text comes back, in order, without texts in memory."""

import json
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from prerl_eval import store
from prerl_eval.report.payload import (
    ALPHABET,
    from_base85,
    pack,
    script_json,
    to_base85,
    unpack,
    utf16_offsets,
)
from prerl_eval.report.samples import Samples, natural
from prerl_eval.report.traces import _excerpt, _template
from tests.runs import sample, write_run

TEXT = st.text(st.characters(codec="utf-8"))


@given(st.binary(max_size=200))
def test_base85_keeps_every_byte_in_digits_that_mean_nothing_in_html(data):
    text = to_base85(data)
    assert from_base85(text) == data
    assert set(text) <= set(ALPHABET)
    assert len(text) == len(data) + -(-len(data) // 4)


def test_base85_by_hand():
    assert (len(ALPHABET), ALPHABET[0], ALPHABET[-1]) == (85, "!", "~")
    assert not set(ALPHABET) & set("<>&\"'`-/\\")
    value, digits = 0x01020304, []
    for _ in range(5):
        value, digit = divmod(value, 85)
        digits.append(ALPHABET[digit])
    assert to_base85(bytes([1, 2, 3, 4])) == "".join(reversed(digits))


@given(st.lists(TEXT, max_size=5), TEXT)
def test_any_texts_come_back_from_a_chunk(texts, note):
    header, found = unpack(pack({"note": note}, [text.encode() for text in texts]))
    assert (header["note"], found) == (note, texts)


@given(TEXT)
def test_json_in_a_script_element_cannot_end_it(text):
    made = script_json({"key": text})
    assert json.loads(made) == {"key": text}
    assert not set(made) & set("<>&\u2028\u2029")


@given(TEXT, st.data())
def test_places_are_those_of_javascript(text, data):
    place = data.draw(st.integers(0, len(text)))
    (unit,) = utf16_offsets(text, [place])
    assert unit == len(text[:place].encode("utf-16-le")) // 2


def test_digits_are_ordered_by_their_value():
    ids = ["p-10", "p-2", "b", "", "10", "9", "a1b2", "a1b10", "a01b2"]
    assert sorted(ids, key=natural) == ["", "9", "10", "a01b2", "a1b2", "a1b10", "b", "p-2", "p-10"]


def test_titles_leave_out_what_all_prompts_begin_with():
    prompts = ["<user>\nFind the sum of 12", "<user>\nFind the sum of 15", "<user>\nFind the product"]
    assert _template(prompts) == "<user>\nFind the "
    assert _template(["same 1", "same 1"]) == "same "
    assert _excerpt("a\n\n  b") == "a b"
    assert _excerpt("word " * 100) == "word " * 19 + "word…"
    assert _excerpt("x" * 1000) == "x" * 100 + "…"


def read(run, **options):
    with tempfile.TemporaryFile() as file:
        samples = Samples(run, file, **options)
        keys = [
            (row["benchmark"], row["problem_id"], row["sample_index"]) for row in samples.facts.to_pylist()
        ]
        return samples, keys, [samples.completion(row).decode() for row in range(len(samples))]


def test_samples_of_any_parts_are_in_order_with_their_texts(tmp_path):
    rows = [
        sample(problem, index, "wrong", benchmark=bench, completion=f"{bench} {problem} {index} é")
        for index in (1, 0)
        for problem in ("10", "9")
        for bench in ("b", "a")
    ]
    run = write_run(tmp_path / "run", rows[:3])
    store.write_part(run, store.rows_to_table(rows[3:]))
    samples, keys, texts = read(run)
    # Benchmarks as they first appear, problems by value, samples by index.
    assert keys == [(b, p, i) for b in ("b", "a") for p in ("9", "10") for i in (0, 1)]
    assert texts == [f"{b} {p} {i} é" for b, p, i in keys]
    assert samples.problems == {"b": ["9", "10"], "a": ["9", "10"]}
    assert samples.rows("a", "9") == range(4, 6)
    assert len(samples.rows("a", "11")) == 0
    assert read(run, benchmarks=["a"])[1] == keys[4:]


def test_one_step_of_several(tmp_path):
    rows = [sample("1", 0, "wrong", step=step, completion=f"step {step}") for step in (1, 2)]
    assert read(write_run(tmp_path, rows), step=2)[2] == ["step 2"]
