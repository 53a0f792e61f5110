"""Tiny generators of all families: saved once, and loaded once where a test does not change them."""

from functools import cache

import pytest

from rl.generator import Generator
from rl.tiny import save_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Name of a tiny generator -> the folder that it is saved in."""
    return cache(lambda name: save_tiny(name, tmp_path_factory.mktemp("generators") / name))


@pytest.fixture(scope="session")
def loaded(tiny):
    """Name of a tiny generator -> the generator, which tests leave as it is."""
    return cache(lambda name: Generator.load(str(tiny(name)), device="cpu"))
