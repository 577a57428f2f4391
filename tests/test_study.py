"""The plan of the study: what its file means, which models it names, what it refuses."""

import pytest

from prerl_eval.errors import UserError
from results.study.collect import chosen_rates, not_committed
from results.study.plan_file import load_study
from tests.conftest import REPO

NANO = REPO / "results" / "nano"

PLAN = """
model = "results/base-nano"
recipe = "nano"
steps = 40
save_every = 5
seeds = 2
look = { step = 40, measure = "val" }
[cost]
update = 2.0
sample = 0.01
base = 300
align = 60
problems = 100
[measure.val]
benchmarks = ["countdown-val"]
n = 8
[measure.test]
benchmarks = ["countdown", "countdown-ood"]
n = 32
[measure.warm]
benchmarks = ["countdown"]
n = 4
temperature = 1.4
limit = 10
[bases.other]
seed = 1
restate = false
[arms.base]
algorithm = "base"
at = [{ step = 0, measure = "test", n = 64 }]
[arms.grpo]
looks = ["2e-4", "4e-4"]
at = [{ step = 40, measure = ["test", "warm"] }, { step = [30, 60], measure = "test", seeds = [0] }]
[arms.dsrl]
looks = ["2e-4", "1e-3"]
[arms.dsrl-w]
algorithm = "dsrl"
lr = "8e-4"
options = { warmup_lr = "1e-4", reset_optimizer = true }
seeds = 1
steps = 50
at = [{ step = 40, measure = "val" }]
[arms.fork]
algorithm = "nsr-prerl"
lr = "6e-5"
from = { arm = "grpo", step = 20 }
at = [{ step = 20, measure = "test" }]
[arms."base.other"]
algorithm = "base"
base = "other"
at = [{ step = 0, measure = "test" }]
[arms."grpo.other"]
algorithm = "grpo"
lr = "4e-4"
base = "other"
seeds = 1
"""

LOOKS = """arm,lr,seed,benchmark,problems,n,avg,low,high
grpo,2e-4,0,countdown-val,200,8,0.4,0.3,0.5
grpo,4e-4,0,countdown-val,200,8,0.4,0.3,0.5
dsrl,2e-4,0,countdown-val,200,8,0.2,0.1,0.3
dsrl,1e-3,0,countdown-val,200,8,0.3,0.2,0.4
"""


def study_of(folder, plan=PLAN, looks=LOOKS):
    (folder / "study.toml").write_text(plan)
    (folder / "looks.csv").write_text(looks)
    return load_study(folder)


def named(points):
    return [f"{point.model.name}@{point.step}-{point.measure.name}" for point in points]


def test_each_look_once(tmp_path):
    looks = study_of(tmp_path).look_points()
    assert named(looks) == [
        "grpo-2e-4-0@40-val",
        "grpo-4e-4-0@40-val",
        "dsrl-2e-4-0@40-val",
        "dsrl-1e-3-0@40-val",
    ]
    assert {point.model.steps for point in looks} == {40}


def test_every_arm_at_its_rate_one_seed_after_the_other(tmp_path):
    study = study_of(tmp_path)
    rates = chosen_rates(study)
    # Of two equal ones the smaller.
    assert rates == {
        "grpo": "2e-4",
        "dsrl": "1e-3",
        "dsrl-w": "8e-4",
        "fork": "6e-5",
        "grpo.other": "4e-4",
    }
    points = study.points(rates)
    assert named(points) == [
        "base@0-test",
        "grpo-2e-4-0@40-test",
        "grpo-2e-4-0@40-warm",
        "grpo-2e-4-0@30-test",
        "grpo-2e-4-0@60-test",
        "dsrl-1e-3-0@40-test",
        "dsrl-w-8e-4-0@40-val",
        "fork-6e-5-0@20-test",
        "base.other@0-test",
        "grpo.other-4e-4-0@40-test",
        "grpo-2e-4-1@40-test",
        "grpo-2e-4-1@40-warm",
        "dsrl-1e-3-1@40-test",
        "fork-6e-5-1@20-test",
    ]
    steps = {point.model.name: point.model.steps for point in points}
    assert (steps["grpo-2e-4-0"], steps["grpo-2e-4-1"], steps["dsrl-w-8e-4-0"]) == (60, 40, 50)
    assert [point.measure.n for point in points[:2]] == [64, 32]


def test_without_its_looks_an_arm_and_its_forks_wait(tmp_path):
    study = study_of(tmp_path, looks=LOOKS.replace("grpo,4e-4", "grpo,3e-3"))
    assert "grpo" not in chosen_rates(study)
    models = {point.model.arm.name for point in study.points(chosen_rates(study))}
    assert models == {"base", "dsrl", "dsrl-w", "base.other", "grpo.other"}


def test_what_the_data_hold_is_not_done_again(tmp_path):
    study = study_of(tmp_path)
    assert not_committed(study, study.look_points()) == []
    points = study.points(chosen_rates(study))
    assert not_committed(study, points) == points


def test_a_part_of_the_study_brings_what_it_is_forked_from(tmp_path):
    study = study_of(tmp_path).only(["fork"])
    rates = chosen_rates(study)
    assert named(study.points(rates)) == ["fork-6e-5-0@20-test", "fork-6e-5-1@20-test"]
    origin = study.origin(study.trained("fork", 0, rates), rates)
    assert (origin.name, origin.steps) == ("grpo-2e-4-0", 60)
    with pytest.raises(UserError, match="--only forks: the plan has no such arm; it has base, grpo"):
        study_of(tmp_path).only(["forks"])


WRONG = {
    'looks = ["2e-4", "4e-4"]': ('looks = ["2e-4", "4e-4", "8e-4"]', "grpo 3, dsrl 2"),
    'lr = "6e-5"': ("", "arms.fork: give either lr"),
    "step = [30, 60]": ("step = [33, 60]", "no checkpoint is saved at step 33"),
    "seeds = 1\nsteps = 50": ("seed = 1\nsteps = 50", "arms.dsrl-w: seed means nothing there"),
    'measure = ["test", "warm"]': ('measure = ["test", "cold"]', r"no \[measure.cold\]"),
    'from = { arm = "grpo", step = 20 }': ('from = { arm = "grpo", step = 21 }', "arms.grpo: no checkpoint"),
    'lr = "6e-5"\nfrom': ('lr = "6e-5"\nseeds = 3\nfrom', "grpo has no seed 2 to begin at"),
    'base = "other"\nseeds': ('base = "another"\nseeds', r"there is no \[bases.another\]"),
    'algorithm = "base"\nat': ('algorithm = "base"\nbase = "other"\nat', r'call it \[arms."base.other"\]'),
    "step = 0, measure": ("step = 5, measure", "a base model has step 0 only"),
    'recipe = "nano"': ("", "lacks 'recipe'; give it"),
    "update = 2.0": ("update = ", "is not TOML"),
}


@pytest.mark.parametrize("found", WRONG)
def test_a_wrong_plan_is_refused_in_one_line(tmp_path, found):
    instead, message = WRONG[found]
    assert found in PLAN
    with pytest.raises(UserError, match=message) as refused:
        study_of(tmp_path, PLAN.replace(found, instead, 1))
    assert str(tmp_path / "study.toml") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_committed_plan_is_whole():
    study = load_study(NANO)
    assert len(study.points(chosen_rates(study))) > 250
    assert not_committed(study, study.look_points()) == []
    assert [arm.name for arm in study.quick().arms.values()] == ["grpo", "fork10-nsr-prerl"]
