"""The best-of-n curve as a chart."""

from collections.abc import Sequence

from reward.chart import Chart, Series
from reward.chart_svg import chart_svg
from reward.curve import CurvePoint
from reward.statistics import Interval


def curve_chart(points: Sequence[CurvePoint], title: str, name: str = "best-of-n") -> Chart:
    """Return gain of the pick over n, and what is left of it without selected noise. There is a point or more."""
    n = [point.n for point in points]
    series = [_series("gain in reward", n, [(point.gain, point.gain_interval) for point in points])]
    true = [(point.true_gain, point.true_gain_interval) for point in points if point.true_gain is not None]
    if len(true) == len(points):
        series.append(_series("corrected for selected noise", n, true, dashed=True))
    return Chart(name, title, "candidates n", "gain over the mean of the candidates", series)


def curve_svg(points: Sequence[CurvePoint], title: str) -> str:
    """Return the picture of `curve_chart`."""
    return chart_svg(curve_chart(points, title))


def _series(name: str, n: Sequence[int], gains: Sequence[tuple[float, Interval]], dashed: bool = False) -> Series:
    """Shaded bands are the intervals, drawn where there are some; the gain of one candidate is 0 for certain."""
    sure = [gain == 0 and interval.low is None for gain, interval in gains]
    low = [gain if certain else interval.low for (gain, interval), certain in zip(gains, sure, strict=True)]
    high = [gain if certain else interval.high for (gain, interval), certain in zip(gains, sure, strict=True)]
    return Series(name, n, [gain for gain, _ in gains], low, high, dashed)
