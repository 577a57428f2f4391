"""Losses of the papers, written out for a batch of samples with plain Python; see tests/training.py."""

import statistics

from tests.training import (
    START,
    Policy,
    error,
    surrogate,
)

BOUND = 1e-5
GROUP = 4


def groups(batch):
    return [batch[start : start + GROUP] for start in range(0, len(batch), GROUP)]


def weigh(batch, estimate):
    """[(sample, advantage)] with `estimate`: rewards of a group -> its advantages."""
    return [
        pair
        for group in groups(batch)
        for pair in zip(group, estimate([sample.reward for sample in group]), strict=True)
    ]


def centred(rewards):
    return [reward - statistics.fmean(rewards) for reward in rewards]


def normalized(rewards, eps=1e-6):
    return [value / (statistics.stdev(rewards) + eps) for value in centred(rewards)]


def leave_one_out(rewards):
    return [reward - (sum(rewards) - reward) / (len(rewards) - 1) for reward in rewards]


def by_tokens(batch, eps=1e-6):
    """REINFORCE++: one mean and one std over all tokens of the batch."""
    tokens = [sample.reward for sample in batch for _ in sample.completion]
    mean, std = statistics.fmean(tokens), statistics.pstdev(tokens)
    return [(sample, (sample.reward - mean) / (std + eps)) for sample in batch]


def negative(weighed):
    return [(sample, weight) for sample, weight in weighed if weight < 0]


def positive(weighed):
    return [(sample, weight) for sample, weight in weighed if weight > 0]


def tokens(samples):
    return sum(len(sample.completion) for sample in samples)


def erased(sample):
    return [START]


def prompted(sample):
    return sample.prompt


def objective(policy, weighed, before, old=None, **clip):
    """Sum over samples and tokens of the clipped surrogate; before: what stands before a completion."""
    total = 0.0
    for sample, weight in weighed:
        log_probs = policy.log_probs(before(sample), sample.completion)
        then = None if old is None else old.log_probs(before(sample), sample.completion)
        total = total + surrogate(log_probs, weight, then, **clip).sum()
    return total


def token_mean(policy, weighed, before, counted=None, **named):
    """The loss: objective over tokens; of the samples `counted`, or of those that are weighed."""
    counted = [sample for sample, _ in weighed] if counted is None else counted
    return -objective(policy, weighed, before, **named) / tokens(counted)


def check(update, policy, loss):
    assert error(update.gradient, policy.gradient(loss)) < BOUND


def check_run(model, run, loss, updates=2):
    """loss: (policy, batch) -> what each update of the run should have minimized."""
    assert len(run.updates) == updates
    for step, update in enumerate(run.updates):
        policy = Policy(model, update.weights)
        check(update, policy, loss(policy, run.batch(step)))


def nsr_prerl(policy, batch):
    return token_mean(policy, negative(weigh(batch, centred)), erased)


def grpo(policy, batch, estimate=normalized):
    return token_mean(policy, weigh(batch, estimate), prompted, counted=batch)


def contributing_nsr(batch):
    return negative(weigh(batch, centred))


def check_windows(model, run, windows, iterations, before, weighing, denominator, **clip):
    """Each update of one rollout batch, with the policy that sampled it as the old one.

    Rows are dealt to the updates at random: taken from what the loss saw, each row once in a pass.
    Returns how many tokens had left the clip range, below and above.
    """
    batch = run.batch(0)
    weighed = weighing(batch)
    by_completion = {sample.completion: (sample, weight) for sample, weight in weighed}
    old = Policy(model, run.updates[0].weights)
    assert len(run.updates) == windows * iterations
    left = [0, 0]
    for iteration in range(iterations):
        dealt = [run.updates[iteration * windows + window].seen for window in range(windows)]
        assert sorted(row[1] for rows in dealt for row in rows) == sorted(by_completion)
        for window, rows in enumerate(dealt):
            update = run.updates[iteration * windows + window]
            mine = [by_completion[completion] for _, completion in rows]
            policy = Policy(model, update.weights)
            loss = -objective(policy, mine, before, old=old, **clip) / denominator(batch, weighed, mine)
            check(update, policy, loss)
            for sample, _ in mine:
                ratio = (
                    policy.log_probs(before(sample), sample.completion)
                    - old.log_probs(before(sample), sample.completion)
                ).exp()
                left[0] += int((ratio < 0.8).sum())
                left[1] += int((ratio > 1.2).sum())
    return left
