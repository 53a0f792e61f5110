"""Which events happen, and in which order: exact distributions over ordered subsets, from next-letter probabilities.

The critic gives, for a prefix of letters already named, log-probabilities of naming each letter next and of stopping.
They are renormalised over the letters not yet used and stop, so that the probabilities of all ordered subsets sum to
one. Five events have 326 ordered subsets and 206 prefixes to ask about: one packed forward pass. Beyond that a beam.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations

import numpy as np

from reward.answers import letters

EXACT_EVENTS = 5
"""Up to so many events every ordered subset is enumerated; all of VideoVerse is."""

NextLetter = Mapping[str, np.ndarray]
"""For each prefix: log-probabilities (num_events + 1,) of each letter in alphabetic order, then of stopping."""


def open_prefixes(num_events: int) -> list[str]:
    """Return every prefix after which more than stopping is possible, shorter ones first: "", "A", "B", "AB", ..."""
    asked = letters(num_events)
    return ["".join(order) for length in range(num_events) for order in permutations(asked, length)]


def distribution(num_events: int, next_letter: NextLetter) -> dict[str, float]:
    """Return the probability of every ordered subset of `num_events` events; they sum to one."""
    asked = letters(num_events)
    log_p = {"": 0.0}
    orders: dict[str, float] = {}
    for prefix in open_prefixes(num_events):
        for letter, step in _steps(asked, prefix, next_letter[prefix]).items():
            if letter:
                log_p[prefix + letter] = log_p[prefix] + step
            else:
                orders[prefix] = math.exp(log_p[prefix] + step)
    for order in permutations(asked):
        orders["".join(order)] = math.exp(log_p["".join(order)])
    return orders


def beam(
    num_events: int, ask: Callable[[Sequence[str]], NextLetter], width: int = 32, least: float = 1e-4
) -> dict[str, float]:
    """Return the probable ordered subsets of many events, asking level by level.

    Each level keeps at most `width` prefixes, none less probable than `least`. What is left out is missing from the
    sum of the returned probabilities.
    """
    asked = letters(num_events)
    frontier = {"": 0.0}
    orders: dict[str, float] = {}
    for _ in range(num_events):
        longer: dict[str, float] = {}
        for prefix, scores in ask(list(frontier)).items():
            for letter, step in _steps(asked, prefix, scores).items():
                (longer if letter else orders)[prefix + letter] = frontier[prefix] + step
        probable = sorted(longer, key=lambda prefix: (-longer[prefix], prefix))[:width]
        frontier = {prefix: longer[prefix] for prefix in probable if longer[prefix] >= math.log(least)}
    return {order: math.exp(value) for order, value in (orders | frontier).items()}


def _steps(asked: str, prefix: str, scores: np.ndarray) -> dict[str, float]:
    """Return normalised log-probabilities of the unused letters, and of stopping under the empty string."""
    steps = {letter: float(scores[i]) for i, letter in enumerate(asked) if letter not in prefix}
    steps[""] = float(scores[-1])
    total = float(np.logaddexp.reduce(list(steps.values())))
    return {letter: score - total for letter, score in steps.items()}
