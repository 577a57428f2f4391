"""A report in Chromium: what its reader sees and does, and what hostile traces cannot do.

One browser serves all tests here; each opens the page anew. Skipped where there is no Chromium.
"""

import json

import pytest
from typer.testing import CliRunner

from prerl_eval.cli import app
from tests.browser import Chromium, find_chromium
from tests.report_runs import HOSTILE, RUNS, write_report_runs

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium: install Debian's package chromium")

SHOWN = "document.getElementById('browser').dataset.shown === location.hash"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    runs, out = write_report_runs(folder), folder / "report.html"
    named = [f"{name}={run}" for name, run in zip(RUNS, runs, strict=True)]
    done = CliRunner().invoke(app, ["report", *named[1:], "--base", named[0], "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out.as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("profile"), PROGRAM)
    browser.look()
    yield browser
    browser.close()


@pytest.fixture
def page(chromium, address):
    """Opens the report at an anchor; in the end, nothing may have been complained of or asked for."""
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.look()

    def open_at(anchor=""):
        chromium.open("about:blank")
        chromium.open(address + anchor)
        chromium.wait("document.getElementById('browser').dataset.shown")
        return chromium

    yield open_at
    assert chromium.problems == []
    asked = {one.split("#")[0] for one in chromium.requests if not one.startswith(("data:", "about:"))}
    assert asked == {address}


def text(page, selector):
    return page.run(f"document.querySelector({json.dumps(selector)})?.textContent")


def texts(page, selector):
    return page.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)")


def choose(page, title, value):
    field = f"document.querySelector('select[data-title={title}]')"
    page.run(f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('change'))")
    page.wait(SHOWN)


def facts(page):
    terms = zip(texts(page, ".facts dt"), texts(page, ".facts dd"), strict=True)
    return dict(terms)


def test_opens_with_the_first_sample_and_everything_that_is_known_of_it(page):
    opened = page()
    assert text(opened, ".heading h3") == "Problem 60"
    assert text(opened, ".panel h4") == "base"
    assert text(opened, ".verdict") == "✓ correct"
    assert facts(opened) == {
        "answer": "4",
        "gold": "4",
        "tokens": "1,000",
        "logp alone": "-12.50",
        "seconds": "0.5",
        "grader": "math/1",
    }
    assert text(opened, ".prompts") == "Problem 60: what is <b>2 + 2</b>?"
    assert "This is base, problem 60, sample 0." in text(opened, ".trace")
    assert texts(opened, ".problems .id") == ["60", "61", "100"]
    assert text(opened, ".matches") == "90 samples of 3 problems"


def test_marks_that_overlap_are_all_shown(page):
    opened = page()
    pieces = opened.run(
        "[...document.querySelectorAll('.trace mark')].map((one) => [one.textContent, one.title])"
    )
    words, judged = "reflection (words-counted)", "backtracking (judge-made-up)"
    assert [(piece, set(title.split(", "))) for piece, title in pieces] == [
        ("Wait", {words, judged}),
        (", ", {judged}),
        ("that is wrong", {judged, "checking (judge-made-up)"}),
        (": let me recheck. ", {"checking (judge-made-up)"}),
    ]
    assert texts(opened, ".marks li") == ["backtracking 1", "checking 1", "reflection 1"]


def test_an_anchor_shows_its_view_and_every_view_has_one(page):
    anchor = "#b=aime24&p=100&r=ds%3Cb%3Erl&s=3&status=wrong"
    opened = page(anchor)
    assert text(opened, ".heading h3") == "Problem 100"
    assert "This is ds<b>rl, problem 100, sample 3." in text(opened, ".trace")
    assert opened.run("document.querySelector('select[data-title=Status]').value") == "wrong"
    link = opened.run("document.querySelector('.heading .link').getAttribute('href')")
    assert link == anchor
    opened.run("location.hash = '#b=second&p=1&r=base&s=0'")
    opened.wait("document.querySelector('.trace').textContent === 'Only one here.'")


def test_an_anchor_to_what_is_not_there_is_said(page):
    opened = page("#b=aime24&p=7&r=base&s=0")
    opened.wait("document.querySelector('[role=status]').textContent.includes('no problem 7')")
    assert text(opened, ".heading h3") == "Problem 60"


def test_samples_are_switched_by_click_and_by_key(page):
    opened = page()
    opened.run("document.querySelectorAll('.samples')[1].querySelectorAll('.chip')[2].click()")
    opened.wait(SHOWN)
    assert "This is grpo, problem 60, sample 2." in text(opened, ".trace")
    opened.run("document.getElementById('browser').focus()")
    for keys, expected in (
        ("j", "grpo, problem 60, sample 3."),
        ("k", "grpo, problem 60, sample 2."),
        ("r", "ds<b>rl, problem 60, sample 2."),
        ("]]", "ds<b>rl, problem 100, sample 0."),
        ("[", "ds<b>rl, problem 61, sample 0."),
    ):
        for key in keys:
            before = opened.run("location.hash")
            opened.press(key)
            opened.wait(f"location.hash !== {json.dumps(before)} && {SHOWN}")
        assert expected in text(opened, ".trace")
    opened.press("?")
    assert opened.run("document.querySelector('dialog').open")
    opened.press("Escape")
    opened.wait("!document.querySelector('dialog').open")
    opened.press("m")
    assert opened.run("document.activeElement.textContent") == "Wait"
    opened.press("/", "w", "s")
    assert opened.run("document.activeElement.value") == "ws"


def test_focus_stays_where_the_keyboard_is(page):
    opened = page()
    opened.run("document.querySelector('.chip').focus()")
    opened.press("ArrowRight", "ArrowRight")
    assert opened.run("document.activeElement.getAttribute('aria-label')") == "sample 2, truncated"
    opened.press("Enter")
    opened.wait("location.hash.endsWith('s=2')")
    opened.wait(SHOWN)
    assert opened.run("document.activeElement.getAttribute('aria-label')") == "sample 2, truncated"
    assert "sample 2: truncated, 1,002 tokens" in text(opened, "[role=status]")


def test_filters_by_status_mark_and_text(page):
    opened = page("#b=aime24&p=61&r=grpo&s=0")
    choose(opened, "Status", "truncated")
    assert text(opened, ".matches") == "27 samples of 3 problems pass the filter"
    choose(opened, "Status", "")
    choose(opened, "Behaviour", "-2")
    assert text(opened, ".matches") == f"{len(HOSTILE)} samples of 1 problem pass the filter"
    choose(opened, "Behaviour", "")
    opened.run("document.getElementById('filter-text').value = 'GRPO, problem 100'")
    opened.run("document.querySelector('.filters').requestSubmit()")
    opened.wait(
        "document.querySelector('.matches').textContent === '10 samples of 1 problem pass the filter'"
    )
    opened.wait("document.querySelector('progress').hidden")
    assert texts(opened, ".problems li:not(.none) .id") == ["100"]
    opened.run("document.querySelector('.problems li:not(.none) a').click()")
    opened.wait("document.querySelector('.heading h3').textContent === 'Problem 100'")
    opened.run("document.querySelectorAll('.samples')[1].querySelector('.chip').click()")
    opened.wait("document.querySelector('.trace mark.searched')?.textContent === 'grpo, problem 100'")
    assert opened.run("location.hash").endswith("&q=GRPO%2C+problem+100")


def test_runs_stand_side_by_side(page):
    opened = page("#b=aime24&p=60&r=grpo&s=2&with=1:base&with=2:grpo")
    assert texts(opened, ".panel h4") == list(RUNS)
    shown = texts(opened, ".trace")
    for run, place, trace in zip(RUNS, (1, 2, 0), shown, strict=True):
        assert f"This is {run}, problem 60, sample {place}." in trace
    opened.run("document.querySelectorAll('[aria-label=\"Next sample\"]')[2].click()")
    opened.wait(SHOWN)
    assert "with=1%3Ads%3Cb%3Erl" in opened.run("location.hash")
    opened.run("document.querySelector('.check input').click()")
    opened.wait("document.querySelectorAll('.panel').length === 1")


def shown_text(page):
    """What stands in the trace, as text: blocks are lines, unseen signs back from their codes."""
    return page.run(
        """[...document.querySelectorAll('.trace .block')].map((block) => {
          const own = block.cloneNode(true);
          for (const sign of own.querySelectorAll('.unseen')) {
            sign.replaceWith(String.fromCodePoint(parseInt(sign.textContent.slice(2), 16)));
          }
          return own.textContent + (block.classList.contains('broken') ? '' : '\\n');
        }).join('')"""
    )


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_traces_are_text(page, kind):
    place = list(HOSTILE).index(kind)
    opened = page(f"#b=aime24&p=61&r=grpo&s={place}")
    expected = HOSTILE[kind]
    opened.wait("!document.querySelector('.trace').ariaBusy")
    assert shown_text(opened).rstrip("\n") == expected.rstrip("\n")
    assert opened.run("document.querySelectorAll('.trace :not(div, mark, span)').length") == 0
    assert opened.run("document.title").startswith("grpo, ds<b>rl against base")


def test_unseen_signs_are_shown_by_their_code_and_joiners_are_left_alone(page):
    opened = page(f"#b=aime24&p=61&r=grpo&s={list(HOSTILE).index('unseen')}")
    codes = ["U+200B", "U+2060", "U+0000", "U+0007", "U+001B", "U+00AD", "U+FEFF", "U+007F"]
    assert texts(opened, ".trace .unseen") == codes
    opened = page(f"#b=aime24&p=61&r=grpo&s={list(HOSTILE).index('bidi')}")
    assert texts(opened, ".trace .unseen") == ["U+202E", "U+202C", "U+2066", "U+2069", "U+200F"]
    opened = page(f"#b=aime24&p=61&r=grpo&s={list(HOSTILE).index('emoji')}")
    assert texts(opened, ".trace .unseen") == []
    opened = page(f"#b=aime24&p=61&r=grpo&s={list(HOSTILE).index('arabic')}")
    assert opened.run("getComputedStyle(document.querySelector('.trace .block')).unicodeBidi") == "plaintext"


CONTRAST = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255).map((part) =>
      (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let own = element; own; own = own.parentElement) {
      const colour = rgb(getComputedStyle(own).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const worst = [21, ''];
  for (const element of document.querySelectorAll('body *')) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !element.checkVisibility()) continue;
    const [one, other] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < worst[0]) worst.splice(0, 2, ratio, `${element.tagName} ${element.className}`);
  }
  return worst;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_narrow_windows_need_no_sideways_scrolling(page, scheme):
    opened = page("#b=aime24&p=60&r=grpo&s=2&status=wrong&q=wait")
    opened.look(360, 800, scheme)
    ratio, where = opened.run(CONTRAST)
    assert ratio >= 4.5, where
    assert opened.run("document.documentElement.scrollWidth") <= 360


def test_the_colours_can_be_chosen_and_the_parts_have_names(page):
    opened = page()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.run(ground)
    opened.run("document.querySelector('.theme').click(); document.querySelector('.theme').click()")
    assert text(opened, ".theme") == "Colours: dark"
    assert opened.run(ground) != light
    named = "button, input, select, a, [role=region], progress"
    nameless = f"""[...document.querySelectorAll('{named}')].filter((one) =>
      !(one.textContent.trim() && one.tagName !== 'SELECT') && !one.labels?.length && !one.ariaLabel &&
      !one.closest('label')).map((one) => one.outerHTML)"""
    assert opened.run(nameless) == []
