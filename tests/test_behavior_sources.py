"""Sources of `prerl-behavior count`: names, runs, and rows that other tools wrote."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior.sources import open_source, open_sources
from prerl_eval.errors import UserError
from tests.runs import sample, write_run


def jsonl(file, *rows):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def read(name, **fields):
    return list(open_source(str(name), **fields).responses())


# What the tools write, cut down to the fields that matter; (row, texts, prompt, tokens, ends).
ROWS = {
    "lm-eval samples_*.jsonl": (
        {
            "doc_id": 3,
            "doc": {"question": "2+2?"},
            "target": "4",
            "arguments": {
                "gen_args_0": {"arg_0": "Q: 2+2?", "arg_1": {"until": ["</s>"], "do_sample": False}}
            },
            "resps": [["wait", "four"]],
            "filtered_resps": ["four"],
        },
        ["wait", "four"],
        "Q: 2+2?\n</s>",
        [None, None],
        ["", ""],
    ),
    "TRL completions": (
        {"step": 20, "prompt": "2+2?", "completion": "four", "accuracy_reward": 1.0, "advantage": 0.3},
        ["four"],
        "2+2?",
        [None],
        [""],
    ),
    "TRL completions of chats": (
        {
            "step": 20,
            "prompt": [{"role": "user", "content": "2+2?"}],
            "completion": [{"role": "assistant", "content": "four"}],
        },
        ["four"],
        "user\n2+2?",
        [None],
        [""],
    ),
    "verl rollout dump": (
        {"input": "2+2?", "output": "four", "gts": "4", "score": 1.0, "step": 7},
        ["four"],
        "2+2?",
        [None],
        [""],
    ),
    "OpenAI response": (
        {
            "choices": [{"message": {"role": "assistant", "content": "four"}, "finish_reason": "length"}],
            "usage": {"completion_tokens": 9},
        },
        ["four"],
        "",
        [9],
        ["length"],
    ),
    "SkyThought": ({"idx": 0, "question": "2+2?", "code": ["four"]}, ["four"], "2+2?", [None], [""]),
    "own names": (
        {"prompt": "2+2?", "response": ["a", "b"], "tokens": [1, 2], "finish_reason": ["stop", "MAX_TOKENS"]},
        ["a", "b"],
        "2+2?",
        [1, 2],
        ["stop", "length"],
    ),
}


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("tool", ROWS)
def test_rows_of_other_tools_are_read(tmp_path, tool, ending):
    row, texts, prompt, tokens, ends = ROWS[tool]
    file = tmp_path / f"rows{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist([row, row]), file)
    else:
        jsonl(file, row, row)
    found = read(file)
    assert [one.text for one in found] == texts * 2
    assert [one.prompt for one in found] == [prompt] * len(found)
    assert [one.tokens for one in found] == tokens * 2
    assert [one.finish_reason for one in found] == ends * 2
    assert [one.key[2] for one in found] == list(range(len(found)))
    # Both rows are of one problem wherever the prompt or an id is known.
    assert len({one.problem for one in found}) == (1 if prompt else 2)
    assert {one.key[3] for one in found} == {row.get("step", 0)}


def test_named_fields_win_over_known_names(tmp_path):
    file = jsonl(
        tmp_path / "f.jsonl", {"text": "a", "deep": {"trace": "b", "task": 5}, "prompt": "p", "q": "x"}
    )
    (found,) = read(file, text_field="deep.trace", prompt_field="q", problem_field="deep.task")
    assert (found.text, found.prompt, found.key) == ("b", "x", ("", "5", 0, 0))


def test_numbers_of_rows_are_trusted_only_without_a_prompt(tmp_path):
    same = [{"id": number, "prompt": "p", "text": "a"} for number in (1, 2)]
    assert len({one.problem for one in read(jsonl(tmp_path / "a.jsonl", *same))}) == 1
    bare = [{"id": number, "text": "a"} for number in (1, 1, 2)]
    assert len({one.problem for one in read(jsonl(tmp_path / "b.jsonl", *bare))}) == 2


def test_a_run_gives_its_rows_and_a_step_picks_some(tmp_path):
    rows = [sample("1", 0, "correct", step=1, completion="a", tokens=3, finish_reason="length")]
    rows += [sample("1", 0, "wrong", step=2, completion="b", tokens=0)]
    run = write_run(tmp_path / "train", rows, kind="training")
    first, second = read(run)
    assert (first.key, first.text, first.prompt) == (("aime24", "1", 0, 1), "a", "p")
    assert (first.tokens, first.finish_reason, first.status) == (3, "length", "correct")
    assert second.tokens is None
    source = open_source(f"mine={run}@2")
    assert (source.name, source.series, source.step, source.kind) == ("mine", "mine", 2, "training")
    assert [one.text for one in source.responses()] == ["b"]
    assert open_source(f"{run}@2").name == "train@2"


def test_a_step_of_files_picks_rows_that_have_steps_and_else_names_them(tmp_path):
    rows = [{"text": "a", "step": 1}, {"text": "b", "step": 2}]
    assert [one.text for one in read(f"{jsonl(tmp_path / 'a.jsonl', *rows)}@2")] == ["b"]
    with pytest.raises(UserError, match="no rows of step 3; it holds steps 1, 2"):
        read(f"{tmp_path / 'a.jsonl'}@3")
    (named,) = read(f"x={jsonl(tmp_path / 'b.jsonl', {'text': 'a'})}@140")
    assert named.key[3] == 140


def test_an_evaluation_can_be_called_by_a_step(tmp_path):
    run = write_run(tmp_path / "eval", [sample("1", 0, "correct")])
    assert [one.key[3] for one in read(f"{run}@40")] == [40]


def test_a_folder_of_files_is_one_source_in_natural_order(tmp_path):
    for step in (10, 2):
        jsonl(tmp_path / f"{step}.jsonl", {"input": "p", "output": f"o{step}", "step": step})
    (tmp_path / "notes.txt").write_text("no rows")
    assert [one.text for one in read(tmp_path)] == ["o2", "o10"]


def test_names_are_told_apart_by_step_and_path(tmp_path):
    one, two = jsonl(tmp_path / "a.jsonl", {"text": "a"}), jsonl(tmp_path / "b.jsonl.gz", {"text": "a"})
    assert [source.name for source in open_sources([str(one), str(two)])] == ["a", "b"]
    named = open_sources([f"m={one}@1", f"m={two}@2"])
    assert [source.name for source in named] == ["m@1", "m@2"]
    assert [source.name for source in open_sources([f"m={one}", f"m={two}"])] == [str(one), str(two)]
    with pytest.raises(UserError, match="given 2 times"):
        open_sources([str(one), str(one)])


def test_a_path_that_exists_is_never_taken_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "a=b@3.jsonl", {"text": "a"})
    source = open_source("a=b@3.jsonl")
    assert (source.name, source.step) == ("a=b@3", None)
    assert open_source("c=a=b@3.jsonl").name == "c"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1, "b": {"c": 2}}\n', "no field that holds a response is known.*it has: a, b.c"),
        ('{"text": "a"}\n{"other": "b"}\n', "row 1: field 'text' is missing; it has: other"),
        ('{"text": "a"}\n{"text": null}\n', "row 1: field 'text' is null"),
        ('{"text": "a"}\n{"text": 5}\n', "row 1: field 'text' holds int without text"),
        ('{"text": "a"}\nno json\n', "line 2 is not JSON"),
        ("", "is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "NUL bytes"),
        ('{"text": "é"}\n'.encode() + '{"text": "é"}\n'.encode("latin-1"), "line 2 cannot be read as UTF-8"),
        ('{"text": "é"}\n'.encode("utf-16"), "NUL bytes"),
    ],
)
def test_bad_files_are_one_line(tmp_path, content, words):
    file = tmp_path / "f.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words) as trouble:
        read(file)
    assert "\n" not in str(trouble.value)


def test_bad_runs_and_paths_are_one_line(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        open_source("x=nowhere@3")
    with pytest.raises(UserError, match="holds no samples"):
        open_source(str(write_run(tmp_path / "empty", [])))
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="neither a prerl run"):
        open_source(str(tmp_path / "folder"))
    run = write_run(tmp_path / "train", [sample("1", 0, "wrong", step=1)], kind="training")
    with pytest.raises(UserError, match="no samples of step 9; it holds 1"):
        open_source(f"{run}@9")
    with pytest.raises(UserError, match="--text-field prompt is for files"):
        open_sources([str(run)], text_field="prompt")
    with pytest.raises(UserError, match=r"no field 'nix' .--text-field.; it has: text"):
        open_source(str(jsonl(tmp_path / "f.jsonl", {"text": "a"})), text_field="nix")
