"""Points by prompt and dimension, and the table that sums them up with intervals by prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reward.dimensions import DIMENSIONS, NAMES
from reward.statistics import Interval, ratio_interval
from reward.tables import count_shown, shown, text_table

OVERALL = "overall"
_KIND = {dimension.name: dimension.kind for dimension in DIMENSIONS}


@dataclass(frozen=True)
class Measure:
    """One way to count points. `points` and the points possible, `limit`, are (P, D)."""

    points: np.ndarray
    limit: np.ndarray


@dataclass(frozen=True)
class Tally:
    """Points of P prompts in D dimensions: the ten, then whatever else a file asks about.

    `asked` and `answered` (P, D) count checks, and events in event following. With several candidates of a prompt all
    are means over its candidates.
    """

    dimensions: tuple[str, ...]
    asked: np.ndarray
    answered: np.ndarray
    measures: Mapping[str, Measure]


@dataclass(frozen=True)
class Cell:
    """A measure in one dimension: points of `limit` possible, in percent, with a 95% interval by prompt."""

    score: float
    limit: float
    percent: float | None
    interval: Interval


@dataclass(frozen=True)
class Line:
    """One dimension, or all together, summed over the prompts."""

    dimension: str
    asked: float
    answered: float
    cells: Mapping[str, Cell]


def points_array(rows: Sequence[Mapping[str, float]], dimensions: Sequence[str]) -> np.ndarray:
    """Return (P, D) from P rows of points by dimension; a dimension that a row leaves out has 0."""
    return np.array([[row.get(name, 0.0) for name in dimensions] for row in rows], float).reshape(-1, len(dimensions))


def summarise(tally: Tally, resamples: int, seed: int) -> list[Line]:
    """Return a line for each dimension and, last, for all together."""
    columns = [(name, [i]) for i, name in enumerate(tally.dimensions)] + [(OVERALL, list(range(len(tally.dimensions))))]
    return [
        Line(
            dimension=name,
            asked=float(tally.asked[:, column].sum()),
            answered=float(tally.answered[:, column].sum()),
            cells={
                measure: _cell(
                    values.points[:, column].sum(axis=1), values.limit[:, column].sum(axis=1), resamples, seed
                )
                for measure, values in tally.measures.items()
            },
        )
        for name, column in columns
    ]


def _cell(points: np.ndarray, limit: np.ndarray, resamples: int, seed: int) -> Cell:
    total, most = float(points.sum()), float(limit.sum())
    percent = 100 * total / most if most else None
    return Cell(total, most, percent, ratio_interval(points, limit, resamples, seed).scaled(100))


def lines_to_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the table for a report; counts that are whole are written as integers."""
    return [
        {
            "dimension": line.dimension,
            "kind": _KIND.get(line.dimension),
            "asked": _number(line.asked),
            "answered": _number(line.answered),
            **{
                name: {
                    "score": _number(cell.score),
                    "max": _number(cell.limit),
                    "percent": cell.percent,
                    "percent_interval": cell.interval.to_json(),
                }
                for name, cell in line.cells.items()
            },
        }
        for line in lines
    ]


def lines_to_text(lines: Sequence[Line]) -> str:
    """Return the table for a person: for each measure score, maximum, percent and 95% interval."""
    measures = list(lines[0].cells)
    header = ["dimension", "asked", "answered"]
    for name in measures:
        header += [name, "max", "%", "95% interval"]
    rows = []
    for line in lines:
        row = [line.dimension, count_shown(line.asked), count_shown(line.answered)]
        for cell in line.cells.values():
            row += [count_shown(cell.score), count_shown(cell.limit), shown(cell.percent, 1), cell.interval.shown(1)]
        rows.append(row)
    return text_table(header, rows)


def all_dimensions(extra: Sequence[str]) -> tuple[str, ...]:
    """Return the ten names and, after them, others in order of first appearance."""
    return tuple(dict.fromkeys([*NAMES, *extra]))


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value
