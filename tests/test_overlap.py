"""Cutting texts, exact repeats and ROUGE-L: values by hand, and properties against the plain definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prerl_eval.overlap import common_subsequence, cut_text, repeats, rouge_l


@pytest.mark.parametrize(
    ("text", "share", "parts"),
    [
        ("one two three four five", 0.6, ("one two three", " four five")),
        ("one two three four five", 0.4, ("one two", " three four five")),
        (" one\ttwo\n\nthree ", 0.6, ("one\ttwo", "\n\nthree")),
        ("one two", 0.01, ("one", " two")),
        ("one two", 0.99, ("one", " two")),
        ("alone", 0.6, None),
        ("", 0.6, None),
    ],
)
def test_texts_are_cut_behind_a_word(text, share, parts):
    assert cut_text(text, share) == parts


@given(st.text(max_size=80), st.floats(0.01, 0.99))
def test_no_part_of_a_cut_text_is_lost_or_empty(text, share):
    parts = cut_text(text, share)
    if parts is None:
        assert len(text.split()) < 2
    else:
        assert "".join(parts) == text.strip()
        assert all(part.split() for part in parts)
        assert parts[0] == parts[0].rstrip()
        first, words = len(parts[0].split()), len(text.split())
        assert first in (1, words - 1) or abs(first - share * words) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("rest", "continuation", "same"),
    [
        (" is $x$?", " is $x$?", True),
        (" is $x$?", "\n is  $x$?\nSolution: 3", True),
        (" is $x$?", " is $x$", False),
        (" is $x$?", " is $ x $?", False),
        (" is $x$?", " Is $x$?", False),
        (" and is 12", " and is 120", False),
        (" and is 12", " and is 12.", True),
        (" by 5 apples", " by 5 apples each", True),
        (" by 5 apple", " by 5 apples", False),
        (" rest", "", False),
    ],
)
def test_a_continuation_repeats_the_rest_only_as_a_whole(rest, continuation, same):
    assert repeats(rest, continuation) is same


@pytest.mark.parametrize(
    ("rest", "continuation", "expected"),
    [
        (" the cat sat", " the cat sat on the mat", 1.0),  # cut to three words
        (" the cat sat", " The CAT, sat!", 1.0),
        (" the cat sat down", " the dog sat down", 3 / 4),
        (" the cat sat down", " cat sat", 2 * 2 / (4 + 2)),
        (" a b c d", " d c b a", 1 / 4),
        (" a b c", " x y z", 0.0),
        (" a b c", "", 0.0),
        (" ?", " ? yes", 1.0),
        (" ?", " !", 0.0),
    ],
)
def test_rouge_l_by_hand(rest, continuation, expected):
    assert rouge_l(rest, continuation) == pytest.approx(expected)


WORDS = st.lists(st.sampled_from("abc"), max_size=12)


@given(WORDS, WORDS)
def test_the_longest_common_subsequence_is_that_of_the_textbook(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else longest
    assert common_subsequence(a, b) == table[-1][-1]
