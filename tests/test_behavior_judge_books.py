"""The judge's accounts: the log, the budget, the choice of samples, the figures."""

import asyncio
import json
import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.judge.budget import Budget, BudgetSpent, Tokens, make_prices, worst_case
from behavior.judge.cache import Log, ask_key, read_log
from behavior.judge.client import Judge, ServerOptions, _backoff
from behavior.judge.locate import Located
from behavior.judge.results import Judged, measure, render
from behavior.judge.select import choose, chosen_traces
from prerl_eval.metrics import interval
from tests.behavior_traces import judge_run

BODY = json.dumps({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4}})


def test_a_log_tells_what_was_billed_and_what_may_have_been(tmp_path):
    file = tmp_path / "replies.jsonl"
    worst = Tokens(100, 10)
    with Log(file) as log:
        numbers = [log.sent(f"k{i}", ["p", i], worst) for i in range(6)]
        assert log.reply(numbers[0], "k0", BODY) == Tokens(30, 4)
        assert log.reply(numbers[1], "k1", "no usage") == worst
        assert log.failed(numbers[2], "k2", "429", billed=False, final=False) == Tokens()
        assert log.failed(numbers[3], "k3", "lost", billed=None, final=True) == worst
        live = log.record
    record = read_log(file)
    assert record == live
    assert record.replies == {"k0": BODY, "k1": "no usage"}
    assert record.failures == {"k3": "lost"}
    assert set(record.in_flight) == set(numbers[4:])
    assert (record.sent, record.answered, record.torn) == (6, 2, 0)
    assert record.billed == Tokens(30, 4)
    assert record.spent == Tokens(30 + 4 * 100, 4 + 4 * 10)
    with Log(file) as log:
        assert log.sent("k3", ["p", 3], worst) not in numbers
        log.reply(log.sent("k3", ["p", 3], worst), "k3", BODY)
    assert read_log(file).failures == {}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_log_cut_anywhere_loses_only_the_line_it_was_cut_in(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("log") / "replies.jsonl"
    with Log(file) as log:
        for i in range(4):
            log.reply(log.sent(f"k{i}", [], Tokens(1, 1)), f"k{i}", f"body {i} \ud83d\n")
    whole = file.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    complete = sum(line.startswith(b'{"event": "reply"') for line in whole[:cut].split(b"\n")[:-1])
    with Log(file) as log:
        assert len(log.record.replies) in (complete, complete + 1)  # cut off just its line break
        log.reply(log.sent("later", [], Tokens(1, 1)), "later", "b")
    assert len(read_log(file).replies) in (complete + 1, complete + 2)
    assert file.read_bytes().startswith(whole[:cut])


def test_keys_differ_in_every_part():
    parts = {"trace": "t", "prompt_hash": "h", "schema_version": 1, "model": "m", "base_url": "u"}
    parts |= {"start": 0, "end": 9, "repeat": 1}
    keys = {ask_key(**parts)} | {ask_key(**{**parts, name: "x"}) for name in parts}
    assert len(keys) == len(parts) + 1
    assert ask_key(**dict(reversed(parts.items()))) == ask_key(**parts)


def test_costs_are_exact():
    prices, limit = make_prices(0.1, 0.3, 0.7)
    assert prices.cost(Tokens(1_000_000, 2_000_000)) == limit == Decimal("0.7")
    assert make_prices(None, None, None)[0].cost(Tokens(5, 5)) == 0
    assert make_prices(0.0, 0.0, 0.0)[1] == 0


def test_the_worst_case_counts_bytes():
    asked = worst_case([{"content": "答案 x"}, {"content": "abc"}], 50)
    assert asked.into >= 8 + 3 + 512
    assert worst_case([{"content": "答案 x"}, {"content": "abcd"}], 50).into == asked.into + 1
    assert asked.out == 50


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=30),
    st.integers(1, 300),
)
@settings(max_examples=60, deadline=None)
def test_spent_and_reserved_never_exceed_the_limit(requests, limit):
    """At any width, whatever part of the worst case is billed; all run where the sum of them fits."""
    budget = Budget(make_prices(1e6, 1e6, None)[0], Decimal(limit))
    paid, most = [0], [0]

    async def one(worst, share):
        async with budget.reserve(Tokens(worst, 0)) as bill:
            most[0] = max(most[0], budget.spent + budget._reserved)
            await asyncio.sleep(0)
            bill.tokens = Tokens(int(worst * share), 0)
            paid[0] += int(worst * share)

    async def everything():
        return await asyncio.gather(*(one(*request) for request in requests), return_exceptions=True)

    ended = asyncio.run(everything())
    assert most[0] <= limit
    assert budget.spent == paid[0] <= limit
    assert budget._reserved == 0
    assert all(end is None or isinstance(end, BudgetSpent) for end in ended)
    if sum(worst for worst, _ in requests) <= limit:
        assert ended == [None] * len(requests)


def test_a_request_that_breaks_off_counts_in_full():
    budget = Budget(make_prices(1e6, 1e6, None)[0], Decimal(10))

    async def broken():
        async with budget.reserve(Tokens(4, 1)):
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        asyncio.run(broken())
    assert budget.spent == 5


def test_requests_per_minute_are_spread():
    judge = Judge(ServerOptions("u", "k", "m", rpm=1200), Budget(make_prices(None, None, None)[0], None))

    async def turns():
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(judge._turn() for _ in range(5)))
        return loop.time() - start

    assert asyncio.run(turns()) >= 4 * 0.05


def test_backoff_doubles_up_to_its_bound():
    waits = [max(_backoff(attempt) for _ in range(200)) for attempt in (1, 2, 12)]
    assert [math.ceil(wait * 2) / 2 for wait in waits] == [0.5, 1.0, 30.0]
    assert min(_backoff(12) for _ in range(200)) >= 15


KEYS = [("b", f"p{problem}", index, 0) for problem in range(20) for index in range(8)]


def test_the_choice_takes_every_problem_before_a_second_sample_and_grows_by_adding():
    whole = choose(KEYS, None)
    assert sorted(whole) == sorted(KEYS)
    assert choose(reversed(KEYS), None) == whole
    for limit in (1, 20, 33, 160, 500):
        assert choose(KEYS, limit) == whole[:limit]
    for turn in range(8):
        assert len({key[1] for key in whole[20 * turn : 20 * turn + 20]}) == 20
    assert {key[1] for key in whole[:5]} != {f"p{problem}" for problem in range(5)}
    # Another run of the same benchmark, with fewer samples: the same problems come first.
    assert [key[1] for key in choose(KEYS[::8], 7)] == [key[1] for key in whole[:7]]


def test_chosen_traces_have_their_texts(tmp_path):
    run = judge_run(tmp_path / "run", 12)
    traces = chosen_traces(run, 4, None, also=[("aime24", "p0", 1, 0), ("aime24", "gone", 1, 0)])
    assert [trace.key for trace in traces][:4] == choose(
        [trace.key for trace in chosen_traces(run, None, None)], 4
    )
    for trace in traces:
        number = 4 * int(trace.key[1][1:]) + trace.key[2]
        assert trace.text.startswith(f"This is item {number}.")
        assert trace.prompt == f"Problem {trace.key[1][1:]}: solve it."
    assert ("aime24", "p0", 1, 0) in {trace.key for trace in traces}


def judged(problem, index, *labels, status="ok", **changes):
    marks = tuple(Located(label, 0, 4, "text") for label in labels)
    return Judged(("b", problem, index, 0), status, marks, quotes=len(marks), **changes)


def test_figures_by_hand():
    """Problem x: 3, 1 and an unread trace; y: 0; z: 2. Means 2, 0, 2: 4/3; shares 1, 0, 1: 2/3."""
    v = "verification"
    traces = [
        judged("x", 0, v, v, v),
        judged("x", 1, v, "backtracking"),
        judged("x", 2, status="invalid"),
        judged("y", 0, lost=0),
        judged("z", 0, v, v, full=True),
        judged("w", 0, status="refused"),
    ]
    traces[3] = Judged(("b", "y", 0, 0), "ok", quotes=3, lost=3)
    found = measure(traces)
    assert (found["responses"], found["problems"], found["full"]) == (4, 3, 1)
    assert found["statuses"] == {"ok": 4, "invalid": 1, "refused": 1, "truncated": 0, "error": 0}
    assert (found["quotes"], found["lost"], found["fabrication"]) == (10, 3, 0.3)
    row = found["labels"][v]
    assert row["mean"] == pytest.approx(4 / 3)
    # sd of (2, 0, 2) is sqrt(4/3), error 2/3; t with 2 degrees of freedom is 4.302653.
    assert row["mean_ci"] == [0.0, pytest.approx(4 / 3 + 4.302653 * 2 / 3, abs=1e-5)]
    assert row["share"] == pytest.approx(2 / 3)
    assert row["share_ci"] == [pytest.approx(float(end)) for end in interval([1.0, 0.0, 1.0])]
    # Unread ones without it: (2/3, 0, 1, 0), with it: (1, 0, 1, 1).
    assert row["share_bounds"] == [pytest.approx(5 / 12), pytest.approx(3 / 4)]
    assert found["labels"]["enumeration"]["mean"] == 0.0
    assert found["labels"]["enumeration"]["mean_ci"] is None


def test_nothing_usable_is_no_zero():
    found = measure([judged("x", 0, status="error"), judged("y", 0, status="truncated")])
    assert found["labels"] == {}
    assert found["fabrication"] is None
    assert found["statuses"]["error"] == found["statuses"]["truncated"] == 1


def test_the_table_fits_and_tells_what_is_missing():
    settings = {"model": "m" * 60, "base_url": "http://localhost:8000/v1", "prompt": "behaviors/1"}
    result = {
        "run": "runs/" + "long" * 30,
        "annotation": "judge-m",
        "settings": {**settings, "temperature": 0.0, "repeat": 1},
        "unjudged": 3,
        "canaries": {"asked": 3, "held": 2, "unread": 1},
        "requests": {
            "sent": 9,
            "replies": 7,
            "in_flight_lost": 2,
            "tokens_in": 10,
            "tokens_out": 5,
            "cost": 0.5,
            "cost_at_most": 0.75,
        },
        "groups": [
            {
                "benchmark": "b" * 90,
                "step": 40,
                **measure([judged("x", 0, "verification", lost=1, full=True)]),
            },
            {"benchmark": "c", "step": 0, **measure([judged("x", 0, status="error")])},
        ],
    }
    told = render([result])
    assert max(map(len, told.splitlines())) <= 100
    for part in (
        "1 of 1 quotes (100.0%) are not in their trace",
        "full list of findings",
        "not judged: 1 error",
        "3 chosen samples are not judged yet",
        "2 in flight when a sitting ended",
        "at most 0.7500 with requests that got no reply",
    ):
        assert part in " ".join(told.split())
