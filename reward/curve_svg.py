"""The best-of-n curve as an SVG picture, written by hand: no plotting library is needed."""

import math
from collections.abc import Sequence

from reward.curve import CurvePoint
from reward.statistics import Interval

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 56, 52
RAW, TRUE = "#1f5fa8", "#c2571a"


def curve_svg(points: Sequence[CurvePoint], title: str) -> str:
    """Return the picture: gain of the pick over n, and what is left of it without selected noise.

    Shaded bands are the intervals, drawn where there are some. `points` has two points or more.
    """
    series = [("gain in reward", RAW, "", [_triple(point.gain, point.gain_interval) for point in points])]
    true = [_triple(point.true_gain, point.true_gain_interval) for point in points if point.true_gain is not None]
    if len(true) == len(points):
        series.append(("corrected for selected noise", TRUE, "6 4", true))
    values = [value for _, _, _, triples in series for triple in triples for value in triple if value is not None]
    axis = _Axes(1, points[-1].n, min(values), max(values))
    parts = [axis.frame(title)]
    for name, colour, dashes, triples in series:
        parts.append(_band(axis, [point.n for point in points], triples, colour))
        line = " ".join(
            f"{axis.x(point.n):.1f},{axis.y(triple[1]):.1f}" for point, triple in zip(points, triples, strict=True)
        )
        parts.append(
            f'<polyline class="{name.split()[0]}" points="{line}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes or "none"}"/>'
        )
    parts += [_legend(i, *entry[:3]) for i, entry in enumerate(series)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(filter(None, parts))
        + "\n</svg>\n"
    )


Triple = tuple[float | None, float, float | None]


def _triple(gain: float, interval: Interval) -> Triple:
    """Return low, value and high; the gain of one candidate is 0 for certain."""
    return (gain, gain, gain) if gain == 0 and interval.low is None else (interval.low, gain, interval.high)


class _Axes:
    """Maps n and reward to pixels; the reward axis ends at round numbers."""

    def __init__(self, first: int, last: int, low: float, high: float) -> None:
        self.first, self.last = first, last
        self.step = _round_step((high - low) or max(abs(high), 1.0) * 0.1)
        self.low = math.floor(low / self.step) * self.step
        self.high = max(math.ceil(high / self.step) * self.step, self.low + self.step)

    def x(self, n: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (n - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)

    def frame(self, title: str) -> str:
        digits = max(0, -math.floor(math.log10(self.step)))
        lines = [f'<text x="{LEFT}" y="20" font-size="14">{_escaped(title)}</text>']
        for i in range(round((self.high - self.low) / self.step) + 1):
            value = self.low + i * self.step
            y = self.y(value)
            lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
            lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>')
        every = max(1, math.ceil((self.last - self.first) / 12))
        for n in range(self.first, self.last + 1, every):
            lines.append(f'<text x="{self.x(n):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{n}</text>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        lines.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">candidates n</text>'
        )
        lines.append(
            f'<text transform="translate(18 {middle:.0f}) rotate(-90)" text-anchor="middle">'
            "gain over the mean of the candidates</text>"
        )
        return "\n".join(lines)


def _round_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten that divides `span` into about five."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 5)


def _band(axis: _Axes, n: Sequence[int], triples: Sequence[Triple], colour: str) -> str:
    known = [
        (x, low, high) for x, (low, _, high) in zip(n, triples, strict=True) if low is not None and high is not None
    ]
    if len(known) < 2:
        return ""
    upper = [f"{axis.x(x):.1f},{axis.y(high):.1f}" for x, _, high in known]
    lower = [f"{axis.x(x):.1f},{axis.y(low):.1f}" for x, low, _ in reversed(known)]
    return f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" fill-opacity="0.15"/>'


def _legend(i: int, name: str, colour: str, dashes: str) -> str:
    x = LEFT + 10 + 190 * i
    return (
        f'<line x1="{x}" y1="38" x2="{x + 28}" y2="38" stroke="{colour}" stroke-width="2" '
        f'stroke-dasharray="{dashes or "none"}"/><text x="{x + 34}" y="42">{_escaped(name)}</text>'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
