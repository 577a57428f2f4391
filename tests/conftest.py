"""Shared by all tests: one torch thread, no hub, and the folder of real data where there is one."""

import os
import signal
from pathlib import Path

import pytest

# Before torch or transformers are imported anywhere: two threads on two busy cores were up to 20x slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from prerl_eval.errors import UserError
from prerl_eval.sandbox import Isolation, find_isolation
from tests.tiny import other_model, tiny_adapter, tiny_model  # noqa: F401 - fixtures for all tests

REPO = Path(__file__).resolve().parent.parent

# A shell that starts the tests in the background ignores Ctrl-C; every command under test would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with hub/ and outputs/ (real data that is not ours to commit); skips where absent."""
    folder = Path(os.environ.get("PRERL_TEST_SHARED", REPO.parent / "shared"))
    if not (folder / "hub").is_dir():
        pytest.skip(f"no clones of the benchmark data sets at {folder} (set PRERL_TEST_SHARED)")
    return folder


@pytest.fixture(scope="session")
def hub(shared: Path) -> Path:
    return shared / "hub"


@pytest.fixture(scope="session")
def outputs(shared: Path) -> Path:
    return shared / "outputs"


@pytest.fixture(scope="session")
def isolation() -> Isolation:
    """How model-written code is kept apart here; skips where it cannot be."""
    try:
        return find_isolation()
    except UserError as error:
        pytest.skip(str(error))
