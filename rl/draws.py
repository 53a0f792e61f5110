"""All of training's randomness, as pure functions of seed and position: a resumed run draws what it would have drawn.

A position is the number of a sample in the run: step * samples per step + its place in the step. It does not depend on
how the step is split into batches and processes.
"""

import hashlib
import json
from functools import lru_cache

import numpy as np


def derived_seed(*parts: int | str) -> int:
    """Return a seed below 2**63 that depends on all parts."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8]) >> 1


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(derived_seed("order", seed, epoch)).permutation(count).tolist())


def item_at(position: int, count: int, seed: int) -> int:
    """Return which of `count` items is at a position: every item once in each epoch, in an order drawn for it."""
    epoch, place = divmod(position, count)
    return _order(count, seed, epoch)[place]
