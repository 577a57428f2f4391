"""Files of a run that are cut or have a changed bit: named, mended, or without effect, never other figures.

Files with checksums (parts, checkpoints) are claimed against any changed bit. Files of text (run.json,
metrics.jsonl, replies.jsonl) have none: cuts are claimed, and of changed bits it is counted how many are
noticed. Checkpoints and metrics are in training.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from behavior.judge.cache import read_log
from prerl_eval.annotations import annotation_folder
from prerl_eval.errors import UserError
from prerl_eval.summary import summarize
from tests.behavior_server import MODEL, configure
from tests.behavior_traces import judge_run
from tests.faults.stage import Stage, annotation, content, one_line, scoring
from tests.faults.training import cut, flip, metrics, undisturbed
from tests.faults.trials import Fault, Trials
from tests.test_behavior_judge import NAME, labels

Damage = Callable[[bytes, Trials], bytes]
Figures = Callable[[Path], object]


def damage(trials: Trials, file: Path, how: Damage, look: Figures, root: Path) -> None:
    """Damage one file again and again: `look` must see what it saw before, or refuse in a line that names it.

    root: what `look` is given. Raises AssertionError, into the count, where it sees something else.
    """
    whole, before = look(root), file.read_bytes()
    for number in range(trials.times):
        with trials.one(f"damage {number}"):
            file.write_bytes(how(before, trials))
            try:
                seen = look(root)
            except UserError as error:
                assert str(file) in str(error), f"the line names another file: {error}"  # noqa: PT017
                continue
            finally:
                file.write_bytes(before)
            assert seen == whole, "other figures, and nothing said"


def figures(run: Path) -> object:
    return summarize(run), content(run)


def damage_part(how: Damage) -> Callable[[Stage, Trials], None]:
    def attempt(stage: Stage, trials: Trials) -> None:
        run = shutil.copytree(stage.sampled, trials.place("run"), dirs_exist_ok=True)
        damage(trials, run / "samples" / "part-00000.parquet", how, figures, run)

    return attempt


def damage_scores(how: Damage) -> Callable[[Stage, Trials], None]:
    def attempt(stage: Stage, trials: Trials) -> None:
        run = shutil.copytree(stage.annotated, trials.place("run"), dirs_exist_ok=True)
        file = annotation_folder(run, "logp-x") / "part-00000.parquet"
        damage(trials, file, how, lambda run: annotation(run, "logp-x"), run)

    return attempt


def damage_record(how: Damage) -> Callable[[Stage, Trials], None]:
    def attempt(stage: Stage, trials: Trials) -> None:
        run = shutil.copytree(stage.sampled, trials.place("run"), dirs_exist_ok=True)
        damage(trials, run / "run.json", how, figures, run)

    return attempt


def damage_about(stage: Stage, trials: Trials) -> None:
    run = shutil.copytree(stage.annotated, trials.place("run"), dirs_exist_ok=True)
    file = annotation_folder(run, "logp-x") / "about.json"
    damage(trials, file, cut, lambda run: annotation(run, "logp-x"), run)


def damage_metrics(stage: Stage, trials: Trials) -> None:
    run = shutil.copytree(undisturbed(stage), trials.place("run"), dirs_exist_ok=True)
    damage(trials, run / "metrics.jsonl", flip, metrics, run)


def mend_samples(stage: Stage, trials: Trials) -> None:
    """Cut, refused, moved away, sampled again."""
    wanted = content(stage.sampled)
    for number in range(trials.times):
        with trials.one(f"cut {number}"):
            run = shutil.copytree(stage.sampled, trials.place(f"{number}") / "run")
            log, command = run.parent / "log", stage.sampling(run)
            part = run / "samples" / "part-00000.parquet"
            part.write_bytes(cut(part.read_bytes(), trials))
            said = one_line(stage.finish(command, log, code=2), "prerl-eval")
            assert f"{part} is damaged (" in said, said
            part.rename(run.parent / "moved-away")
            stage.finish(command, log)
            assert content(run) == wanted


def mend_scores(stage: Stage, trials: Trials) -> None:
    wanted = annotation(stage.annotated, "logp-x")
    for number in range(trials.times):
        with trials.one(f"cut {number}"):
            run = shutil.copytree(stage.annotated, trials.place(f"{number}") / "run")
            log, command = run.parent / "log", scoring(run, stage.tiny)
            part = annotation_folder(run, "logp-x") / "part-00000.parquet"
            part.write_bytes(cut(part.read_bytes(), trials))
            said = one_line(stage.finish(command, log, code=2), "prerl-eval")
            assert f"{part} is damaged (" in said, said
            part.unlink()
            stage.finish(command, log)
            assert annotation(run, "logp-x") == wanted


def judging(stage: Stage, run: Path, *flags: object) -> list[object]:
    return [
        *("behavior.cli", "judge", run, "--model", MODEL, "--base-url", stage.server),
        *("--no-canaries", "--concurrency", 8, *flags),
    ]


def judged(stage: Stage, trials: Trials) -> Path:
    configure(stage.server)
    run = judge_run(trials.place("judged") / "run", 40)
    stage.finish(judging(stage, run), run.parent / "log")
    return run


def cut_replies(stage: Stage, trials: Trials) -> None:
    """Replies that were cut off are asked again, whatever else is there stays."""
    whole = judged(stage, trials)
    log = annotation_folder(whole, NAME) / "replies.jsonl"
    had = read_log(log).replies
    for number in range(trials.times):
        with trials.one(f"cut {number}"):
            run = shutil.copytree(whole, trials.place(f"{number}") / "run")
            torn = annotation_folder(run, NAME) / "replies.jsonl"
            torn.write_bytes(cut(log.read_bytes(), trials))
            left = read_log(torn).replies
            assert left.items() <= had.items(), "a reply changed"
            stage.finish(judging(stage, run), run.parent / "log")
            assert labels(run) == labels(whole)
            assert read_log(torn).replies.keys() == had.keys()


def double_replies(stage: Stage, trials: Trials) -> None:
    """Lines that are there twice, in any order."""
    whole = judged(stage, trials)
    log = annotation_folder(whole, NAME) / "replies.jsonl"
    before = read_log(log)
    lines = log.read_bytes().splitlines(keepends=True)
    for number in range(trials.times):
        with trials.one(f"copy {number}"):
            run = shutil.copytree(whole, trials.place(f"{number}") / "run")
            twice = annotation_folder(run, NAME) / "replies.jsonl"
            twice.write_bytes(b"".join([*lines, *trials.rng.sample(lines, 1 + len(lines) // 2)]))
            stage.finish(judging(stage, run), run.parent / "log")
            assert labels(run) == labels(whole)
            assert read_log(twice).spent.into >= before.spent.into, "what was spent became less"


def flip_replies(stage: Stage, trials: Trials) -> None:
    whole = judged(stage, trials)
    file = annotation_folder(whole, NAME) / "replies.jsonl"

    def replies(run: Path) -> object:
        record = read_log(file)
        if record.torn:
            raise UserError(f"{file} has a torn line")
        return record.replies

    damage(trials, file, flip, replies, whole)


CUT = "cut at a random byte, 0, 1 or the last"
FLIP = "a random bit of it is flipped"
NAMED = "a line names the file, or every figure and row is as before"

FAULTS = [
    Fault("torn", "part of samples cut", CUT, NAMED, 40, 5, damage_part(cut)),
    Fault("torn", "part of samples with a changed bit", FLIP, NAMED, 300, 25, damage_part(flip)),
    Fault(
        "torn",
        "part of samples cut, then moved away",
        "the command is given, the part moved away, the same command again",
        "the first ends with 2 and names the part; in the end the run equals the undisturbed one",
        6,
        1,
        mend_samples,
    ),
    Fault("torn", "part of scores cut", CUT, NAMED, 40, 5, damage_scores(cut)),
    Fault("torn", "part of scores with a changed bit", FLIP, NAMED, 300, 25, damage_scores(flip)),
    Fault(
        "torn",
        "part of scores cut, then moved away",
        "the command is given, the part moved away, the same command again",
        "the first ends with 2 and names the part; in the end the scores equal the undisturbed ones",
        4,
        1,
        mend_scores,
    ),
    Fault("torn", "run.json cut", CUT, NAMED, 40, 5, damage_record(cut)),
    Fault("torn", "about.json of an annotation cut", CUT, NAMED, 40, 5, damage_about),
    Fault(
        "torn",
        "replies of a judge cut",
        CUT,
        "what is lost is asked again, the labels are the same",
        8,
        2,
        cut_replies,
    ),
    Fault(
        "torn",
        "replies of a judge stored twice",
        "half of the log's lines appended again",
        "same labels, and no less counts as spent",
        4,
        1,
        double_replies,
    ),
    Fault("torn", "run.json with a changed bit", FLIP, NAMED, 200, 10, damage_record(flip), claimed=False),
    Fault("torn", "metrics.jsonl with a changed bit", FLIP, NAMED, 200, 10, damage_metrics, claimed=False),
    Fault("torn", "replies of a judge with a changed bit", FLIP, NAMED, 200, 10, flip_replies, claimed=False),
]
