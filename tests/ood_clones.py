"""Clones of the four sets of the group `ood`, made by hand in the layout of their hub repositories.

The problems are ours and mean nothing; columns, splits, configurations and numbers of rows are the hub's.
"""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TASKS = {
    **dict.fromkeys(
        (
            "boolean_expressions",
            "date_understanding",
            "disambiguation_qa",
            "dyck_languages",
            "formal_fallacies",
            "geometric_shapes",
            "hyperbaton",
            "logical_deduction_five_objects",
            "logical_deduction_seven_objects",
            "logical_deduction_three_objects",
            "movie_recommendation",
            "multistep_arithmetic_two",
            "navigate",
            "object_counting",
            "reasoning_about_colored_objects",
            "ruin_names",
            "salient_translation_error_detection",
            "sports_understanding",
            "temporal_sequences",
            "tracking_shuffled_objects_five_objects",
            "tracking_shuffled_objects_seven_objects",
            "tracking_shuffled_objects_three_objects",
            "web_of_lies",
            "word_sorting",
        ),
        250,
    ),
    "causal_judgement": 187,
    "penguins_in_a_table": 146,
    "snarks": 178,
}
"""BIG-Bench Hard's tasks and their numbers of problems: 6,511 in all."""

CANARY = "a canary in one line\n-----\n"


def make_ood_clones(root: Path) -> Path:
    """All four below `root`, as --data-root wants them; returns `root`."""
    _gpqa(root / "Idavidrein" / "gpqa")
    _mmlu_pro(root / "TIGER-Lab" / "MMLU-Pro")
    _bbh(root / "lukaemon" / "bbh")
    _humaneval(root / "openai" / "openai_humaneval")
    return root


def _gpqa(clone: Path) -> None:
    clone.mkdir(parents=True)
    _configs(clone, {"gpqa_diamond": "gpqa_diamond.csv"}, "train")
    columns = ["Record ID", "Question", "Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3))]
    with (clone / "gpqa_diamond.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "Subdomain"])
        for number in range(198):
            options = [f"right {number}", *(f"wrong {number} {i}" for i in (1, 2, 3))]
            writer.writerow([f"rec{number}", f"which of {number} ?", *options, "Physics"])


def _mmlu_pro(clone: Path) -> None:
    for split, count in (("test", 12032), ("validation", 10)):
        rows = []
        for number in range(count):
            options = [f"option {i}" for i in range(3 + number % 8)]
            right = number % len(options)
            rows.append(
                {
                    "question_id": number,
                    "question": f"which of {number} ?",
                    "options": options,
                    "answer": "ABCDEFGHIJ"[right],
                    "answer_index": right,
                    "cot_content": f"A: Let's think step by step. The answer is ({'ABCDEFGHIJ'[right]}).",
                    "category": ("math", "law")[number % 2],
                    "src": "ours",
                }
            )
        _parquet(clone / "data" / f"{split}-00000-of-00001.parquet", rows)


def _bbh(clone: Path) -> None:
    clone.mkdir(parents=True)
    _configs(clone, {task: f"{task}/test.jsonl" for task in TASKS}, "test")
    (clone / "cot-prompts").mkdir()
    for task, count in TASKS.items():
        (clone / task).mkdir()
        rows = [
            {"input": f"is {number} right ?", "target": ("Yes", "No")[number % 2]} for number in range(count)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (clone / task / "test.jsonl").write_text(text, encoding="utf-8")
        shots = "\n\n".join(
            f"Q: is {number} true ?\nA: Let's think step by step.\nSo the answer is No." for number in "123"
        )
        (clone / "cot-prompts" / f"{task}.txt").write_text(f"{CANARY}A task.\n\n{shots}", encoding="utf-8")


def _humaneval(clone: Path) -> None:
    rows = [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f'def add_{number}(x):\n    """ Add {number} to x . """\n',
            "canonical_solution": f"    return x + {number}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {number + 1}\n",
            "entry_point": f"add_{number}",
        }
        for number in range(164)
    ]
    _parquet(clone / "openai_humaneval" / "test-00000-of-00001.parquet", rows)
    _configs(clone, {"openai_humaneval": "openai_humaneval/test-*"}, "test")


def _configs(clone: Path, files: dict[str, str], split: str) -> None:
    """The head of a README.md, by which datasets finds configurations."""
    lines = ["---", "configs:"]
    for config, path in files.items():
        lines += [f"- config_name: {config}", "  data_files:", f"  - split: {split}", f"    path: {path}"]
    clone.mkdir(parents=True, exist_ok=True)
    (clone / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")


def _parquet(file: Path, rows: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
