"""Measuring one after another into one data file, which a stopped run goes on from.

    OUT/speed.json   {"run": {"began", "ended"}, "measurements": {name: entry}}

An entry holds the rows, lines and notes of a measurement, when and where they were measured, the load of
the machine meanwhile, and what became of the last attempt: a measurement that fails, or that needs what
this machine lacks, keeps the figures that it had. Does not cover what is measured (catalogue.py) and how it
is shown (table.py).
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from prerl_eval import provenance
from prerl_eval.durable import replace_json
from tests.speed.catalogue import Measurement
from tests.speed.rows import read_measured

REPO = Path(__file__).resolve().parents[2]
FILE = "speed.json"


def read_data(folder: Path) -> dict[str, Any]:
    """The data file, or what it is before the first measurement."""
    file = folder / FILE
    if not file.exists():
        return {"run": {"began": "", "ended": ""}, "measurements": {}}
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def hardware() -> str:
    """Cores and processor: "2 cores, Intel(R) Xeon(R) Processor"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {models[0] if models else platform.machine()}"


class LoadWatch(threading.Thread):
    """Looks at the load average (1 minute) while a measurement runs."""

    def __init__(self, seconds: float = 2.0):
        super().__init__(daemon=True)
        self._seconds = seconds
        self._over = threading.Event()
        self._seen = [os.getloadavg()[0]]

    def run(self) -> None:
        """Until `result` is asked for."""
        while not self._over.wait(self._seconds):
            self._seen.append(os.getloadavg()[0])

    def result(self) -> dict[str, float]:
        """Mean and largest."""
        self._over.set()
        self.join()
        return {"mean": round(sum(self._seen) / len(self._seen), 2), "max": round(max(self._seen), 2)}


def measure_all(
    folder: Path,
    catalogue: Mapping[str, Measurement],
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    quick: bool = False,
    fresh: bool = False,
    vllm: Path = Path(".venv-vllm/bin/python"),
) -> bool:
    """Measure, writing after each; whether every bound held of what this run measured and nothing failed.

    Without `only`, a run that was stopped goes on (unless `fresh`): what it has measured stays. only: these,
    whatever was measured before. skip: keep their last figures.
    """
    data = read_data(folder)
    going_on = data["run"]["began"] and not data["run"]["ended"] and not fresh
    if not only and not going_on:
        data["run"] = {"began": provenance.now(), "ended": ""}
        for entry in data["measurements"].values():
            entry["run"] = ""  # times are to the second: an older run may have begun in this one
    began = data["run"]["began"]
    names = [name for name in catalogue if (name in only if only else name not in skip)]
    good = True
    for name in names:
        entry = data["measurements"].get(name, {})
        if only or entry.get("run") != began or entry["status"] != "measured":
            print(f"\n== {name}", flush=True)
            entry = _attempt(catalogue[name], entry, quick, vllm) | {"run": began}
            data["measurements"][name] = entry
            data["measurements"] = {key: data["measurements"][key] for key in _order(catalogue, data)}
            replace_json(folder / FILE, data)
        good = good and entry["status"] != "failed" and read_measured(entry).held
    if not only:
        data["run"]["ended"] = provenance.now()
        replace_json(folder / FILE, data)
    return good


def _order(catalogue: Mapping[str, Measurement], data: Mapping[str, Any]) -> list[str]:
    there = data["measurements"]
    return [
        *(name for name in catalogue if name in there),
        *(name for name in there if name not in catalogue),
    ]


def _attempt(measurement: Measurement, before: Mapping[str, Any], quick: bool, vllm: Path) -> dict[str, Any]:
    """The new entry: what was found now, or the figures from before and why there are no new ones."""
    kept = {
        "rows": [],
        "lines": [],
        "notes": [],
        "measured": "",
        **before,
        "tried": provenance.now(),
        "why": "",
    }
    python = vllm.absolute() if measurement.vllm else Path(sys.executable)
    if not python.exists():
        return kept | {"status": "unavailable", "why": "no Python with vLLM here"}
    watch, start, spent = LoadWatch(), time.monotonic(), _children_seconds()
    watch.start()
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        out = Path(name) / "found.json"
        command = [str(python), "-m", "tests.speed.catalogue", measurement.function, str(out)]
        code, last_line = _run([*command, "--quick"] if quick else command)
        load = watch.result()
        if code:
            return kept | {"status": "failed", "why": last_line or f"exit code {code}"}
        found = json.loads(out.read_text(encoding="utf-8"))
    if "unavailable" in found:
        return kept | {"status": "unavailable", "why": found["unavailable"]}
    facts = {
        "status": "measured",
        "measured": kept["tried"],
        "quick": quick,
        "hardware": hardware(),
        "load": load,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(_children_seconds() - spent, 1),
        "revision": provenance.git_revision(),
    }
    return kept | facts | found


def _run(command: list[str]) -> tuple[int, str]:
    """Exit code and last line of stderr, which is passed on."""
    last = ""
    with subprocess.Popen(command, cwd=REPO, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        except BaseException:  # Ctrl-C, or a request to end: no measurement outlives its run
            process.terminate()
            raise
    return process.returncode, last


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
