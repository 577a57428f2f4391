"""Which runs may be compared: groups of the command line, and refusals that name what differs."""

import pytest

from prerl_eval.comparison.plan import plan_comparison
from prerl_eval.comparison.sides import Group, parse_groups
from prerl_eval.errors import UserError
from tests.compared import make_run


def plan(base, *others, **changes):
    groups = parse_groups([str(base), *map(str, others)])
    return plan_comparison(groups[0], groups[1:], **changes)


def test_groups_are_named_by_folder_or_by_name(tmp_path):
    texts = [f"{tmp_path}/base", f"GRPO={tmp_path}/a,{tmp_path}/b", f"{tmp_path}/x/base"]
    groups = parse_groups(texts)
    assert groups[1] == Group("GRPO", (tmp_path / "a", tmp_path / "b"))
    assert [group.name for group in groups] == [f"{tmp_path}/base", "GRPO", f"{tmp_path}/x/base"]


def test_a_folder_may_have_an_equals_sign_or_a_comma_in_its_name(tmp_path):
    for name in ("lr=1", "a,b"):
        (tmp_path / name).mkdir()
        assert parse_groups([f"{tmp_path}/{name}"]) == [Group(name, (tmp_path / name,))]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a,b"], "a,b lists several runs without a name; write NAME=a,b"),
        (["=a"], "=a is no group of runs; write NAME=RUN or"),
        (["m="], "m= is no group of runs"),
        (["m=a", "m=b"], "the name m is given twice"),
        (["a", "a"], "/a is given twice; a run cannot be compared with itself"),
        (["a", "m=b,a"], "/a is given twice; a run cannot be compared with itself or count as two seeds"),
    ],
)
def test_wrong_groups_are_one_line(texts, message):
    with pytest.raises(UserError, match=message):
        parse_groups(texts)


def test_runs_that_differ_in_seed_and_weights_alone_are_compared(tmp_path):
    base = make_run(tmp_path / "base", (1, 2))
    other = make_run(tmp_path / "other", (3, 4), settings={"seed": 9})
    made = plan(base, other)
    assert made.notes == ()
    arm = made.arm(made.others[0], "aime24")
    assert (arm.name, arm.problem_ids) == ("other", ("0", "1"))
    assert arm.correct.tolist() == [[3, 4]]
    assert arm.samples.tolist() == [[4, 4]]


def test_training_seeds_are_rows_of_one_arm(tmp_path):
    runs = [make_run(tmp_path / f"{seed}", (seed, 4 - seed)) for seed in range(3)]
    groups = parse_groups([str(make_run(tmp_path / "base")), f"m={runs[0]},{runs[1]},{runs[2]}"])
    made = plan_comparison(groups[0], groups[1:])
    assert made.arm(made.others[0], "aime24").correct.tolist() == [[0, 4], [1, 3], [2, 2]]


DIFFERENT = [
    ({"settings": {"temperature": 0.6}}, r"temperature is 1\.0 in .*base and 0\.6 in .*other"),
    ({"settings": {"top_p": 0.95}}, r"top_p is 1\.0 in"),
    ({"settings": {"top_k": 20}}, r"top_k is 0 in"),
    ({"settings": {"stop_token_ids": [2, 3]}}, r"stop_token_ids is \[2\] in .*base and \[2, 3\] in"),
    ({"settings": {"accept_box_in_thinking": True}}, r"accept_box_in_thinking is False in"),
    ({"bench": {"max_tokens": 32}}, r"the token limit of aime24 is 16 in .*base and 32 in .*other"),
    ({"bench": {"stop": ["Q:"]}}, r"the stop strings of aime24 are \[\] in .*base and \['Q:'\] in .*other"),
    (
        {"bench": {"card_hash": "c1", "prompt": "Q: {problem}"}},
        r"the card of aime24 differs between .*base and .*other \(prompt\)",
    ),
    ({"row": {"grader": "math/2"}}, r"was graded by math/1 in .*base and by math/2 in .*regrade"),
    ({"row": {"gold": "h"}}, r"the gold of aime24 problem 0 differs between"),
    ({"row": {"prompt": "q"}}, r"the prompt of aime24 problem 0 differs between"),
    (
        {"row": {"prompt": "q"}, "settings": {"system": "Be brief."}},
        r"system is None in .*base and 'Be brief\.' in .*other",
    ),
    ({"correct": (1, 2, 3)}, r"2 scored problems in .*base and 3 in .*other \(first: 2 only in .*other\)"),
]


@pytest.mark.parametrize(("changes", "message"), DIFFERENT)
def test_what_differs_is_named_and_refused_unless_told(tmp_path, changes, message):
    base, other = make_run(tmp_path / "base"), make_run(tmp_path / "other", **changes)
    with pytest.raises(UserError, match=message) as refused:
        plan(base, other)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith("give --allow-differences")
    made = plan(base, other, allow_differences=True)
    assert any(note.startswith("compared although ") for note in made.notes)
    assert made.problems == {"aime24": ("0", "1")}


def test_a_system_message_that_changes_no_prompt_is_no_difference(tmp_path):
    other = make_run(tmp_path / "other", settings={"thinking": True, "template": "chat"})
    assert plan(make_run(tmp_path / "base"), other).notes == ()


def test_differing_n_engines_and_missing_samples_are_said(tmp_path):
    base = make_run(tmp_path / "base", n=8, bench={"n": 16})
    other = make_run(tmp_path / "other", settings={"engine": "vllm"})
    notes = plan(base, other).notes
    assert notes[0].endswith("base is incomplete: 16 planned samples are not there yet")
    assert notes[1].startswith("n differs on aime24 (8 in ")
    assert notes[2].startswith("the engine differs between runs (transformers, vllm)")


def test_imported_runs_are_compared_with_a_word_of_warning(tmp_path):
    imported = make_run(
        tmp_path / "other", settings={"engine": "import", "top_p": None}, row={"prompt": "raw"}
    )
    (note,) = plan(make_run(tmp_path / "base"), imported).notes
    assert "was imported: how it was prompted and sampled is not known" in note


def test_the_bases_own_samples_under_another_name_are_refused(tmp_path):
    base = make_run(tmp_path / "base", settings={"checkpoint": "same"})
    copy = make_run(tmp_path / "copy", settings={"checkpoint": "same"})
    with pytest.raises(UserError, match="are one checkpoint sampled with one seed, so their samples are the"):
        plan(base, copy)
    again = make_run(tmp_path / "again", settings={"checkpoint": "same", "seed": 1})
    assert plan(base, again).notes == ()


def test_benchmarks_and_runs_of_one_n_share_a_note(tmp_path):
    runs = [make_run(tmp_path / f"{seed}", n=4) for seed in range(3)]
    base = make_run(tmp_path / "base", n=8)
    (note,) = plan(base, f"m={','.join(map(str, runs))}").notes
    assert note.startswith(f"n differs on aime24 (8 in {base}, 4 in {runs[0]} and 2 more): Pass@k")


def test_what_an_unchanged_model_leaves_out_is_said_of_a_base_of_several_seeds(tmp_path):
    runs = [make_run(tmp_path / f"{seed}") for seed in range(2)]
    base, other = parse_groups([f"m={runs[0]},{runs[1]}", str(make_run(tmp_path / "other"))])
    (note,) = plan_comparison(base, [other]).notes
    assert note.startswith("an unchanged model is one seed of m sampled again")


def test_two_runs_of_one_checkpoint_are_no_two_seeds(tmp_path):
    base = make_run(tmp_path / "base")
    twins = [make_run(tmp_path / name, settings={"checkpoint": "same"}) for name in ("a", "b")]
    with pytest.raises(UserError, match="are one checkpoint, which is one training seed"):
        plan(base, f"m={twins[0]},{twins[1]}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoint": "base", "seed": 0}, r"was sampled with the seed of .*base, so its samples are the"),
        ({"checkpoint": "another", "seed": 1}, r"the null .*null is another checkpoint than the base"),
    ],
)
def test_a_null_is_the_base_sampled_anew(tmp_path, settings, message):
    base, other = make_run(tmp_path / "base"), make_run(tmp_path / "other")
    null = Group("null", (make_run(tmp_path / "null", settings=settings),))
    with pytest.raises(UserError, match=message):
        plan(base, other, null=null)


def test_a_second_base_run_is_a_null(tmp_path):
    base, other = make_run(tmp_path / "base"), make_run(tmp_path / "other")
    null = Group("null", (make_run(tmp_path / "null", settings={"checkpoint": "base", "seed": 1}),))
    made = plan(base, other, null=null)
    assert made.null is not None
    assert made.notes == ()


def test_only_shared_benchmarks_are_compared(tmp_path):
    base, other = make_run(tmp_path / "base"), make_run(tmp_path / "other", benchmark="amc23")
    with pytest.raises(
        UserError, match=r"no benchmark is in all runs \(.*base has aime24, .*other has amc23"
    ):
        plan(base, other)
    with pytest.raises(UserError, match=r"--bench amc23 is not in .*base; all runs have: none"):
        plan(base, other, benchmarks=["amc23"])


def test_a_training_run_is_no_evaluation(tmp_path):
    base, other = make_run(tmp_path / "base"), make_run(tmp_path / "other", kind="training")
    with pytest.raises(UserError, match=r"other is a training run, .*other/evals/step-N"):
        plan(base, other)
