"""The gradient of an update equals autograd of the formula, written out by hand one sample at a time.

Each test trains a tiny model and recomputes what its updates should have been from the papers'
formulas, in float64, without padding, batching or code of prerl_train. All errors are below 1e-5.
A new release of TRL is good when these pass.
"""

import math
import statistics

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from trl import GRPOConfig, GRPOTrainer

from tests.tiny import save_tokenizer
from tests.training import (
    EOS,
    LONGEST,
    MIXED,
    ONE_OF_TWO,
    START,
    UNEVEN,
    Policy,
    Script,
    error,
    surrogate,
    train,
)

BOUND = 1e-5
GROUP = 4


# --- Advantages and losses of the papers ---------------------------------------------------------


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


# --- NSR-PreRL, the method's own update ----------------------------------------------------------


def nsr_prerl(policy, batch):
    return token_mean(policy, negative(weigh(batch, centred)), erased)


@pytest.mark.parametrize(
    ("rows", "accumulation"), [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)], ids=lambda value: str(value)
)
def test_nsr_prerl_whatever_the_micro_batches(tiny_model, tmp_path, rows, accumulation):
    run = train(
        tiny_model,
        tmp_path,
        algorithm="nsr-prerl",
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
    )
    check_run(tiny_model, run, nsr_prerl)
    # Only wrong samples of groups with a right one were looked at, behind the start token alone.
    for step, update in enumerate(run.updates):
        expected = [((START,), sample.completion) for sample, _ in negative(weigh(run.batch(step), centred))]
        assert sorted(update.seen) == sorted(expected)


def test_the_stop_token_is_trained(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", max_steps=1)
    policy = Policy(tiny_model)
    weighed = negative(weigh(run.batch(0), centred))
    assert any(sample.completion[-1] == EOS for sample, _ in weighed)
    total = 0.0
    for sample, weight in weighed:
        log_probs = policy.log_probs([START], sample.completion)
        ends = sample.completion[-1] == EOS
        total = total + surrogate(log_probs, weight)[: -1 if ends else None].sum()
    without = policy.gradient(-total / tokens(sample for sample, _ in weighed))
    assert error(run.updates[0].gradient, without) > 0.05


def test_positions_restart_at_the_start_token(tmp_path):
    # A model that learned a vector for each position; rotary ones cannot tell where a text begins.
    torch.manual_seed(0)
    model = tmp_path / "gpt2"
    config = GPT2Config(
        vocab_size=65, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.4,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(model)
    save_tokenizer(model)
    run = train(model, tmp_path, algorithm="nsr-prerl")
    check_run(model, run, nsr_prerl)


def test_another_start_token_is_another_gradient(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", start_token="<think>", max_steps=1)
    policy = Policy(tiny_model)
    weighed = negative(weigh(run.batch(0), centred))
    check(run.updates[0], policy, token_mean(policy, weighed, lambda sample: [3]))
    assert error(run.updates[0].gradient, policy.gradient(token_mean(policy, weighed, erased))) > 0.05


def test_the_temperature_of_sampling_is_that_of_the_update(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", temperature=0.7, max_steps=1)
    policy = Policy(tiny_model)
    weighed = negative(weigh(run.batch(0), centred))
    total = 0.0
    for sample, weight in weighed:
        ids = torch.tensor([[START, *sample.completion]])
        log_probs = (policy.model(ids).logits[0, :-1] / 0.7).log_softmax(-1)
        total = total + weight * log_probs.gather(1, ids[0, 1:, None]).sum()
    check(run.updates[0], policy, -total / tokens(sample for sample, _ in weighed))


@pytest.mark.parametrize(
    ("algorithm", "choose", "before"),
    [
        ("prerl", lambda weighed: [pair for pair in weighed if pair[1]], erased),
        ("psr-prerl", positive, erased),
        ("nsr-rl", negative, prompted),
        ("psr-rl", positive, prompted),
    ],
)
def test_the_ablations(tiny_model, tmp_path, algorithm, choose, before):
    run = train(tiny_model, tmp_path, algorithm=algorithm)
    check_run(
        tiny_model,
        run,
        lambda policy, batch: token_mean(policy, choose(weigh(batch, centred)), before),
    )


def test_constant_weights(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="nsr-prerl", sample_weight="constant")

    def loss(policy, batch):
        ones = [(sample, -1.0) for sample, _ in negative(weigh(batch, centred))]
        return token_mean(policy, ones, erased)

    check_run(tiny_model, run, loss)


# --- Several updates of one rollout batch --------------------------------------------------------


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


def contributing_nsr(batch):
    return negative(weigh(batch, centred))


@pytest.mark.parametrize(("rows", "accumulation"), [(4, 2), (2, 4), (8, 1)])
def test_steps_per_generation_above_accumulation(tiny_model, tmp_path, rows, accumulation):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="nsr-prerl",
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=2 * accumulation,
        learning_rate=3e-2,
    )
    left = check_windows(
        tiny_model,
        run,
        2,
        1,
        erased,
        contributing_nsr,
        lambda batch, weighed, mine: tokens(s for s, _ in mine),
    )
    assert sum(left) > 0


def test_grpo_with_several_updates_of_a_batch(tiny_model, tmp_path):
    # Rows of groups that agree move nothing; their tokens count, in equal parts in each update.
    run = train(
        tiny_model, tmp_path, algorithm="grpo", steps_per_generation=4, gradient_accumulation_steps=2,
        learning_rate=3e-2,
    )  # fmt: skip

    def weighing(batch):
        return [
            pair
            for group in groups(batch)
            if len({sample.reward for sample in group}) > 1
            for pair in weigh(group, normalized)
        ]

    def denominator(batch, weighed, mine):
        return tokens(s for s, _ in mine) + (tokens(batch) - tokens(s for s, _ in weighed)) / 2

    check_windows(tiny_model, run, 2, 1, prompted, weighing, denominator)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_two_iterations_with_active_clipping(tiny_model, tmp_path, accumulation):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="prerl",
        num_iterations=2,
        per_device_train_batch_size=16 // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=3e-2,
    )
    left = check_windows(
        tiny_model, run, 1, 2, erased, lambda batch: weigh(batch, centred), lambda batch, *_: tokens(batch)
    )
    assert min(left) > 5


def test_clip_higher_and_dual_clip(tiny_model, tmp_path):
    settings = {
        "algorithm": "prerl",
        "num_iterations": 3,
        "epsilon": 0.1,
        "epsilon_high": 0.3,
        "learning_rate": 3e-2,
        "max_steps": 3,
    }
    whole = Script(lambda *_: MIXED)
    run = train(tiny_model, tmp_path, whole, delta=1.5, **settings)
    clip = {"low": 0.1, "high": 0.3}

    def denominator(batch, *_):
        return tokens(batch)

    check_windows(
        tiny_model, run, 1, 3, erased, lambda batch: weigh(batch, centred), denominator, most=1.5, **clip
    )
    # The dual clip was at work: without it the last update would have been another.
    policy, old = Policy(tiny_model, run.updates[2].weights), Policy(tiny_model)
    plain = -objective(policy, weigh(run.batch(0), centred), erased, old=old, **clip) / tokens(run.batch(0))
    assert error(run.updates[2].gradient, policy.gradient(plain)) > 1e-3


def test_iterations_and_several_updates_together(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: MIXED),
        algorithm="nsr-prerl",
        num_iterations=2,
        steps_per_generation=4,
        gradient_accumulation_steps=2,
        learning_rate=3e-4,
        max_steps=4,
    )
    left = check_windows(
        tiny_model,
        run,
        2,
        2,
        erased,
        contributing_nsr,
        lambda batch, weighed, mine: tokens(s for s, _ in mine),
    )
    assert left[0] > 5


# --- The baselines -------------------------------------------------------------------------------


def grpo(policy, batch, estimate=normalized):
    return token_mean(policy, weigh(batch, estimate), prompted, counted=batch)


BASELINES = {
    "grpo": ({}, grpo),
    "grpo-eps": ({"advantage_eps": 0.1}, lambda p, b: grpo(p, b, lambda r: normalized(r, 0.1))),
    "rloo": ({"algorithm": "rloo"}, lambda p, b: grpo(p, b, leave_one_out)),
    "reinforce-pp": (
        {"algorithm": "reinforce-pp"},
        lambda p, b: token_mean(p, by_tokens(b), prompted, counted=b),
    ),
    "dr-grpo": (
        {"algorithm": "dr-grpo"},
        lambda p, b: -objective(p, weigh(b, centred), prompted) / (len(b) * LONGEST),
    ),
    "dr-grpo-token-mean": (
        {"algorithm": "dr-grpo", "loss_type": "dr_grpo", "max_completion_length": 20},
        lambda p, b: -objective(p, weigh(b, centred), prompted) / (len(b) * 20),
    ),
    "sequence-mean": (
        {"loss_type": "grpo"},
        lambda p, b: (
            sum(
                -objective(p, [(sample, weight)], prompted) / len(sample.completion)
                for sample, weight in weigh(b, normalized)
            )
            / len(b)
        ),
    ),
    "nsr-prerl-sequence-mean": (
        {"algorithm": "nsr-prerl", "loss_type": "grpo"},
        lambda p, b: (
            sum(
                -objective(p, [(sample, weight)], erased) / len(sample.completion)
                for sample, weight in contributing_nsr(b)
            )
            / len(contributing_nsr(b))
        ),
    ),
}


@pytest.mark.parametrize("name", BASELINES)
def test_the_baselines(tiny_model, tmp_path, name):
    settings, loss = BASELINES[name]
    run = train(tiny_model, tmp_path, **{"algorithm": "grpo", **settings})
    check_run(tiny_model, run, loss)


def test_reinforce_pp_takes_one_sample_per_problem(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, algorithm="reinforce-pp", num_generations=1, per_device_train_batch_size=3,
        gradient_accumulation_steps=3,
    )  # fmt: skip
    check_run(tiny_model, run, lambda p, b: token_mean(p, by_tokens(b), prompted, counted=b))


def test_dapo_fills_the_batch_with_groups_that_disagree(tiny_model, tmp_path):
    # Two useful groups in the first draw, three in the second, of which two are wanted.
    verdicts = {0: UNEVEN, 1: "0000 1000 1100 0111"}
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda step, draw: verdicts[draw]),
        algorithm="dapo",
        overlong_buffer=6,
        overlong_penalty=0.5,
        max_steps=1,
    )

    def punished(sample):
        over = min(max(len(sample.completion) - (LONGEST - 6), 0), 6)
        return sample.reward - 0.5 * over / 6

    first, second = groups(run.batch(0, 0)), groups(run.batch(0, 1))
    chosen = [first[1], first[3], second[1], second[2]]
    weighed = [
        pair
        for group in chosen
        for pair in zip(group, normalized([punished(sample) for sample in group]), strict=True)
    ]
    policy = Policy(tiny_model)
    check(run.updates[0], policy, token_mean(policy, weighed, prompted))
    assert max(punished(sample) - sample.reward for group in chosen for sample in group) == 0
    assert min(punished(sample) - sample.reward for group in chosen for sample in group) < 0


def test_dapo_clips_higher(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, Script(lambda *_: MIXED), algorithm="dapo", num_iterations=2, learning_rate=3e-2
    )
    check_windows(
        tiny_model, run, 1, 2, prompted,
        lambda batch: weigh(batch, normalized), lambda batch, *_: tokens(batch), high=0.28,
    )  # fmt: skip


def test_a_group_that_agrees_but_for_its_length_still_learns_from_length_in_grpo(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, Script(lambda *_: "1111 0000 1111 0000"), algorithm="grpo", overlong_buffer=6
    )

    def loss(policy, batch):
        def estimate(group):
            rewards = [s.reward - min(max(len(s.completion) - 6, 0), 6) / 6 for s in group]
            return list(zip(group, normalized(rewards), strict=True))

        return token_mean(policy, [p for g in groups(batch) for p in estimate(g)], prompted, counted=batch)

    check_run(tiny_model, run, loss)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_grpo_is_stock_grpo(tiny_model, tmp_path, accumulation):
    settings = {
        "per_device_train_batch_size": 16 // accumulation,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": 1e-6,
    }
    ours = train(tiny_model, tmp_path, algorithm="grpo", advantage_eps=1e-4, **settings)
    stock = train(
        tiny_model,
        tmp_path,
        Script(),
        kind=GRPOTrainer,
        config=GRPOConfig,
        loss_type="dapo",
        beta=0.0,
        **settings,
    )
    for mine, theirs in zip(ours.updates, stock.updates, strict=True):
        assert error(mine.gradient, theirs.gradient) < BOUND
        assert mine.logs["loss"] == pytest.approx(theirs.logs["loss"], abs=1e-6)


# --- DSRL ----------------------------------------------------------------------------------------


def test_dsrl_is_nsr_prerl_and_then_grpo(tiny_model, tmp_path):
    run = train(tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=2, max_steps=4)
    for step, update in enumerate(run.updates):
        policy = Policy(tiny_model, update.weights)
        batch = run.batch(step)
        loss = 0.01 * nsr_prerl(policy, batch) if step < 2 else grpo(policy, batch)
        check(update, policy, loss)


def test_the_nsr_rl_control(tiny_model, tmp_path):
    run = train(
        tiny_model,
        tmp_path,
        algorithm="dsrl",
        dsrl_warmup_steps=1,
        dsrl_warmup_space="rl",
        dsrl_warmup_coef=0.5,
    )
    first, second = run.updates
    policy = Policy(tiny_model)
    check(first, policy, 0.5 * token_mean(policy, contributing_nsr(run.batch(0)), prompted))
    policy = Policy(tiny_model, second.weights)
    check(second, policy, grpo(policy, run.batch(1)))


@pytest.mark.parametrize(("samples", "choose"), [("positive", positive), ("all", list)])
def test_a_warm_up_on_other_samples(tiny_model, tmp_path, samples, choose):
    run = train(
        tiny_model, tmp_path, Script(lambda *_: MIXED), algorithm="dsrl", dsrl_warmup_samples=samples,
        dsrl_warmup_steps=2,
    )  # fmt: skip
    check_run(tiny_model, run, lambda p, b: 0.01 * token_mean(p, choose(weigh(b, centred)), erased))


@pytest.mark.parametrize("weight", ["advantage", "constant"])
def test_constant_weights_are_for_the_warm_up(tiny_model, tmp_path, weight):
    # "Every later step is standard GRPO."
    run = train(tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=1, sample_weight=weight)
    policy = Policy(tiny_model, run.updates[1].weights)
    check(run.updates[1], policy, grpo(policy, run.batch(1)))


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("verdicts", [UNEVEN, ONE_OF_TWO])
def test_a_joint_update_is_the_sum_of_both(tiny_model, tmp_path, accumulation, verdicts):
    run = train(
        tiny_model,
        tmp_path,
        Script(lambda *_: verdicts),
        algorithm="dsrl",
        dsrl_warmup_space="joint",
        dsrl_warmup_steps=2,
        dsrl_joint_coef=0.3,
        per_device_train_batch_size=16 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    check_run(tiny_model, run, lambda p, b: grpo(p, b) + 0.3 * nsr_prerl(p, b))


def test_a_joint_update_with_constant_weights(tiny_model, tmp_path):
    run = train(
        tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_space="joint", sample_weight="constant",
        max_steps=1, dsrl_warmup_steps=1,
    )  # fmt: skip
    policy = Policy(tiny_model)
    ones = [(sample, -1.0) for sample, _ in contributing_nsr(run.batch(0))]
    loss = grpo(policy, run.batch(0)) + 0.1 * token_mean(policy, ones, erased)
    check(run.updates[0], policy, loss)


# --- KL ------------------------------------------------------------------------------------------


def kl_mean(policy, reference, batch, corrected=True):
    """Schulman's k3 over all tokens of the batch: exp(r - p) - (r - p) - 1.

    corrected: times the ratio to the sampling policy, so that its gradient is the KL's (DeepSeek-V3.2,
    TRL's default).
    """
    total = 0.0
    for sample in batch:
        log_probs = policy.log_probs(sample.prompt, sample.completion)
        gap = reference.log_probs(sample.prompt, sample.completion).detach() - log_probs
        ratio = (log_probs - log_probs.detach()).exp() if corrected else 1.0
        total = total + (ratio * (gap.exp() - gap - 1)).sum()
    return total / tokens(batch)


def check_kl(run, model, first, switch, beta, corrected=True):
    """Updates `first` and later of a run, against the reference at the switch."""
    for step, update in enumerate(run.updates, start=first):
        policy = Policy(model, update.weights)
        kl = kl_mean(policy, switch, run.batch(step), corrected)
        check(update, policy, grpo(policy, run.batch(step)) + beta * kl)


@pytest.mark.parametrize("corrected", [True, False])
def test_kl_is_against_the_policy_at_the_switch(tiny_model, tmp_path, corrected):
    run = train(
        tiny_model, tmp_path, algorithm="dsrl", dsrl_warmup_steps=2, max_steps=5, beta=2.0,
        learning_rate=1e-2, use_bias_correction_kl=corrected,
    )  # fmt: skip
    for step, update in enumerate(run.updates[:2]):
        policy = Policy(tiny_model, update.weights)
        check(update, policy, 0.01 * nsr_prerl(policy, run.batch(step)))
    switch = Policy(tiny_model, run.updates[2].weights)
    later = run.updates[2:]
    run.updates = later
    check_kl(run, tiny_model, 2, switch, 2.0, corrected)
    # The KL term was at work, and not against the policy before the warm-up.
    policy, batch = Policy(tiny_model, later[2].weights), run.batch(4)
    for other in (
        grpo(policy, batch),
        grpo(policy, batch) + 2.0 * kl_mean(policy, Policy(tiny_model), batch, corrected),
    ):
        assert error(later[2].gradient, policy.gradient(other)) > 1e-3


@pytest.mark.parametrize("saved", [2, 3])
def test_kl_after_a_resume_is_against_the_policy_at_the_switch(tiny_model, tmp_path, saved):
    settings = {
        "algorithm": "dsrl",
        "dsrl_warmup_steps": 2,
        "beta": 2.0,
        "learning_rate": 1e-2,
        "max_steps": 5,
        "save_strategy": "steps",
        "save_steps": saved,
    }
    whole = train(tiny_model, tmp_path, **settings)
    resumed = train(tiny_model, tmp_path, resume=tmp_path / f"checkpoint-{saved}", **settings)
    switch = Policy(tiny_model, whole.updates[2].weights)
    check_kl(resumed, tiny_model, saved, switch, 2.0)
    assert torch.equal(resumed.weights, whole.weights)


def test_kl_of_grpo_is_stock_trls(tiny_model, tmp_path):
    settings = {"beta": 0.5, "learning_rate": 1e-2, "per_device_train_batch_size": 16, "max_steps": 3}
    settings |= {"gradient_accumulation_steps": 1}
    ours = train(tiny_model, tmp_path, algorithm="grpo", advantage_eps=1e-4, **settings)
    stock = train(
        tiny_model, tmp_path, Script(), kind=GRPOTrainer, config=GRPOConfig, loss_type="dapo", **settings
    )
    # The first update only: Adam enlarges rounding where a gradient is nearly zero.
    assert error(ours.updates[0].gradient, stock.updates[0].gradient) < BOUND
    policy, reference = Policy(tiny_model, ours.updates[2].weights), Policy(tiny_model)
    loss = grpo(policy, ours.batch(2), lambda rewards: normalized(rewards, 1e-4))
    loss = loss + 0.5 * kl_mean(policy, reference, ours.batch(2))
    check(ours.updates[2], policy, loss)
    assert math.isfinite(ours.updates[2].logs["kl"])
