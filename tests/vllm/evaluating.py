"""A policy evaluated by the vLLM that TRL runs beside the trainer, on a CPU.

    python -m tests.vllm.evaluating MODEL OUT colocate|server

trains for one update, evaluates, and leaves OUT/policy and what came in OUT/found.json. In a process of
its own, as tests.vllm.training.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from prerl_eval.engines.base import Sampling
from prerl_eval.errors import RunStopped, UserError
from tests.tiny import collect, make_requests
from tests.vllm.training import ENVIRONMENT, colocated, pushed_by_files

EOS = 2


def main(model: Path, out: Path, mode: str) -> None:
    """Train, evaluate greedily, sample twice, ask for too much."""
    from prerl_train.live import LiveVLLMEngine
    from tests.live_training import make_trainer

    requests = make_requests(problems=3, n=4, max_tokens=40)
    done = {requests[3].key}
    with ExitStack() as stack:
        settings = {"use_vllm": True, "vllm_mode": mode, "lr_scheduler_type": "constant"}
        if mode == "server":
            settings["vllm_server_base_url"] = stack.enter_context(pushed_by_files(model, out / "pushed"))
        else:
            stack.enter_context(colocated())
        trainer, _ = make_trainer(model, out, steps=1, **settings)
        trainer.train()
        engine = LiveVLLMEngine(trainer)
        synced = [trainer._last_loaded_step]
        engine.load(None)  # the checkpoint is not read
        synced.append(trainer._last_loaded_step)
        greedy, first, second = (
            collect(engine, requests, Sampling(temperature=temperature, stop_token_ids=(EOS,)), done)
            for temperature in (0.0, 1.0, 1.0)
        )
        try:
            collect(engine, make_requests(problems=1, n=1, max_tokens=600), Sampling())
            refusal = ""
        except (UserError, RunStopped) as error:
            refusal = str(error)
        engine.close()
        trainer.model.save_pretrained(out / "policy")
        trainer.processing_class.save_pretrained(out / "policy")
    found = {
        "synced": synced,
        "refusal": refusal,
        "greedy": [[key, c.token_ids, c.text, c.finish_reason] for key, c in greedy.items()],
        "sampled": [[c.token_ids for c in found.values()] for found in (first, second)],
        "about": engine.describe(),
    }
    (out / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
