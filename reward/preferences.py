"""Pairs of videos that people compared, and how often a critic's rewards prefer the same one.

A file holds `{"pairs": [{"prompt_id", "A": video, "B": video, "VQ": "A" | "B" | "same", ...}]}`; every key whose values
are A, B or same is an aspect that people judged.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from reward.errors import InputError
from reward.files import check_id, read_json
from reward.scores import ScoreRow
from reward.statistics import statistic_interval

CHOICES = ("A", "B", "same")
_PLAIN = ("prompt_id", "A", "B")


@dataclass(frozen=True)
class Pair:
    """Two videos of a prompt, as named in the file, and by aspect which one people prefer: "A", "B" or "same"."""

    prompt_id: str
    a: str
    b: str
    choices: Mapping[str, str]


@dataclass(frozen=True)
class ComparedPair:
    """A pair with both rewards."""

    pair: Pair
    reward_a: float
    reward_b: float

    def choice(self, margin: float) -> str:
        """Return the video that the critic prefers by more than `margin`, else "same"."""
        difference = self.reward_a - self.reward_b
        return "same" if abs(difference) <= margin else "A" if difference > 0 else "B"


def load_preferences(path: Path) -> list[Pair]:
    """Read a preference file; InputError naming file and pair for anything missing, mistyped or given twice."""
    record = read_json(path, "preference file")
    pairs = record.get("pairs") if isinstance(record, dict) else None
    if not isinstance(pairs, list) or not pairs:
        raise InputError(f"{path}: needs 'pairs', a list of {{'prompt_id', 'A', 'B', aspect: 'A' | 'B' | 'same'}}")
    found = [_pair(each, f"{path}: pair {number}") for number, each in enumerate(pairs, start=1)]
    seen: set[tuple[str, frozenset[str]]] = set()
    for number, pair in enumerate(found, start=1):
        key = (pair.prompt_id, frozenset((pair.a, pair.b)))
        if key in seen:
            raise InputError(f"{path}: pair {number}: {pair.a} and {pair.b} of {pair.prompt_id} are compared twice")
        seen.add(key)
    return found


def _pair(record: Any, where: str) -> Pair:
    if not isinstance(record, dict):
        raise InputError(f"{where}: must be an object")
    for key in _PLAIN:
        if not isinstance(record.get(key), str) or not record[key]:
            raise InputError(f"{where}: field {key!r} must be a string")
    check_id(record["prompt_id"], where)
    if record["A"] == record["B"]:
        raise InputError(f"{where}: A and B are the same video")
    choices = {key: value for key, value in record.items() if key not in _PLAIN and value in CHOICES}
    wrong = {key: value for key, value in record.items() if key.isupper() and key not in _PLAIN and key not in choices}
    if wrong:
        key, value = next(iter(wrong.items()))
        raise InputError(f"{where}: field {key!r} must be 'A', 'B' or 'same', not {value!r}")
    if not choices:
        raise InputError(f"{where}: says nothing of which video is better")
    return Pair(record["prompt_id"], record["A"], record["B"], choices)


def compare_pairs(pairs: Sequence[Pair], scores: Sequence[ScoreRow]) -> tuple[list[ComparedPair], list[str]]:
    """Return the pairs with both rewards, and for each of the others why it has none."""
    by_prompt: dict[str, list[ScoreRow]] = {}
    for row in scores:
        by_prompt.setdefault(row.prompt_id, []).append(row)
    found, without = [], []
    for pair in pairs:
        rows = [_row(by_prompt.get(pair.prompt_id, []), pair.prompt_id, name) for name in (pair.a, pair.b)]
        missing = [name for name, row in zip((pair.a, pair.b), rows, strict=True) if row is None or not row.scored]
        if missing:
            without.append(f"{pair.prompt_id}: no reward of {' and '.join(missing)}")
            continue
        a, b = (row.reward for row in rows if row is not None)
        found.append(ComparedPair(pair, a, b))
    return found, without


def _row(rows: Sequence[ScoreRow], prompt_id: str, name: str) -> ScoreRow | None:
    """Return the score of a video named by its path, with or without the prompt's folder; None if there is none.

    Raises InputError where two scored videos could be meant.
    """
    wanted = {name, f"{prompt_id}/{name}"}
    fitting = [row for row in rows if row.video in wanted] or [
        row for row in rows if PurePosixPath(row.video).name == name
    ]
    if len(fitting) > 1:
        raise InputError(f"preferences: {name} of {prompt_id} could be {' or '.join(row.video for row in fitting)}")
    return fitting[0] if fitting else None


def aspects(pairs: Sequence[ComparedPair]) -> list[str]:
    """Return the aspects that people judged, in the order of the file."""
    return list(dict.fromkeys(name for each in pairs for name in each.pair.choices))


def preference_lines(pairs: Sequence[ComparedPair], margin: float, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Return for each aspect the accuracy without ties and with ties, with intervals by prompt.

    Without ties: pairs that people called the same are left out, and equal rewards count one half. With ties: all
    three choices, the critic's being "same" up to `margin`. `always_same` is what saying "same" always would get.
    """
    return [{"aspect": name, **_aspect(pairs, name, margin, resamples, seed)} for name in aspects(pairs)]


def _aspect(pairs: Sequence[ComparedPair], name: str, margin: float, resamples: int, seed: int) -> dict[str, Any]:
    judged = [each for each in pairs if name in each.pair.choices]
    decided = [each for each in judged if each.pair.choices[name] != "same"]
    without = np.array([_right(each, name) for each in decided])
    with_ties = np.array([float(each.choice(margin) == each.pair.choices[name]) for each in judged])
    return {
        "pairs": len(judged),
        "ties": len(judged) - len(decided),
        "accuracy_without_ties": _share(without, decided, resamples, seed),
        "accuracy_with_ties": _share(with_ties, judged, resamples, seed),
        "always_same": 1 - len(decided) / len(judged),
    }


def _right(each: ComparedPair, name: str) -> float:
    choice = each.choice(0.0)
    return 0.5 if choice == "same" else float(choice == each.pair.choices[name])


def _share(values: np.ndarray, pairs: Sequence[ComparedPair], resamples: int, seed: int) -> dict[str, Any]:
    if not len(values):
        return {"value": None, "reason": "no such pair"}

    def mean(w: np.ndarray) -> float:
        return float(w @ values / w.sum())

    prompts = np.array([each.pair.prompt_id for each in pairs], object)
    return {"value": float(values.mean()), "interval": statistic_interval(mean, prompts, resamples, seed).to_json()}


def best_margin(pairs: Sequence[ComparedPair]) -> float:
    """Return the tie margin with the best accuracy with ties over all aspects: for pairs other than those reported.

    Candidates lie halfway between the differences that occur; the smallest of equally good ones is taken.
    """
    differences = sorted({abs(each.reward_a - each.reward_b) for each in pairs})
    halfway = ((low + high) / 2 for low, high in itertools.pairwise(differences))

    def right(margin: float) -> int:
        return sum(each.choice(margin) == choice for each in pairs for choice in each.pair.choices.values())

    return max((0.0, *halfway, *differences[-1:]), key=lambda margin: (right(margin), -margin))
