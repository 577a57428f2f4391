"""What can be wrong before and while a judge works: one line each, and nothing lost."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from behavior.judge import client
from behavior.judge.judge import estimate, judge
from behavior.judge.options import JudgeOptions
from prerl_eval.annotations import annotation_names
from prerl_eval.errors import RunStopped, UserError
from tests.behavior_server import MODEL, configure, fault_server, stats
from tests.behavior_traces import judge_run
from tests.conftest import REPO
from tests.runs import write_run
from tests.servers import free_port


@pytest.fixture(scope="module")
def server():
    with fault_server() as url:
        yield url


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.01)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path):
    return judge_run(tmp_path / "run", 40)


def options(server, *runs, **changes):
    plain = JudgeOptions(runs, MODEL, base_url=server, canaries=False, concurrency=4, timeout=5.0)
    return replace(plain, **changes)


def test_openai_needs_a_key_and_other_servers_none(run):
    with pytest.raises(
        UserError, match=r"no API key for https://api.openai.com/v1; set OPENAI_API_KEY, or give"
    ):
        judge(options(None, run))
    assert not (run / "annotations").exists()


def test_nobody_answers(run):
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(UserError, match=f"no server answers at {url}; start it or correct --base-url"):
        judge(options(url, run))
    assert not (run / "annotations").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "gpt"}, f"serves no gpt; give --model one of: {MODEL}"),
        ({"model": " "}, "--model is empty"),
        ({"max_cost": 1.0}, "--max-cost needs --price-in and --price-out"),
        ({"price_in": 1.0}, "--price-in and --price-out go together"),
        ({"price_in": 1.0, "price_out": -1.0}, "--price-out -1.0 is no amount"),
        ({"max_cost": float("nan")}, "--max-cost nan is no amount"),
        ({"chunk_chars": 100}, "--chunk-chars 100 is too short; give 2000 or more"),
        ({"step": 7}, "holds no samples of --step 7; it has: 0"),
        ({"name": "a/b"}, "annotation name 'a/b' is not usable"),
    ],
)
def test_options_that_cannot_work(server, run, changes, message):
    configure(server)
    with pytest.raises(UserError, match=message):
        judge(options(server, run, **changes))
    assert not (run / "annotations").exists()


def test_runs_that_cannot_be_judged(server, run, tmp_path):
    empty = write_run(tmp_path / "empty", [])
    for runs, message in [
        ((run, run), "is given twice"),
        ((tmp_path,), "is not a prerl run"),
        ((run, empty), "empty holds no samples; let `prerl-eval run` sample some first"),
    ]:
        with pytest.raises(UserError, match=message):
            judge(options(server, *runs))
    assert not (run / "annotations").exists()


def test_another_judgement_under_the_same_name_is_refused(server, run):
    configure(server)
    judge(options(server, run, limit=2))
    with pytest.raises(
        UserError, match=r"was judged with other settings \(temperature: 0.0 -> 0.5\).*--name"
    ):
        judge(options(server, run, limit=2, temperature=0.5))
    judge(options(server, run, limit=2, temperature=0.5, name="warm"))
    assert annotation_names(run) == [f"judge-{MODEL}", "warm"]


def test_a_model_that_ignores_the_schema_is_not_asked_a_thousand_times(server, run):
    configure(server, only="schema")
    report = judge(options(server, run))
    assert isinstance(report.stopped, RunStopped)
    assert str(report.stopped).startswith(
        "20 replies in a row cannot be used, the last invalid (not in the schema"
    )
    assert "use a server that enforces json_schema" in str(report.stopped)
    assert 20 <= stats(server)["requests"] <= 23  # those in flight are waited for
    statuses = report.results[0]["groups"][0]["statuses"]
    assert statuses["invalid"] == stats(server)["requests"]
    assert report.results[0]["unjudged"] == 40 - statuses["invalid"]


def test_a_server_that_refuses_the_schema_is_told_at_once(server, run):
    configure(server, lacks=("response_format",))
    report = judge(options(server, run, concurrency=1))
    assert "takes no json_schema output (Unsupported parameter: 'response_format'.)" in str(report.stopped)
    assert report.results[0]["requests"]["sent"] == 1


def test_settings_that_a_server_can_do_without(server, run, capsys):
    configure(server, lacks=("temperature", "max_tokens"))
    report = judge(options(server, run, limit=8))
    assert report.stopped is None
    assert report.results[0]["groups"][0]["statuses"]["ok"] == 8
    assert capsys.readouterr().err.count("does not take") == 2


def test_a_server_that_fails_always(server, run, monkeypatch):
    monkeypatch.setattr(client, "ATTEMPTS", 2)
    configure(server, only="500")
    report = judge(options(server, run))
    assert "20 replies in a row cannot be used, the last error (500: out of memory); the server fails" in str(
        report.stopped
    )
    assert report.results[0]["groups"][0]["statuses"]["error"] >= 20
    configure(server)
    report = judge(options(server, run))
    assert report.results[0]["groups"][0]["statuses"]["ok"] == 40  # errors are asked again, unlike replies


def test_a_server_that_goes_away_stops_resumably(run, monkeypatch):
    monkeypatch.setattr(client, "ATTEMPTS", 3)
    log = run / "annotations" / f"judge-{MODEL}" / "replies.jsonl"
    with fault_server() as url:
        configure(url, delay=0.1)
        with ThreadPoolExecutor() as pool:
            judging = pool.submit(judge, options(url, run))
            while not log.is_file() or log.read_bytes().count(b'"reply"') < 8:
                time.sleep(0.01)
            configure(url, dies=True)
            report = judging.result()
    assert f"the server at {url} went away" in str(report.stopped)
    assert report.results[0]["unjudged"] > 0
    assert report.results[0]["groups"][0]["statuses"]["ok"] >= 8


def test_a_dry_run_needs_no_server_and_writes_nothing(run):
    (told,) = estimate(options(None, run, limit=10, price_in=1.0, price_out=2.0, max_output=100))
    assert (told["samples"], told["requests"], told["cached"]) == (10, 10, 0)
    assert told["tokens_out_at_most"] == 1000
    assert told["cost_at_most"] == pytest.approx((told["tokens_in_at_most"] + 2 * 1000) / 1e6)
    assert not (run / "annotations").exists()


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "behavior.cli", "judge", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=REPO,
        timeout=60,
    )


def test_the_command(server, run):
    configure(server)
    flags = ["--model", MODEL, "--base-url", server, "--limit", "8"]
    done = command(run, *flags, "--price-in", "1", "--price-out", "2", "--max-cost", "1")
    assert done.returncode == 0, done.stderr
    assert "aime24: 8 responses to 8 problems" in done.stdout
    assert "canaries: 1 of 3" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    done = command(run, *flags, "--dry-run")
    assert "8 samples, 0 requests to send (12 answered before)" in " ".join(done.stdout.split())
    done = command(run, *flags, "--max-cost", "1")
    assert done.returncode == 2
    assert done.stderr == (
        "prerl-behavior: --max-cost needs --price-in and --price-out (per million tokens) to count by\n"
    )
    configure(server, only="empty")
    done = command(judge_run(run.parent / "other", 30), *flags, "--limit", "30", "--json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("prerl-behavior: 20 replies in a row cannot be used")
