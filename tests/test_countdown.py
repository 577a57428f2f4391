"""Countdown: the verifier's rules, and splits that share no problem with each other or with the corpus."""

import hashlib
import json
import random
from collections import Counter
from dataclasses import replace
from itertools import islice, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval.cards import load_card
from prerl_eval.grading import UNSCORED
from prerl_eval.grading.countdown import (
    MAX_ANSWER_CHARACTERS,
    Chain,
    canonical_expression,
    grade_countdown,
    parse_chain,
)
from prerl_eval.problems import Problem, load_problems, training_problems
from prerl_train.countdown import (
    HARD,
    HARD_TIERS,
    LIMIT,
    SPLITS,
    CountdownProblem,
    draw_problem,
    solutions,
    write_splits,
)
from prerl_train.traces import AUTHORS, MAX_RESPONSE_WORDS, WORDS, Corpus, documents, write_response
from tests.conftest import REPO

CASES = json.loads((REPO / "tests/cases/countdown.json").read_text(encoding="utf-8"))

numbers = st.integers(1, 9)
chains = st.lists(numbers, min_size=1, max_size=6).flatmap(
    lambda drawn: st.builds(
        Chain,
        st.just(tuple(drawn)),
        st.lists(st.sampled_from("+-*"), min_size=len(drawn) - 1, max_size=len(drawn) - 1).map(tuple),
    )
)


def problem_of(numbers, target):
    return Problem("countdown", "0", "", "", "countdown", {"numbers": numbers, "target": target})


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_verdict(case):
    problem = problem_of(case["numbers"], case["target"])
    verdict = grade_countdown(case["text"], problem, case.get("finish_reason", "stop"))
    assert verdict.status == case["status"]
    assert verdict.answer == case.get("answer", verdict.answer)
    assert verdict.answer_class == case.get("class", verdict.answer_class)
    assert bool(verdict.answer_class) == (verdict.status in ("correct", "wrong"))
    assert bool(verdict.detail) == (verdict.status == UNSCORED)


@pytest.mark.parametrize("case", CASES["canonical"], ids=lambda case: case["answer"])
def test_canonical_expression(case):
    assert canonical_expression(case["answer"]) == case["canonical"]


def test_babble_is_unparsed_quickly():
    long_chain = " + ".join(["3"] * MAX_ANSWER_CHARACTERS)
    for text in (
        f"answer : {long_chain}",
        "answer : " + "9" * 100_000,
        "answer" + " " * 100_000,
        "answer : " * 20_000,
    ):
        assert grade_countdown(text, problem_of([3, 4, 5], 35), "stop").status == "unparsed"


@given(chains)
def test_every_chain_solves_its_own_problem(chain):
    problem = problem_of(list(reversed(chain.numbers)), chain.value())
    verdict = grade_countdown(f"try this answer : {chain}", problem, "stop")
    assert (verdict.status, verdict.answer) == ("correct", str(chain))


@given(chains, st.integers(-1000, 1000).filter(bool))
def test_any_other_target_is_wrong(chain, offset):
    problem = problem_of(list(chain.numbers), chain.value() + offset)
    assert grade_countdown(f"answer : {chain}", problem, "stop").status == "wrong"


@given(st.text(), st.sampled_from(["stop", "length", ""]))
def test_no_text_breaks_the_verifier(text, finish_reason):
    for completion in (text, f"answer : {text}", f"answer : 3 + 4 {text}"):
        verdict = grade_countdown(completion, problem_of([3, 4, 5], 35), finish_reason)
        assert verdict.status in ("correct", "wrong", "unparsed", "truncated")


@given(chains, st.randoms(use_true_random=False))
def test_canonical_expression_keeps_value_and_numbers_and_merges_swaps(chain, rng):
    canonical = parse_chain(canonical_expression(str(chain)))
    assert canonical is not None
    assert canonical.value() == chain.value()
    assert sorted(canonical.numbers) == sorted(chain.numbers)
    assert canonical_expression(str(canonical)) == str(canonical)
    signs = ("*" if chain.operators[:1] == ("*",) else "+", *chain.operators)
    swappable = [
        i
        for i in range(len(signs) - 1)
        if (signs[i] == "*") == (signs[i + 1] == "*") and not (i == 0 and signs[1] == "-")
    ]
    if swappable:
        i = rng.choice(swappable)
        steps = list(zip(signs, chain.numbers, strict=True))
        steps[i], steps[i + 1] = steps[i + 1], steps[i]
        swapped = Chain(tuple(n for _, n in steps), tuple(sign for sign, _ in steps[1:]))
        assert canonical_expression(str(swapped)) == str(canonical)


def test_committed_splits_are_what_the_generator_writes(tmp_path):
    for file in write_splits(tmp_path):
        committed = REPO / "benchmarks" / file.relative_to(tmp_path)
        assert committed.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("countdown/train", "5b283eb266f7ad7059b288919484ef9ff5abacd6462ff1df4f3ea523952ea656"),
        ("countdown/validation", "c5cfa1b7ae74a5424841325a689f6b6fddf460317bd439a0e984ad4cef7f2114"),
        ("countdown/test", "7ce8428c2c88cbaf40091f6eddabbf00756e8ec236462604faae120cce48fd44"),
        ("countdown-ood/validation", "3ae11d8938851b92aa1b8eee1fd92e240fb9974ebd792c52af455e123959835c"),
        ("countdown-ood/test", "2a06a7047a9e371a524e282d1de28e330d33b2084c43c61f9645d5efd5ceea93"),
    ],
)
def test_splits_that_runs_were_measured_on_stay_as_they_are(split, digest):
    content = (REPO / "benchmarks" / f"{split}.jsonl").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest


def committed_rows():
    for benchmark, parts in {**SPLITS, HARD: {"test": {}}}.items():
        for part in parts:
            for line in (REPO / "benchmarks" / benchmark / f"{part}.jsonl").read_text().splitlines():
                yield benchmark, part, json.loads(line)


def test_splits_and_corpus_share_no_problem_even_reordered():
    seen = {}
    for benchmark, part, row in committed_rows():
        key = (tuple(sorted(row["numbers"])), row["target"])
        assert key not in seen, f"{benchmark} {part} {row['id']} is also {seen[key]}"
        seen[key] = f"{benchmark} {part} {row['id']}"
    assert len(seen) == 2200 + 4 * 200 + 120
    for _, response in islice(documents(seed=0), 20_000):
        _, target, _, *rest = response.split()
        digits = tuple(sorted(map(int, rest[: rest.index(".")])))
        assert (digits, int(target)) not in seen


def test_every_committed_solution_solves_its_problem():
    for benchmark, _, row in committed_rows():
        verdict = grade_countdown(
            f"answer : {row['solution']}", problem_of(row["numbers"], row["target"]), "stop"
        )
        assert verdict.status == "correct"
        assert all(0 <= value < LIMIT for value in parse_chain(row["solution"]).running_values())
        assert row["problem"] == CountdownProblem(tuple(row["numbers"]), row["target"]).text
        assert len(row["numbers"]) in {"countdown": (3, 4), "countdown-ood": (5,), HARD: (4, 5)}[benchmark]
        assert 10 <= row["target"] <= 60


def all_solutions(numbers):
    """Target -> the canonical expressions of all chains over the numbers, by trying every chain."""
    found = {}
    for order in set(permutations(numbers)):
        for signs in product("+-*", repeat=len(numbers) - 1):
            chain = Chain(order, signs)
            found.setdefault(chain.value(), set()).add(canonical_expression(str(chain)))
    return found


@pytest.mark.parametrize(
    "digits", [(2, 5), (1, 1, 4), (2, 3, 7, 7), (1, 2, 8, 9), (1, 1, 4, 4), (1, 2, 3, 5, 9)]
)
def test_solutions_are_all_canonical_expressions_that_reach_the_target(digits):
    tried = all_solutions(digits)
    for target in range(-5, 61):
        found = [str(solution) for solution in solutions(digits, target)]
        assert len(set(found)) == len(found)
        assert set(found) == tried.get(target, set())


def test_the_hard_problems_have_few_solutions():
    rows = [row for benchmark, _, row in committed_rows() if benchmark == HARD]
    tiers = Counter()
    for row in rows:
        found = list(solutions(tuple(row["numbers"]), row["target"]))
        assert (row["digits"], row["solutions"]) == (len(row["numbers"]), len(found))
        assert row["solution"] in map(str, found)
        assert CountdownProblem(tuple(row["numbers"]), row["target"]).part == "test"
        tiers[
            next(t for t in HARD_TIERS if t.digits == row["digits"] and t.fewest <= len(found) <= t.most)
        ] += 1
    assert tiers == {tier: tier.problems for tier in HARD_TIERS}
    assert load_problems(load_card(HARD), limit=1)[0].extra["solutions"] == rows[0]["solutions"]


def test_cards_carry_the_facts_of_a_problem():
    card = load_card("countdown")
    problem = load_problems(card, limit=1)[0]
    assert problem.extra["numbers"] == [3, 8, 4]
    assert problem.extra["target"] == 29
    assert grade_countdown(f"answer : {problem.gold}", problem, "stop").status == "correct"
    assert len(training_problems(card)) == 2200


def test_parts_get_their_share_of_all_problems():
    rng = random.Random(0)
    parts = [
        CountdownProblem(tuple(rng.choices(range(1, 10), k=5)), rng.randint(10, 60)).part
        for _ in range(20_000)
    ]
    # Five standard deviations of a binomial share.
    assert parts.count("corpus") / 20_000 == pytest.approx(0.50, abs=0.018)
    assert parts.count("test") / 20_000 == pytest.approx(0.10, abs=0.011)


def test_documents_are_what_the_study_needs():
    drawn = list(islice(documents(seed=1), 4000))
    promptless = sum(not prompt for prompt, _ in drawn) / len(drawn)
    assert promptless == pytest.approx(0.25, abs=0.035)
    vocabulary = {*WORDS, *map(str, range(LIMIT))}
    statuses = []
    for prompt, response in drawn:
        words = response.split()
        assert {*words, *prompt.split()} <= vocabulary
        assert response == " ".join(words)
        assert len(words) <= MAX_RESPONSE_WORDS
        digits = [int(word) for word in words[3 : words.index(".")]]
        if prompt:
            assert prompt == CountdownProblem(tuple(digits), int(words[1])).text
        statuses.append(grade_countdown(response, problem_of(digits, int(words[1])), "stop").status)
    assert set(statuses) == {"correct", "wrong"}
    assert any("wait" in response and "let me check" in response for _, response in drawn)


def test_the_default_corpus_is_that_of_the_shipped_base():
    drawn = json.dumps(list(islice(documents(seed=0), 2000)))
    digest = "3b64b434bf2639c637c813df8d876c63e271fd9f7c344bcc59d48b053d02202e"
    assert hashlib.sha256(drawn.encode()).hexdigest() == digest


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_corpora_of_one_seed_differ_in_form_alone(share):
    default = list(islice(documents(seed=2), 2000))
    other = list(islice(documents(2, Corpus(share, restate=False)), 2000))
    for (prompt, response), (other_prompt, cut) in zip(default, other, strict=True):
        restated, first_try, rest = response.partition("try")
        assert cut == first_try + rest
        words = restated.split()
        problem = CountdownProblem(tuple(map(int, words[3:-1])), int(words[1]))
        assert other_prompt in ("", problem.text)
        # The promptless documents of the smaller share are among those of the greater.
        assert bool(prompt) >= bool(other_prompt) if share > 0.25 else bool(other_prompt) >= bool(prompt)
    promptless = sum(not prompt for prompt, _ in other) / len(other)
    assert promptless == pytest.approx(share, abs=0.055)  # five standard deviations at most


def test_a_flawless_author_is_always_right():
    flawless = {"insight": 1.0, "slip": 0.0, "wishful": 0.0, "check": 1.0}
    author = replace(AUTHORS["careful"], **flawless)
    rng = random.Random(0)
    for digits in (3, 4, 5):
        problem, solution = draw_problem("corpus", digits, rng)
        words = write_response(problem, solution, author, rng)
        text = " ".join(words)
        assert text.endswith(f"ok answer : {solution}")
        assert text.count("try") == 1
