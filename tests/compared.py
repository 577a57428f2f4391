"""Small runs with the settings that a comparison checks, from correct counts per problem."""

from tests.runs import sample, write_run

SETTINGS = {
    "checkpoint": "w0",
    "engine": "transformers",
    "dtype": "auto",
    "seed": 0,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "stop": [],
    "stop_token_ids": [2],
    "max_tokens": None,
    "thinking": None,
    "system": None,
    "template": "plain",
    "batch_size": None,
    "accept_box_in_thinking": False,
}


def make_run(folder, correct=(1, 2), n=4, row=None, settings=None, bench=None, benchmark="aime24", **record):
    """Problems "0", "1", ... with so many correct of n samples. bench: changes to run.json's benchmark."""
    rows = [
        sample(
            f"{problem}",
            i,
            "correct" if i < count else "wrong",
            "" if i < count else "7",
            benchmark=benchmark,
            **(row or {}),
        )
        for problem, count in enumerate(correct)
        for i in range(n)
    ]
    entry = {"n": n, "problems": len(correct), "max_tokens": 16, "card_hash": "c0", "prompt": "{problem}"}
    return write_run(
        folder,
        rows,
        {benchmark: entry | (bench or {})},
        **({"settings": SETTINGS | {"checkpoint": folder.name} | (settings or {})} | record),
    )
