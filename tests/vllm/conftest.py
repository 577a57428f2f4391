"""vLLM's CPU build, as small as it goes."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

# Before vLLM is imported anywhere. In GiB.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def pytest_collection_modifyitems(items):
    """Tests of this folder need vLLM, and vLLM's imports warn."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.filterwarnings("default"))
            if not find_spec("vllm"):
                item.add_marker(pytest.mark.skip(reason="vllm is not installed (make test-vllm has it)"))
