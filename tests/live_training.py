"""A stock GRPOTrainer with our rollouts, reward and recorder on a tiny model, in one or more processes.

    python -m tests.live_training MODEL OUT

trains for two updates, evaluates in the middle of it all, and leaves OUT/run, OUT/eval and what each
process sampled in OUT/rank-N.json. Distributed by torch's environment variables.
"""

import json
import os
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from prerl_eval.checkpoint import open_checkpoint
from prerl_eval.engines.base import Sampling
from prerl_eval.grading import GradingPool
from prerl_eval.plan import RunOptions, plan_run
from prerl_eval.problems import load_problems
from prerl_eval.prompts import PromptBuilder
from prerl_eval.run_record import write_record
from prerl_train.data import as_dataset, epoch_order, training_card, training_set
from prerl_train.live import LiveEngine, evaluate_live, live_checkpoint
from prerl_train.rewards import RolloutRecorder, VerifiableReward
from prerl_train.rollouts import EngineRollouts

EOS = 2
ROWS, GROUP, MAX_TOKENS, SEED = 16, 4, 12, 7


def different_tokens(completion_ids, **unused):
    """A second reward: a random model solves nothing, and without a difference nothing is learnt."""
    return [len(set(ids)) / MAX_TOKENS for ids in completion_ids]


def make_trainer(model, out, *, steps=2, processes=1, recorder=None, adapter=None, **settings):
    """A trainer of `model` (a folder) on Countdown's training problems. Returns (trainer, training set)."""
    checkpoint = open_checkpoint(str(model))
    found = training_set("countdown", PromptBuilder(checkpoint), max_tokens=MAX_TOKENS, limit=60)
    tokenizer = AutoTokenizer.from_pretrained(model)
    args = GRPOConfig(
        output_dir=str(out / "trainer"),
        **{
            "max_steps": steps,
            "learning_rate": 1e-2,
            "per_device_train_batch_size": ROWS // processes,
            "num_generations": GROUP,
            "max_completion_length": MAX_TOKENS,
            "save_strategy": "no",
            "bf16": False,
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "shuffle_dataset": False,
            **settings,
        },
    )
    reward = VerifiableReward(
        found.problems, found.prompts, GradingPool(1), stop_ids=(EOS,), tokenizer=tokenizer, recorder=recorder
    )
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        [reward, different_tokens],
        args,
        train_dataset=as_dataset(found.prompts, epoch_order(60, ROWS // GROUP, steps, SEED)),
        processing_class=tokenizer,
        # Where vLLM samples, TRL does it all.
        rollout_func=None
        if args.use_vllm
        else EngineRollouts(tokenizer, Sampling(stop_token_ids=(EOS,)), MAX_TOKENS, SEED),
        peft_config=adapter,
    )
    return trainer, found


def evaluation_plan(model, out, step, limit=5):
    """Countdown's test problems, three samples each, for the policy at `step`."""
    options = RunOptions(
        ckpt=[str(model)], bench=["countdown"], n=3, limit=limit, seed=SEED, max_tokens=MAX_TOKENS, out=out
    )
    card = training_card("countdown")
    checkpoint = live_checkpoint(open_checkpoint(str(model)), "r", step)
    return plan_run(options, "transformers", checkpoint, [card], [load_problems(card, limit=limit)], 1)


class EvaluateInTheMiddle(TrainerCallback):
    """After the first update; on every process."""

    def __init__(self, model, out):
        self.model, self.out = model, out
        self.trainer = None

    def on_step_end(self, args, state, control, **unused):
        if state.global_step == 1:
            trains = self.trainer.model.training
            with GradingPool(1) as pool:
                plan = evaluation_plan(self.model, self.out / "eval", step=1)
                evaluate_live(plan, LiveEngine(self.trainer, batch_size=4), pool)
            assert self.trainer.model.training is trains is True
            if self.trainer.accelerator.is_main_process:
                for part in (self.trainer.model, self.trainer.processing_class):
                    part.save_pretrained(self.out / "policy-1")


def main(model, out):
    """Train, evaluate, and write down this process's first and last rollouts."""
    torch.set_num_threads(1)
    processes, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if rank == 0:
        benchmarks = {"countdown": {"n": GROUP, "max_tokens": MAX_TOKENS}}
        write_record(
            out / "run",
            {"schema": 1, "kind": "training", "run_id": "r", "settings": {}, "benchmarks": benchmarks},
        )
    recorder = RolloutRecorder(out / "run", "r")
    middle = EvaluateInTheMiddle(model, out)
    trainer, _ = make_trainer(model, out, processes=processes, recorder=recorder)
    middle.trainer = trainer
    trainer.add_callback(middle)
    trainer.train()
    recorder.flush()
    prompts = [f"make {number} from 1 2 3" for number in range(8)]
    mine = prompts[rank * 8 // processes : (rank + 1) * 8 // processes]
    sampled = trainer.rollout_func(mine, trainer)
    (out / f"rank-{rank}.json").write_text(
        json.dumps({key: sampled[key] for key in ("completion_ids", "seed")})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
