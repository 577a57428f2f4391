"""Advantage estimators against values computed by hand from the papers' formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from prerl_train.advantages import (
    batch_normalized,
    degenerate_groups,
    generalized_advantages,
    group_centred,
    group_normalized,
    leave_one_out,
    overlong_penalty,
    unit_weights,
)

NAN = float("nan")


def rows(tensor):
    return [pytest.approx(row, abs=1e-6) for row in tensor]


def check(found, expected):
    assert found.shape == torch.tensor(expected).shape
    assert found.tolist() == rows(expected)


# --- By hand -------------------------------------------------------------------------------------


def test_centred_by_hand():
    # Means 1/4, 1/2, 1, 0: a wrong sample weighs minus its group's accuracy.
    rewards = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).float()
    check(
        group_centred(rewards),
        [[0.75, -0.25, -0.25, -0.25], [-0.5, 0.5, 0.5, -0.5], [0.0] * 4, [0.0] * 4],
    )


def test_normalized_by_hand():
    # One right of four: variance with Bessel's correction (0.75^2 + 3 * 0.25^2) / 3 = 1/4, std 1/2.
    # Two right of four: 4 * 0.25 / 3 = 1/3. Two of two: 0.5 / 1, std sqrt(1/2).
    one = [0.75 / 0.500001, *[-0.25 / 0.500001] * 3]
    two = 0.5 / (math.sqrt(1 / 3) + 1e-6)
    rewards = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]).float()
    check(group_normalized(rewards), [one, [-two, two, two, -two], [0.0] * 4])
    pair = 0.5 / (math.sqrt(0.5) + 1e-6)
    check(group_normalized(torch.tensor([[1.0, 0.0]])), [[pair, -pair]])


def test_the_std_of_few_rewards_has_no_other_divisor():
    # Rewards 0, 1, 5: mean 2, squares 4 + 1 + 9 = 14, over 2 = 7.
    std = math.sqrt(7)
    check(group_normalized(torch.tensor([[0.0, 1.0, 5.0]]), 0.0), [[-2 / std, -1 / std, 3 / std]])
    check(
        group_normalized(torch.tensor([[0.0, 1.0, 5.0]]), 1.0),
        [[-2 / (std + 1), -1 / (std + 1), 3 / (std + 1)]],
    )


def test_leave_one_out_by_hand():
    # r_i - mean of the others: 1 - 0; 0 - 1/3; 0 - 2/3 and 1 - 1/3 of two right in four.
    rewards = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]).float()
    third = 1 / 3
    check(
        leave_one_out(rewards),
        [[1.0, -third, -third, -third], [-2 * third, 2 * third, 2 * third, -2 * third], [0.0] * 4],
    )
    check(leave_one_out(torch.tensor([[3.0, 1.0]])), [[2.0, -2.0]])


def test_batch_normalized_weighs_by_tokens():
    # Lengths 1, 3 and 2, 2: tokens 1 0 0 0 | 1 1 1 1, mean 5/8, variance 5/8 * 3/8 = 15/64.
    std = math.sqrt(15) / 8 + 1e-6
    found = batch_normalized(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1, 3], [2, 2]]))
    high, low = 0.375 / std, -0.625 / std
    check(found, [[high, low], [high, high]])
    # The tokens' mean is 0 and their variance 1.
    tokens = torch.tensor([high] + [low] * 3 + [high] * 4)
    assert tokens.mean().item() == pytest.approx(0, abs=1e-6)
    assert tokens.square().mean().item() == pytest.approx(1, abs=1e-5)


def test_batch_normalized_takes_groups_of_one():
    # Lengths 2, 1, 1, 4 with rewards 1, 0, 0, 1: mean 6/8, variance 3/16.
    std = math.sqrt(3) / 4 + 1e-6
    found = batch_normalized(torch.tensor([[1.0], [0.0], [0.0], [1.0]]), torch.tensor([[2], [1], [1], [4]]))
    check(found, [[0.25 / std], [-0.75 / std], [-0.75 / std], [0.25 / std]])


def test_unit_weights_keep_the_sign():
    assert unit_weights(torch.tensor([[0.75, -0.25], [0.0, -0.5]])).tolist() == [[1.0, -1.0], [0.0, -1.0]]


def test_overlong_penalty_by_hand():
    # Limit 16, buffer 4: none up to 12 tokens, then a quarter for each of the last four.
    lengths = torch.tensor([[0, 11, 12, 13], [14, 15, 16, 20]])
    check(overlong_penalty(lengths, 16, 4), [[0.0, 0.0, 0.0, -0.25], [-0.5, -0.75, -1.0, -1.0]])
    check(overlong_penalty(lengths, 16, 4, 0.5), [[0.0, 0.0, 0.0, -0.125], [-0.25, -0.375, -0.5, -0.5]])
    check(overlong_penalty(lengths, 16, 0), [[0.0] * 4] * 2)


def test_degenerate_groups_by_hand():
    rewards = torch.tensor([[1, 1], [0, 0], [0, 1], [NAN, 1], [NAN, NAN]])
    assert degenerate_groups(rewards).tolist() == [True, True, False, True, True]
    assert degenerate_groups(torch.tensor([[1.0, NAN, 0.0]])).tolist() == [False]
    assert degenerate_groups(torch.tensor([[1.0], [0.0]])).tolist() == [True, True]


# --- Samples without a score, groups of one ------------------------------------------------------


def test_a_sample_without_score_gets_nothing_and_has_no_say():
    rewards = torch.tensor([[1.0, NAN, 0.0, 0.0], [NAN, NAN, NAN, 1.0], [NAN] * 4])
    third = 1 / 3
    check(group_centred(rewards), [[2 * third, 0.0, -third, -third], [0.0] * 4, [0.0] * 4])
    # Three scored: squares 4/9 + 1/9 + 1/9 = 2/3, over 2 = 1/3.
    std = math.sqrt(third) + 1e-6
    check(
        group_normalized(rewards), [[2 * third / std, 0.0, -third / std, -third / std], [0.0] * 4, [0.0] * 4]
    )
    check(leave_one_out(rewards), [[1.0, 0.0, -0.5, -0.5], [0.0] * 4, [0.0] * 4])
    # Tokens of scored samples: 2 of reward 1, then 3 and 1 of 0, and 2 of 1.
    found = batch_normalized(
        torch.tensor([[1.0, NAN, 0.0], [0.0, 1.0, NAN]]), torch.tensor([[2, 9, 3], [1, 2, 5]])
    )
    half = 0.5 / (0.5 + 1e-6)
    check(found, [[half, 0.0, -half], [-half, half, 0.0]])


def test_groups_of_one_give_nothing_where_samples_are_compared():
    rewards = torch.tensor([[1.0], [0.0], [NAN]])
    for estimate in (group_centred, group_normalized, leave_one_out):
        assert estimate(rewards).tolist() == [[0.0], [0.0], [0.0]]


# --- GAE -----------------------------------------------------------------------------------------


def test_gae_without_discount_is_what_is_still_to_come_minus_the_value():
    rewards = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.0, 0.0]])
    values = torch.tensor([[0.5, 0.25, 0.75, 9.0], [0.1, 0.2, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    advantages, returns = generalized_advantages(rewards, values, mask)
    check(advantages, [[0.5, 0.75, 0.25, 0.0], [0.4, 0.3, 0.0, 0.0]])
    check(returns, [[1.0, 1.0, 1.0, 0.0], [0.5, 0.5, 0.0, 0.0]])


def test_gae_by_hand():
    # gamma 0.9, lambda 0.5: deltas 0.9 * 0.4 - 0.2 = 0.16, 1 - 0.4 = 0.6 (nothing comes after).
    # A = 0.16 + 0.45 * 0.6 = 0.43, 0.6.
    rewards, values = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.2, 0.4, 5.0]])
    advantages, returns = generalized_advantages(rewards, values, torch.tensor([[1, 1, 0]]), 0.9, 0.5)
    check(advantages, [[0.43, 0.6, 0.0]])
    check(returns, [[0.63, 1.0, 0.0]])


def test_gae_with_lambda_zero_is_one_step():
    rewards, values = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.5, 0.25]])
    advantages, _ = generalized_advantages(rewards, values, torch.ones(1, 2), 0.5, 0.0)
    check(advantages, [[0.5 * 0.25 - 0.5, 1.75]])


# --- Properties ----------------------------------------------------------------------------------

shapes = hypothesis_numpy.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6)
finite = hypothesis_numpy.arrays(
    "float32", shapes, elements=st.sampled_from([0.0, 1.0, 0.1, 0.3, -0.7, 1.1, 3.3, -1 / 3])
)


@given(finite)
@settings(max_examples=200, deadline=None)
def test_group_estimators_agree_up_to_scale_and_sum_to_zero(array):
    rewards = torch.from_numpy(array)
    size = rewards.size(1)
    centred, ones = group_centred(rewards), leave_one_out(rewards)
    assert centred.sum(1).abs().max() < 1e-5
    if size > 1:
        assert torch.allclose(ones, centred * size / (size - 1), atol=1e-6)
        std = rewards.std(1, keepdim=True)
        assert torch.allclose(group_normalized(rewards) * (std + 1e-6), centred, atol=1e-5)
        for column in range(size):
            others = torch.cat([rewards[:, :column], rewards[:, column + 1 :]], 1).mean(1)
            assert torch.allclose(ones[:, column], rewards[:, column] - others, atol=1e-5)


@given(st.floats(-10, 10, width=32), st.integers(1, 33), st.integers(1, 5), st.integers(0, 4))
@settings(max_examples=300, deadline=None)
def test_samples_that_agree_give_exactly_nothing(value, size, problems, unscored):
    # Not merely little: a row counts as contributing where its advantage is not 0.
    rewards = torch.full((problems, size), value)
    rewards[0, : min(unscored, size)] = NAN
    lengths = torch.arange(1, problems * size + 1).view(problems, size)
    for found in (
        group_centred(rewards),
        group_normalized(rewards),
        leave_one_out(rewards),
        batch_normalized(rewards, lengths),
    ):
        assert not found.any()


@given(finite, st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_sample_without_score_is_as_good_as_absent(array, column):
    rewards = torch.from_numpy(array)
    column = min(column, rewards.size(1))
    with_one = torch.cat([rewards[:, :column], torch.full((len(rewards), 1), NAN), rewards[:, column:]], 1)
    for estimate in (
        group_centred,
        group_normalized,
        leave_one_out,
        lambda r: batch_normalized(r, torch.ones_like(r).long()),
    ):
        found = estimate(with_one)
        assert not found[:, column].any()
        kept = torch.cat([found[:, :column], found[:, column + 1 :]], 1)
        assert torch.allclose(kept, estimate(rewards), atol=2e-5)


@given(finite, st.data())
@settings(max_examples=100, deadline=None)
def test_the_batch_normalizer_is_that_of_a_list_of_tokens(array, data):
    rewards = torch.from_numpy(array)
    sizes = data.draw(
        st.lists(st.integers(1, 9), min_size=rewards.numel(), max_size=rewards.numel()), label="lengths"
    )
    lengths = torch.tensor(sizes).view_as(rewards)
    tokens = rewards.flatten().double().repeat_interleave(lengths.flatten())
    expected = (rewards - tokens.mean()) / (tokens.std(correction=0) + 1e-6)
    if rewards.min() < rewards.max():
        assert torch.allclose(batch_normalized(rewards, lengths), expected.float(), atol=1e-4)
