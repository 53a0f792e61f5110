"""Shared fixtures: tiny models of both families, built once."""

import pytest

from reward.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="session", params=["qwen2_5_vl", "qwen3_vl"])
def model(request, tokenizer):
    """A tiny model whose answers are spread out like those of a trained one."""
    return tiny_model(request.param, tokenizer, gain=4.0)
