"""A stock GRPOTrainer with our checkpoints on a tiny model, and a program that breaks its saving.

    python -m tests.saving kills MODEL OUT

forks one process per file operation of two saves and kills it there, a few more at random moments,
and lets files grow to no more than a limit in others. Each leaves its RUN folder in OUT.

    python -m tests.saving ranks MODEL OUT

trains in two processes, OUT/whole undisturbed and OUT/resumed from the middle.
"""

import os
import random
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from prerl_eval.errors import RunStopped
from prerl_train.checkpoints import AtomicCheckpoints
from prerl_train.watch import EvaluateEvery
from tests.servers import free_port

FILE_EVENTS = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree")
LIMITS = (100_000, 250_000)
"""Bytes: too few for the model's weights; enough for those but not for Adam's moments."""


class Trainer(AtomicCheckpoints, GRPOTrainer):
    pass


def reward(completions, **_):
    """Depends on what is sampled (torch) and on python's and numpy's generators."""
    return [len(set(text.split())) + random.random() + np.random.random() for text in completions]


def make_trainer(model, out, *, steps=6, callbacks=None, peft_config=None, **settings):
    args = GRPOConfig(
        output_dir=str(out),
        **{
            "max_steps": steps,
            "save_steps": 3,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 8,
            "bf16": False,
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "shuffle_dataset": False,
            **settings,
        },
    )
    data = Dataset.from_list([{"prompt": f"<s> make {number} from 1 2"} for number in range(24)])
    return Trainer(
        str(model), reward, args=args, train_dataset=data, callbacks=callbacks, peft_config=peft_config
    )


def save(trainer, step):
    trainer.state.global_step = step
    trainer._save_checkpoint(trainer.model, None)


def two_saves(trainer):
    """A checkpoint that pushes the one before it out, and the same again, replacing itself."""
    save(trainer, 2)
    save(trainer, 2)


def in_child(trainer, run, work):
    """Fork, save checkpoint-1, then do `work`; the process id of the child."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            trainer.args.output_dir = str(run)
            save(trainer, 1)
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def kill_at(trainer, run, number):
    """Die by SIGKILL at the number-th file operation; whether the work got that far."""
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        if event in FILE_EVENTS and str(run) in str(arguments):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def work():
        sys.addaudithook(hook)
        two_saves(trainer)

    _, status = os.waitpid(in_child(trainer, run, work), 0)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


def kill_after(trainer, run, seconds):
    """Die by SIGKILL so long after the second save has begun."""
    child = in_child(trainer, run, lambda: two_saves(trainer))
    while not (run / ".partial-2").exists() and not (run / "checkpoint-2").exists():
        time.sleep(0.0005)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def save_in_little_room(trainer, run, limit):
    """Save where no file grows past `limit` bytes; what was raised goes to RUN/message."""

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            save(trainer, 2)
        except RunStopped as error:
            (run / "message").write_text(str(error))

    os.waitpid(in_child(trainer, run, work), 0)


def kills(model, out):
    logging.disable_progress_bar()  # has a thread of its own
    trainer = make_trainer(model, out / "first", steps=1, save_strategy="no", save_total_limit=1)
    trainer.train()
    # A process that is forked from one of several threads may wait for ever.
    assert threading.active_count() == 1
    number = 1
    while kill_at(trainer, out / f"kill-{number:03d}", number):
        number += 1
    rng = random.Random(0)
    for number in range(12):
        kill_after(trainer, out / f"timed-{number:03d}", rng.uniform(0, 0.03))
    for limit in LIMITS:
        save_in_little_room(trainer, out / f"limit-{limit}", limit)


def train_and_resume(model, out):
    evaluation = EvaluateEvery(out / "whole", 2, lambda step: {"countdown": {"avg": random.random()}})
    make_trainer(model, out / "whole", steps=4, save_steps=2, callbacks=[evaluation]).train()
    trainer = make_trainer(model, out / "resumed", steps=4, save_steps=2)
    if trainer.accelerator.is_main_process:
        shutil.copytree(out / "whole/checkpoint-2", out / "resumed/checkpoint-2")
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=True)
    trainer.accelerator.wait_for_everyone()
    # Before anything is freed: a gloo group may wait for its own thread, which waits for Python.
    os._exit(0)


def ranks(model, out):
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in ("0", "1"):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ.update(common, RANK=rank, LOCAL_RANK=rank)
            train_and_resume(model, out)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


if __name__ == "__main__":
    {"kills": kills, "ranks": ranks}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
