"""Choosing an engine: settings that it cannot honour are refused before anything starts."""

import pytest

from prerl_eval.engines import make_engine
from prerl_eval.errors import UserError


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hf", {}, "--engine hf is unknown; give one of auto, transformers, vllm, openai"),
        ("transformers", {"dtype": "fp8"}, "--dtype fp8 is unknown"),
        ("transformers", {"tp": 2}, "--tp 2 --dp 1 need --engine vllm"),
        ("openai", {"batch_size": 4}, "--batch-size 4 needs --engine transformers"),
    ],
)
def test_settings_an_engine_cannot_honour_are_refused(name, settings, message):
    with pytest.raises(UserError, match=message):
        make_engine(name, **settings)


def test_vllm_that_is_not_installed_is_named():
    from importlib.util import find_spec

    if find_spec("vllm"):
        pytest.skip("vllm is installed here")
    with pytest.raises(UserError, match=r"pip install '\.\[vllm\]'"):
        make_engine("vllm")
    assert make_engine("auto").name == "transformers"
