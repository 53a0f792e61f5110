"""Balance of dimensions and answers in training rows, by weights or by leaving rows out.

The natural frequencies are lost on purpose, so that a critic does not learn that 3D depth is mostly Yes. What it then
says is off by that prior: calibrate it on rows that were not balanced, such as the validation split.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from distill.rows import Row

Balance = Literal["none", "weights", "subsample"]
Cell = tuple[str, bool]


def balance_rows(rows: Sequence[Row], how: Balance, max_weight: float, seed: int) -> list[Row]:
    """Return training rows balanced by dimension and answer.

    "weights": every dimension gets the same total weight and, in it, asked-for answers (Yes; all events in order) the
    same as the others; no weight grows by more than `max_weight`, and the mean weight is 1. "subsample": in every
    dimension rows of the more frequent answer are left out, chosen by hash, until both are as frequent; a dimension
    with one answer only stays whole.
    """
    if how == "weights":
        return _weighted(rows, max_weight)
    return _subsampled(rows, seed) if how == "subsample" else list(rows)


def cell(row: Row) -> Cell:
    """Return the dimension and whether the answer is the asked-for one."""
    return row.dimension, row.positive


def masses(rows: Sequence[Row]) -> dict[Cell, float]:
    """Return the total weight by dimension and answer."""
    found: dict[Cell, float] = {}
    for row in rows:
        found[cell(row)] = found.get(cell(row), 0.0) + row.weight
    return found


def _weighted(rows: Sequence[Row], max_weight: float) -> list[Row]:
    mass = {each: total for each, total in masses(rows).items() if total > 0}
    dimensions = {dimension for dimension, _ in mass}
    total = sum(mass.values())
    factor = {}
    for (dimension, positive), each in mass.items():
        answers = sum((dimension, answer) in mass for answer in (True, False))
        fair = total / len(dimensions) / answers
        factor[dimension, positive] = min(fair / each, max_weight)
    weighted = [replace(row, weight=row.weight * factor.get(cell(row), 1.0)) for row in rows]
    mean = sum(row.weight for row in weighted) / max(len(weighted), 1)
    return [replace(row, weight=row.weight / mean) for row in weighted] if mean else weighted


def _subsampled(rows: Sequence[Row], seed: int) -> list[Row]:
    places: dict[Cell, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(cell(row), []).append(i)
    kept: set[int] = set()
    for (dimension, positive), indices in places.items():
        other = places.get((dimension, not positive), indices)
        kept.update(sorted(indices, key=lambda i: _rank(rows[i], seed))[: len(other)])
    return [row for i, row in enumerate(rows) if i in kept]


def _rank(row: Row, seed: int) -> str:
    return hashlib.sha256(f"{seed} {row.content} {row.dimension} {row.question}".encode()).hexdigest()
