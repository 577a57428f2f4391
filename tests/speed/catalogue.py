"""The measurements by name, and the process that makes one of them.

    python -m tests.speed.catalogue MODULE:FUNCTION OUT [--quick]

Each measurement has a process of its own, so that none inherits another's memory or imports, and one that
fails breaks no other. vLLM lives in an environment of its own, so its measurement is made by that Python.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from prerl_eval import provenance
from tests.speed.rows import Unavailable, show


@dataclass(frozen=True)
class Measurement:
    """function: "module:function"; takes `quick`, returns a Measured. vllm: made by vLLM's Python."""

    function: str
    vllm: bool = False


MEASUREMENTS = {
    "startup": Measurement("tests.speed.startup:measure"),
    "comparing": Measurement("tests.speed.comparing:measure"),
    "counting": Measurement("tests.speed.counting:measure"),
    "scoring": Measurement("tests.speed.scoring:measure"),
    "report": Measurement("tests.speed.report:measure"),
    "report-browser": Measurement("tests.speed.report_browser:measure"),
    "growth-analysis": Measurement("tests.speed.growth_analysis:measure"),
    "growth-store": Measurement("tests.speed.growth_store:measure"),
    "growth-grading": Measurement("tests.speed.growth_grading:measure"),
    "growth-count": Measurement("tests.speed.count_memory:measure"),
    "grading": Measurement("tests.speed.grading:measure"),
    "engine": Measurement("tests.speed.engine:measure"),
    "engine-vllm": Measurement("tests.speed.engine:measure_vllm", vllm=True),
    "training": Measurement("tests.speed.training:measure"),
}
"""In the order of a run: the short ones first."""


def versions() -> dict[str, str]:
    """Of this Python and of the packages that can change a figure."""
    found = {"python": platform.python_version(), **provenance.versions()}
    for name in ("numpy", "pyarrow"):
        found[name] = metadata.version(name)
    return found


def main() -> None:
    """Make one measurement and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("function", metavar="MODULE:FUNCTION")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    module, function = options.function.split(":")
    try:
        measured = getattr(import_module(module), function)(options.quick)
    except Unavailable as lacking:
        print(f"not measured: {lacking}")
        found = {"unavailable": str(lacking)}
    else:
        show(measured)
        found = measured.described()
    options.out.write_text(json.dumps(found | {"versions": versions()}), encoding="utf-8")


if __name__ == "__main__":
    main()
