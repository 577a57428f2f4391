"""Judges, lexicons and sheets compared: what is one item, what is missing, and every way to get it wrong."""

import csv
import subprocess
import sys

import pytest

from behavior.agree import agree, write_template
from behavior.agree_table import render_agreement
from behavior.judge.schema import SCHEMA
from behavior.judgements import JUDGE_LABELS, Item, open_voice
from behavior.label_sheet import read_sheet
from prerl_eval import annotations
from prerl_eval.annotations import Annotation
from prerl_eval.errors import UserError
from tests.runs import sample, write_run

TEXT = "First part. Wait, no.\n\nSecond part."
"""A reflection for every lexicon that knows "wait"; two thoughts, the first of 21 characters."""

HEAD = "benchmark,problem_id,sample_index,step,start,end,prompt,text,verification,backtracking,note"


def annotate(run, name, statuses, marks=()):
    """statuses: {(problem, sample): note}; marks: (problem, sample, label, start, end)."""
    rows = [Annotation("aime24", *key, 0, "status", note=note) for key, note in statuses.items()]
    rows += [Annotation("aime24", p, s, 0, label, None, a, b) for p, s, label, a, b in marks]
    with annotations.annotation_lock(run, name):
        annotations.write_about(run, name, {"made_by": "test"})
        annotations.write_annotations(run, name, rows)


def everyone(status="ok"):
    return {(problem, index): status for problem in "abcd" for index in (0, 1)}


@pytest.fixture
def run(tmp_path):
    rows = [
        sample(problem, index, "wrong", completion=TEXT if index else "Nothing of the kind.")
        for problem in "abcd"
        for index in (0, 1)
    ]
    return write_run(tmp_path / "run", rows)


def sheet(tmp_path, lines, head=HEAD, name="people.csv"):
    file = tmp_path / name
    file.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return file


def rows_of(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_labels_are_those_the_judge_is_asked_for():
    assert list(JUDGE_LABELS) == SCHEMA["properties"]["findings"]["items"]["properties"]["label"]["enum"]


def test_missing_judgements_are_left_out_and_never_a_no(run):
    first, second = everyone(), everyone()
    first[("a", 0)], second[("b", 0)], second[("b", 1)] = "invalid", "refused", "truncated"
    del second[("d", 1)]  # not tried at all
    annotate(run, "judge-x", first, [("a", 1, "verification", 0, 4), ("b", 1, "verification", 0, 4)])
    annotate(run, "judge-y", second, [("a", 1, "verification", 5, 9), ("c", 1, "verification", 0, 4)])
    found = agree([f"{run}:judge-x", f"{run}:judge-y"])
    assert found["voices"][f"{run}:judge-y"]["statuses"] == {"ok": 5, "refused": 1, "truncated": 1}
    (pair,) = found["pairs"]
    assert pair["items"] == 7  # both were asked
    numbers = pair["labels"]["verification"]
    # Left: a1, c0, c1, d0. Both mark a1, only the second c1, neither c0 and d0.
    assert (numbers["items"], numbers["left_out"], numbers["problems"]) == (4, 3, 3)
    assert [numbers[cell] for cell in ("both", "only_a", "only_b", "neither")] == [1, 0, 1, 2]
    assert numbers["kappa"]["value"] == pytest.approx(0.5)  # po 3/4, pe 1/8 + 3/8
    assert set(pair["labels"]) == set(JUDGE_LABELS)  # one never found is still judged: all no
    assert pair["labels"]["enumeration"]["kappa"]["value"] is None


def test_a_lexicon_is_worked_out_and_its_labels_matched(run):
    annotate(run, "judge-x", everyone(), [(p, 1, "backtracking", 12, 21) for p in "abc"])
    found = agree([f"{run}:judge-x", f"{run}:words-simplerl"], same=["backtracking=reflection"])
    numbers = found["pairs"][0]["labels"]["backtracking=reflection"]
    assert [numbers[cell] for cell in ("both", "only_a", "only_b", "neither")] == [3, 0, 1, 4]
    turned = agree([f"{run}:words-simplerl", f"{run}:judge-x"], same=["backtracking=reflection"])
    assert turned["pairs"][0]["labels"]["reflection=backtracking"]["only_a"] == 1
    assert not (run / "annotations" / "words-simplerl").exists()


def test_seal_labels_thoughts_not_words(run):
    """SEAL asks for "wait" at a thought's start; here it stands inside."""
    voice = open_voice(f"{run}:words-seal")
    assert voice.says(Item(("aime24", "a", 1, 0)), "reflection") is False
    assert open_voice(f"{run}:words-simplerl").says(Item(("aime24", "a", 1, 0)), "reflection") is True


def test_thoughts_as_unit(run):
    annotate(run, "judge-x", everyone(), [(p, 1, "backtracking", 12, 21) for p in "abcd"])
    annotate(run, "judge-y", everyone(), [(p, 1, "backtracking", 23, 29) for p in "ab"])
    found = agree([f"{run}:judge-x", f"{run}:judge-y"], unit="thought")
    numbers = found["pairs"][0]["labels"]["backtracking"]
    # Four responses of one thought, four of two: x marks the first of the two, y the second in a and b.
    assert [numbers[cell] for cell in ("both", "only_a", "only_b", "neither")] == [0, 4, 2, 6]


def test_three_judges_and_repeats(run):
    for name, problems in (("judge-x", "ab"), ("judge-x-r2", "abc"), ("judge-x-r3", "a")):
        annotate(run, name, everyone(), [(p, 1, "verification", 0, 4) for p in problems])
    names = [f"{run}:{name}" for name in ("judge-x", "judge-x-r2", "judge-x-r3")]
    found = agree(names)
    assert len(found["pairs"]) == 3
    together = found["fleiss"]["verification"]
    # a 3 of 3, b 2, c 1, five times 0: agreement (6 + 1/3 + 1/3)/8 = 5/6; p = 6/24, chance 5/8.
    assert together["kappa"]["value"] == pytest.approx((5 / 6 - 5 / 8) / (3 / 8))
    table = render_agreement(found)
    assert max(map(len, table.splitlines())) <= 100
    assert "all 3 judges" in table


def test_people_correct_a_judge(run, tmp_path):
    """Truth: a1, b1, c1 yes; the judge sees a1, b1 and wrongly d1. 8 judged, 6 known, one left blank."""
    annotate(run, "judge-x", everyone(), [(p, 1, "verification", 0, 4) for p in "abd"])
    lines = [f"aime24,{p},1,0,,,,,{said},0," for p, said in zip("abcd", "1110", strict=True)]
    lines += ["aime24,a,0,0,,,,,no,,", "aime24,b,0,0,,,,,No,,", "aime24,c,0,0,,,,,,1,not sure"]
    file = sheet(tmp_path, lines)
    found = agree([f"{run}:judge-x", str(file)])
    numbers = found["pairs"][0]["labels"]["verification"]
    assert (numbers["items"], numbers["left_out"]) == (6, 1)
    (corrected,) = found["corrected"]
    label = corrected["labels"]["verification"]
    assert (label["judged"], label["known"]) == (8, 6)
    assert label["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert label["specificity"]["value"] == pytest.approx(2 / 3)
    assert label["prevalence"]["value"] == pytest.approx((3 / 8 + 2 / 3 - 1) / (4 / 3 - 1))
    assert "corrected by" in render_agreement(found)


@pytest.mark.parametrize("unit", ["response", "thought"])
def test_a_template_is_filled_in_and_read_back(run, tmp_path, unit):
    annotate(run, "judge-x", everyone(), [("a", 1, "backtracking", 12, 21)])
    file = tmp_path / "sheet.csv"
    said = write_template([str(run)], file, 6, "backtracking", unit)
    assert "of 4 problems" in said
    rows = rows_of(file)
    assert len(rows) == 6
    for row in rows:
        if unit == "thought":
            place = slice(int(row["start"]), int(row["end"]))
            assert (TEXT if row["sample_index"] == "1" else "Nothing of the kind.")[place] == row["text"]
        row["backtracking"] = str(int("Wait" in row["text"]))
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = agree([f"{run}:judge-x", str(file)])
    assert found["unit"] == ("passage" if unit == "thought" else "response")
    numbers = found["pairs"][0]["labels"]["backtracking"]
    waits = sum("Wait" in row["text"] for row in rows)
    mine = any(row["problem_id"] == "a" and "Wait" in row["text"] for row in rows)
    assert (numbers["items"], numbers["both"], numbers["only_b"]) == (6, int(mine), waits - mine)


def test_a_template_draws_problems_evenly_and_by_its_seed(run, tmp_path):
    sheets = []
    for number, seed in enumerate((1, 1, 2)):
        write_template([str(run)], tmp_path / f"{number}.csv", 4, seed=seed)
        sheets.append((tmp_path / f"{number}.csv").read_text())
        assert {row["problem_id"] for row in rows_of(tmp_path / f"{number}.csv")} == set("abcd")
    assert sheets[0] == sheets[1] != sheets[2]


def test_sheets_as_table_programs_save_them(tmp_path):
    """Semicolons, a byte order mark, line breaks in cells, CRLF."""
    file = tmp_path / "excel.csv"
    head = HEAD.replace(",", ";")
    file.write_bytes(f'{head}\r\naime24;a;1;0;;;;"two\r\nlines; here";1;FALSE;\r\n'.encode("utf-8-sig"))
    read = read_sheet(file)
    assert read.labels == ("verification", "backtracking")
    assert read.answers == {
        (("aime24", "a", 1, 0), None, None): {"verification": True, "backtracking": False}
    }


def test_text_that_a_table_program_would_run_is_defused(tmp_path):
    run = write_run(tmp_path / "run", [sample("a", 0, "wrong", completion="=1+1", prompt="@x")])
    write_template([str(run)], tmp_path / "s.csv", 1)
    (row,) = rows_of(tmp_path / "s.csv")
    assert (row["prompt"], row["text"]) == (" @x", " =1+1")


ROW = "aime24,a,1,0,,,,,1,0,"
BAD_SHEETS = {
    "no rows": ([], HEAD, "no label is filled in yet"),
    "blank": (["aime24,a,1,0,,,,,,,"], HEAD, "no label is filled in yet"),
    "maybe": (["aime24,a,1,0,,,,,maybe,0,"], HEAD, "line 2: verification is 'maybe'"),
    "twice": ([ROW, ROW], HEAD, "line 3: this item was labelled above"),
    "cells": (["aime24,a,1,0,,,,a, b,1,0,"], HEAD, "12 cells, the header has 11"),
    "index": (["aime24,a,one,0,,,,,1,0,"], HEAD, "line 2: sample_index is 'one'"),
    "half a span": (["aime24,a,1,0,5,,,,1,0,"], HEAD, "line 2: end is ''"),
    "mixed": ([ROW, "aime24,a,1,0,0,5,,,1,0,"], HEAD, "some rows have start and end"),
    "no key": ([ROW], HEAD.replace("problem_id", "problem"), "no column 'problem_id'; it has: benchmark"),
    "no label": (["aime24,a,1,0"], "benchmark,problem_id,sample_index,step", "no column of labels"),
    "column twice": ([ROW], HEAD.replace("backtracking", "verification"), "a column is there twice"),
    "quote": (['aime24,a,1,0,,,,"open,1,0,'], HEAD, "save it as csv again"),
    "lost": (["aime24,zz,1,0,,,,,1,0,"], HEAD, "holds no sample aime24/zz/1/0"),
}


@pytest.mark.parametrize("case", BAD_SHEETS)
def test_bad_sheets_are_named_in_one_line(run, tmp_path, case):
    lines, head, message = BAD_SHEETS[case]
    annotate(run, "judge-x", everyone())
    with pytest.raises(UserError, match=message) as raised:
        agree([f"{run}:judge-x", str(sheet(tmp_path, lines, head))])
    assert "\n" not in str(raised.value)


def test_bad_names_are_named_in_one_line(run, tmp_path):
    annotate(run, "judge-x", everyone())
    annotate(run, "judge-new", {})
    other = write_run(tmp_path / "other", [sample("a", 0, "wrong")])
    one, latin = f"{run}:judge-x", tmp_path / "latin.csv"
    latin.write_bytes(HEAD.encode() + b"\n\xe9")
    passages = sheet(tmp_path, ["aime24,a,1,0,0,5,,,1,0,"])
    whole = sheet(tmp_path, [ROW], name="whole.csv")
    for names, message in (
        ([one], "two or more"),
        ([one, one], "two or more different"),
        ([one, str(run)], "it has: judge-new, judge-x"),
        ([one, f"{run}:judge-z"], "no annotation judge-z; it has: judge-new, judge-x"),
        ([one, f"{run}:judge-new"], "holds no judgement"),
        ([one, "nowhere"], "neither RUN:ANNOTATION nor a csv"),
        ([one, f"{run}:words-sael"], "no lexicon 'sael'"),
        ([one, f"{run}:words-seal"], "no label is common to two of them"),
        ([one, f"{other}:words-seal"], "are different runs"),
        ([one, str(latin)], "not UTF-8"),
        ([str(passages), str(whole)], "one sheet labels responses and one passages"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            agree(names)
        assert "\n" not in str(raised.value)
    for keywords, message in (({"unit": "word"}, "--unit word"), ({"same": ["verification"]}, "write A=B")):
        with pytest.raises(UserError, match=message):
            agree([one, f"{run}:words-seal"], **keywords)


def test_bad_templates_write_nothing(run, tmp_path):
    there = sheet(tmp_path, [ROW])
    before = there.read_bytes()
    new, foreign = tmp_path / "new.csv", tmp_path / "foreign.jsonl"
    foreign.write_text('{"completion": "text"}\n')
    for names, file, labels, message in (
        ([str(run)], there, None, "is there already and may hold labels"),
        ([str(run)], new, "a,a", "name each label once"),
        ([str(run)], new, "text", "none of benchmark"),
        ([str(run), str(run)], new, None, "made for one RUN"),
        ([str(foreign)], new, None, "is no prerl run"),
        ([str(run)], tmp_path / "no" / "new.csv", None, "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            write_template(names, file, 3, labels)
    assert there.read_bytes() == before
    assert not new.exists()


def test_commands_end_as_the_others_do(run):
    annotate(run, "judge-x", everyone(), [("a", 1, "backtracking", 12, 21)])

    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "behavior.cli", *words], capture_output=True, text=True, check=False
        )

    done = command("agree", f"{run}:judge-x", f"{run}:words-simplerl", "--same", "backtracking=reflection")
    assert (done.returncode, done.stderr) == (0, "")
    assert "backtracking=reflection" in done.stdout
    wrong = command("agree", f"{run}:judge-x")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    asked = command("consequence", str(run), "--lexicon", "simplerl", "--json")
    assert asked.returncode == 0
    assert '"aime24"' in asked.stdout
