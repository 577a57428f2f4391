"""What stands in a report: the page as a file, its figures, its traces, and what is refused."""

import json
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from prerl_eval.annotations import Annotation, write_about, write_annotations
from prerl_eval.cli import main
from prerl_eval.report.payload import unpack
from tests.runs import sample, write_run

NASTY = (
    "<script>alert(1)</script></textarea><!-- <script> --> [x](javascript:alert(1)) "
    "<img src=x onerror=alert(1)> 😀 مرحبا \u202eabc\u202c \u200b\u2028 \x07 &lt; wait"
)
CARD = {"n": 2, "problems": 2, "max_tokens": 256, "title": "AIME 2024", "grader": "math"}
VOID = {"meta", "img", "br", "col", "input", "link", "hr"}


def rows(shift=0, **changes):
    """Two problems of two samples."""
    statuses = ["correct", "wrong", "truncated", "correct"]
    return [
        sample(
            problem,
            index,
            statuses[(2 * place + index + shift) % 4],
            prompt=f"<user>Find {problem}.",
            completion=f"{NASTY} {problem}/{index}",
            answer=str(index),
            gold=f"gold of {problem}",
            tokens=10 + index,
            **changes,
        )
        for place, problem in enumerate(("9", "10"))
        for index in range(2)
    ]


def write(folder, shift=0, **changes):
    return write_run(
        folder, rows(shift, **changes), {"aime24": CARD}, settings={"temperature": 1.0, "seed": 7}
    )


def mark(run, name, annotations, **about):
    write_annotations(run, name, annotations)
    write_about(run, name, about)


class Page(HTMLParser):
    """A page taken apart: elements, their attributes and text; fails on one that is not closed."""

    def __init__(self, file):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.open = [], "", []
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), ""))
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            place = self.open[-1][1]
            tag, attrs, text = self.elements[place]
            self.elements[place] = (tag, attrs, text + data)
        self.text += data

    def all(self, tag, **wanted):
        return [
            (attrs, text)
            for name, attrs, text in self.elements
            if name == tag and all(attrs.get(key) == value for key, value in wanted.items())
        ]

    @property
    def meta(self):
        return json.loads(self.all("script", id="meta")[0][1])

    def chunk(self, key):
        return unpack(self.all("script", **{"data-key": key})[0][1])


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs prerl-eval report in this process: (exit code, stdout, stderr without progress), in lines."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prerl-eval", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        said = [line for line in err.splitlines() if not re.match(r"(reading|writing): \d", line)]
        return done.value.code or 0, out.splitlines(), said

    return run


@pytest.fixture
def report(command, tmp_path):
    """The page of a report that is written without complaint."""

    def run(*arguments):
        code, out, said = command(*arguments, "--out", tmp_path / "out" / "report.html")
        assert (code, said) == (0, [])
        assert out == [f"wrote {tmp_path / 'out' / 'report.html'}"]
        return Page(tmp_path / "out" / "report.html")

    return run


def test_a_report_holds_scores_settings_and_every_trace(report, tmp_path):
    base, trained = write(tmp_path / "base"), write(tmp_path / "trained", 1)
    page = report(trained, "--base", base)
    assert [text for _, text in page.all("title")] == ["trained against base – prerl"]
    assert page.meta["runs"][0] == {
        "name": "base",
        "base": True,
        "made": "temperature 1.0, at most 256 tokens, seed 7, grader math/1",
    }
    cells = [text for _, text in page.all("td")]
    assert {"2×2", "50.0"} <= set(cells)
    assert [run["name"] for run in page.meta["runs"]] == ["base", "trained"]
    (benchmark,) = page.meta["benchmarks"]
    assert [
        {key: problem[key] for key in ("id", "samples", "correct")} for problem in benchmark["problems"]
    ] == [
        {"id": "9", "samples": [2, 2], "correct": [1, 0]},
        {"id": "10", "samples": [2, 2], "correct": [1, 2]},
    ]
    for place, problem in enumerate(("9", "10")):
        header, texts = page.chunk(f"0/{place}")
        assert [texts[one["completion"]] for run in header["runs"] for one in run] == [
            f"{NASTY} {problem}/{index}" for index in (0, 1)
        ] * 2
        assert {texts[one["prompt"]] for run in header["runs"] for one in run} == {f"<user>Find {problem}."}
        assert {one["gold"] for run in header["runs"] for one in run} == {f"gold of {problem}"}


def test_facts_stand_sample_by_sample_in_the_order_of_problems(report, tmp_path):
    page = report(write(tmp_path / "a"))
    (facts,) = page.chunk("facts/0")[0]["runs"]
    assert [page.meta["statuses"][status] for status in facts["status"]] == [
        *("correct", "wrong", "truncated", "correct")
    ]
    assert (facts["index"], facts["tokens"], facts["answer"]) == (
        [0, 1, 0, 1],
        [10, 11, 10, 11],
        list("0101"),
    )


def test_model_text_is_never_markup(report, tmp_path):
    run = write_run(
        tmp_path / "a",
        [
            sample(
                NASTY, 0, "wrong", benchmark=NASTY, prompt=NASTY, completion=NASTY, answer=NASTY, gold=NASTY
            ),
            sample("</script>", 0, "correct", benchmark=NASTY),
        ],
    )
    page = report(f"</title><script>alert(2)</script>={run}")
    scripts = page.all("script")
    assert len([attrs for attrs, _ in scripts if "type" not in attrs]) == 1
    kinds = {attrs["type"] for attrs, _ in scripts if "type" in attrs}
    assert kinds == {"application/json", "text/plain"}
    # Nothing in data can close or open an element: no "<" stands in them at all.
    assert not any("<" in text for attrs, text in scripts if "type" in attrs)
    assert {attrs["src"].split(",")[0] for attrs, _ in page.all("img")} <= {"data:image/svg+xml;base64"}
    assert not page.all("textarea")
    assert page.meta["benchmarks"][0]["name"] == NASTY
    header, texts = page.chunk("0/1")
    assert texts[header["runs"][0][0]["completion"]] == NASTY


def test_the_page_allows_itself_its_own_script_and_style_only(report, tmp_path):
    from prerl_eval.report.render import policy

    page = report(write(tmp_path / "a"))
    ((attrs, _),) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    (style,) = [text for _, text in page.all("style")]
    (script,) = [text for attrs, text in page.all("script") if not attrs]
    assert attrs["content"] == policy(style, script)
    assert attrs["content"].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in attrs["content"]
    # The digest of nothing, as browsers know it: the hashes are of the text, in base64.
    assert "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='" in policy("", "x")
    addresses = [
        value for _, attrs, _ in page.elements for key, value in attrs.items() if key in ("href", "src")
    ]
    assert len(addresses) > 3
    assert all(value.startswith(("#", "data:image/")) for value in addresses)
    assert not any(key.startswith("on") or key == "style" for _, attrs, _ in page.elements for key in attrs)


def test_headings_landmarks_and_tables_are_in_order(report, tmp_path):
    base, trained = write(tmp_path / "base"), write(tmp_path / "trained", 1)
    page = report(trained, "--base", base)
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [len(page.all(tag)) for tag in ("main", "header", "nav", "footer")] == [1, 1, 1, 1]
    assert len(page.all("caption")) == len(page.all("table")) > 3
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs, _ in page.all("th"))
    assert all(len(attrs["alt"]) > 20 for attrs, _ in page.all("img"))
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["aria-labelledby"] for attrs, _ in page.all("section")} <= set(ids)
    links = {attrs["href"][1:] for attrs, _ in page.all("a")}
    assert links <= set(ids)


def test_annotations_are_marks_counts_and_numbers(report, tmp_path):
    run = write(tmp_path / "a")
    key = ("aime24", "9", 0, 0)
    at = NASTY.index("wait")
    mark(
        run,
        "words-simplerl",
        [Annotation(*key, "reflection", start=at, end=at + 4, note="wait")],
        complete=True,
    )
    mark(run, "logp-base", [Annotation(*key, "logp_alone", value=-2.5)], labels={"logp_alone": "log P(y)"})
    mark(
        run,
        "judge-m",
        [
            Annotation(*key, "backtracking", start=at - 1, end=at + 4, note=" wait"),
            Annotation(*key, "status", note="ok"),
            Annotation("aime24", "9", 1, 0, "status", note="refused"),
        ],
    )
    page = report(run)
    names = [(one["annotation"], one["name"], one["kind"]) for one in page.meta["labels"]]
    assert names == [("judge-m", "backtracking", "judge"), ("words-simplerl", "reflection", "words")]
    assert page.meta["values"] == [{"name": "logp_alone", "annotation": "logp-base", "about": "log P(y)"}]
    (facts,) = page.chunk("facts/0")[0]["runs"]
    # A sample that was not judged has no count; one without words has none of them.
    assert facts["counts"] == {"0": [1, None, None, None], "1": [1, 0, 0, 0]}
    assert facts["values"] == {"0": [-2.5, None, None, None]}
    header, texts = page.chunk("0/0")
    first, second = header["runs"][0]
    # The emoji before them is two code units in JavaScript's strings.
    assert first["spans"] == [[at, 5, 0], [at + 1, 4, 1]]
    units = texts[first["completion"]].encode("utf-16-le")
    assert units[2 * (at + 1) : 2 * (at + 5)].decode("utf-16-le") == "wait"
    assert (first["notes"], second["notes"]) == ({"judge-m": "ok"}, {"judge-m": "refused"})
    assert first["values"] == {"0": -2.5}
    assert "Marks in the traces" in [text for _, text in page.all("caption")]


def test_rates_of_marks_by_hand(report, tmp_path):
    run = write(tmp_path / "a")
    marks = [("9", 0, 3), ("9", 1, 1), ("10", 0, 2)]
    found = [
        Annotation("aime24", problem, index, 0, "reflection", start=place, end=place + 1)
        for problem, index, count in marks
        for place in range(count)
    ]
    mark(run, "words-x", found, complete=True)
    cells = [text for _, text in report(run).all("td")]
    # Problem means 2 and 1; t of one degree of freedom 12.706, error 0.5: 1.5 - 6.35 is below 0.
    assert "1.50 (0.00–7.85)" in cells
    assert [cell for cell in cells if cell.startswith("75.0 (")]


def test_where_no_words_are_marked_the_page_says_how_to_get_them(report, tmp_path):
    (hint,) = report(write(tmp_path / "a")).meta["hints"]
    assert "`prerl-behavior count RUN --annotate`" in hint
    mark(tmp_path / "a", "words-simplerl", [], complete=False)
    (hint,) = report(tmp_path / "a").meta["hints"]
    assert hint == "words-simplerl of a is not complete: give its command again."
