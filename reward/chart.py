"""What a chart shows, apart from how it is drawn: as SVG by hand (`reward.chart_svg`) or by matplotlib."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#1f5fa8", "#c2571a", "#2e7d32", "#7b3fa0", "#8a6d00")
"""Of the series in turn; dark enough to be told from white."""

Maybe = float | None


@dataclass(frozen=True)
class Series:
    """A line: `x` and `y` (N,) are finite; `low` and `high` (N,) bound each y, None where there is no interval.

    Intervals are a shaded band, or one bar at each point where `bars` is set. `points` marks each point.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[Maybe] = ()
    high: Sequence[Maybe] = ()
    dashed: bool = False
    bars: bool = False
    points: bool = False

    @property
    def intervals(self) -> list[tuple[float, float, float]]:
        """The (x, low, high) that there are."""
        return [
            (x, low, high)
            for x, low, high in zip(self.x, self.low, self.high, strict=False)
            if low is not None and high is not None
        ]


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes, which end at round numbers unless ranges are given; `diagonal` draws y = x."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    diagonal: bool = False

    @property
    def x_span(self) -> tuple[float, float]:
        """Least and greatest x, never the same."""
        if self.x_range is not None:
            return self.x_range
        values = [x for each in self.series for x in each.x]
        return (min(values), max(values)) if min(values) < max(values) else (min(values) - 0.5, max(values) + 0.5)

    @property
    def y_span(self) -> tuple[float, float]:
        """Least and greatest of all values and interval ends."""
        if self.y_range is not None:
            return self.y_range
        ends = [end for each in self.series for _, low, high in each.intervals for end in (low, high)]
        values = [*(y for each in self.series for y in each.y), *ends]
        return min(values), max(values)

    @property
    def needs_legend(self) -> bool:
        """Whether the lines' names say more than title and axis do."""
        return any(each.name not in (self.title, self.y_label) for each in self.series)

    @property
    def description(self) -> str:
        """What the chart shows in words, for those who do not see it: first and last value of every line."""
        lines = [f"{each.name} from {each.y[0]:.3g} to {each.y[-1]:.3g}" for each in self.series]
        return f"{self.title}: {self.y_label} over {self.x_label}; {'; '.join(lines)}"


@dataclass(frozen=True)
class Bars:
    """One value per label with its interval, None where there is none; the first label is on top."""

    name: str
    title: str
    x_label: str
    labels: Sequence[str]
    values: Sequence[float]
    low: Sequence[Maybe]
    high: Sequence[Maybe]


def round_step(span: float, about: int = 5) -> float:
    """Return 1, 2 or 5 times a power of ten that divides `span` into about so many parts."""
    power = 10.0 ** math.floor(math.log10(span / about))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / about * (1 - 1e-9))
