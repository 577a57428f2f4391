"""Micro-batches cut by length: complete, within bounds, and as small as brute force finds them."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from prerl_train.facts import UpdateFacts
from prerl_train.packing import cut_batch, idle_batch, plan_update


def area(prompts, completions, rows):
    """Padded tokens of one micro-batch."""
    if not rows:
        return 0
    return len(rows) * (max(prompts[row] for row in rows) + max(completions[row] for row in rows))


def total_area(prompts, completions, plan):
    return sum(area(prompts, completions, rows) for rows in plan)


def plain_split(total, most_rows):
    """Equal numbers of rows in the order given, as a trainer without a plan splits them."""
    return [list(range(start, min(start + most_rows, total))) for start in range(0, total, most_rows)]


def partitions(rows):
    """All ways to put rows into micro-batches."""
    if not rows:
        yield []
        return
    first, rest = rows[0], rows[1:]
    for smaller in partitions(rest):
        yield [[first], *smaller]
        for i, piece in enumerate(smaller):
            yield [*smaller[:i], [first, *piece], *smaller[i + 1 :]]


@st.composite
def updates(draw, most=24, most_prompt=30):
    """(prompts, completions, count, most_rows) of an update whose rows fit the plain split."""
    count, most_rows = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    total = draw(st.integers(0, min(most, count * most_rows)))
    lengths = st.lists(st.integers(1, most_prompt), min_size=total, max_size=total)
    tokens = st.lists(st.integers(0, 40), min_size=total, max_size=total)
    return draw(lengths), draw(tokens), count, most_rows


# --- The plan ------------------------------------------------------------------------------------


def test_a_plan_by_hand():
    # 8 + 8 and 2 * 3 = 6 and 3 * 2 = 6 of one prompt token each: (8+1)*2 + (3+1)*2 + (2+1)*3.
    completions = [2, 8, 3, 2, 8, 3, 2]
    plan = plan_update([1] * 7, completions, 3, 3)
    assert sorted(map(sorted, plan)) == [[0, 3, 6], [1, 4], [2, 5]]
    # One long row is left alone where short ones may share a micro-batch.
    assert sorted(map(sorted, plan_update([1] * 5, [99, 3, 3, 3, 3], 2, 3))) == [[0], [1, 2, 3, 4]]


@given(updates())
@settings(max_examples=300, deadline=None)
def test_every_row_is_in_one_micro_batch(update):
    prompts, completions, count, most_rows = update
    plan = plan_update(prompts, completions, count, most_rows)
    assert len(plan) == count
    assert sorted(itertools.chain(*plan)) == list(range(len(prompts)))


@given(updates())
@settings(max_examples=300, deadline=None)
def test_no_micro_batch_is_larger_than_the_plain_splits_largest_may_be(update):
    prompts, completions, count, most_rows = update
    if prompts:
        bound = most_rows * (max(prompts) + max(completions))
        for rows in plan_update(prompts, completions, count, most_rows):
            assert area(prompts, completions, rows) <= bound


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=30), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_more_rows_than_the_plain_split_holds_are_spread(rows, count):
    # A process that drew more useful groups than others (dynamic sampling, joint updates).
    prompts, completions = [row[0] for row in rows], [row[1] for row in rows]
    plan = plan_update(prompts, completions, count, 1)
    assert sorted(itertools.chain(*plan)) == list(range(len(rows)))
    bound = -(-len(rows) // count) * (max(prompts) + max(completions))
    assert all(area(prompts, completions, piece) <= bound for piece in plan)


@given(updates())
@settings(max_examples=500, deadline=None)
def test_padding_is_never_more_than_in_the_plain_split(update):
    prompts, completions, count, most_rows = update
    plan = plan_update(prompts, completions, count, most_rows)
    plain = plain_split(len(prompts), most_rows)
    assert total_area(prompts, completions, plan) <= total_area(prompts, completions, plain)


def test_prompts_and_completions_of_opposite_lengths():
    # Sorted by the sum, long prompts would lie with long completions in every micro-batch.
    prompts, completions = [10, 10, 1, 1], [3, 1, 11, 9]
    plan = plan_update(prompts, completions, 2, 2)
    assert total_area(prompts, completions, plan) == 2 * 13 + 2 * 12


@given(updates(most=6, most_prompt=1))
@settings(max_examples=150, deadline=None)
def test_with_erased_prompts_no_partition_pads_less(update):
    prompts, completions, count, most_rows = update
    bound = most_rows * (1 + max(completions, default=0))
    allowed = [
        parts
        for parts in partitions(list(range(len(prompts))))
        if len(parts) <= count and all(area(prompts, completions, part) <= bound for part in parts)
    ]
    best = min(total_area(prompts, completions, parts) for parts in allowed)
    assert total_area(prompts, completions, plan_update(prompts, completions, count, most_rows)) == best


def test_an_update_without_rows_is_all_idle():
    assert plan_update([], [], 3, 4) == [[], [], []]


# --- Cutting -------------------------------------------------------------------------------------


def make_batch(prompts, completions, columns=(9, 12), seed=0):
    """Left-padded prompts and right-padded completions of these lengths, wider than any of them."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(prompts), columns[0]), (len(prompts), columns[1])
    prompt_mask = torch.stack([torch.arange(columns[0]) >= columns[0] - length for length in prompts]).long()
    mask = torch.stack([torch.arange(columns[1]) < length for length in completions]).long()
    return {
        "prompt_ids": torch.randint(6, 60, shape[0], generator=generator) * prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(6, 60, shape[1], generator=generator) * mask,
        "completion_mask": mask,
        "advantages": torch.linspace(-1, 1, len(prompts)),
        "old_per_token_logps": torch.randn(shape[1], generator=generator),
        "importance_sampling_ratio": torch.rand(len(prompts), 1, generator=generator),
        "num_items_in_batch": torch.tensor(5),
    }


def unpadded(batch):
    """Each row without its padding."""
    return [
        (
            batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist(),
            batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist(),
            batch["old_per_token_logps"][row][batch["completion_mask"][row].bool()].tolist(),
            batch["advantages"][row].item(),
            batch["importance_sampling_ratio"][row].tolist(),
        )
        for row in range(len(batch["advantages"]))
    ]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=8), st.data())
@settings(max_examples=100, deadline=None)
def test_cutting_takes_away_padding_only(rows, data):
    batch = make_batch([row[0] for row in rows], [row[1] for row in rows])
    chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, unique=True))
    part = cut_batch(batch, chosen)
    assert unpadded(part) == [unpadded(batch)[row] for row in chosen]
    assert part["prompt_ids"].shape == (len(chosen), max(rows[row][0] for row in chosen))
    assert part["completion_ids"].shape == (len(chosen), max(1, *(rows[row][1] for row in chosen)))
    assert part["old_per_token_logps"].shape == part["completion_mask"].shape == part["completion_ids"].shape
    assert part["num_items_in_batch"] == 5
    assert all(torch.equal(batch[key], value) for key, value in make_batch(*zip(*rows, strict=True)).items())


# --- A micro-batch that has nothing to do --------------------------------------------------------


def test_an_idle_micro_batch_adds_no_gradient_and_no_token(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    batch = make_batch([3, 2], [4, 2])
    idle = idle_batch(batch)
    ids = torch.cat([idle["prompt_ids"], idle["completion_ids"]], 1)
    assert ids.shape == (1, 2)
    logits = model(ids).logits[:, :-1].log_softmax(-1)
    log_probs = logits.gather(2, idle["completion_ids"][:, :, None]).squeeze(2)
    mask = idle["completion_mask"] * idle["tool_mask"]
    loss = -(log_probs * idle["advantages"][:, None] * mask).sum()
    loss.backward()
    # Every weight takes part, or processes would wait for each other; none is moved.
    gradients = [value.grad for value in model.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)

    class Alone:
        @staticmethod
        def reduce(tensor, reduction):
            return tensor

    facts = UpdateFacts(Alone())
    facts.add_tokens(idle, log_probs.detach() + 9, torch.full((1, 1), 7.0), 0.2, 0.2)
    assert facts._sums.tolist() == [0.0] * 5


@pytest.mark.parametrize("columns", [(9, 12), (1, 1)])
def test_an_idle_micro_batch_keeps_every_entry_and_its_kind(columns):
    batch = make_batch([1, 1], [1, 1], columns)
    idle = idle_batch(batch)
    assert batch.keys() <= idle.keys()
    for key in ("prompt_ids", "completion_ids", "prompt_mask", "completion_mask", "old_per_token_logps"):
        assert idle[key].shape == (1, 1)
        assert idle[key].dtype == batch[key].dtype
    by_token = idle_batch({**batch, "advantages": torch.ones(2, columns[1])})
    assert by_token["advantages"].shape == (1, 1)
    assert by_token["advantages"].sum() == 0
