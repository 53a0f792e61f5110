"""A chart as an SVG picture, written by hand: no plotting library is needed.

Colours are attributes, so that the picture stands alone; everything has a class, by which a page's CSS may replace
them, in the dark for one.
"""

import math

from reward.chart import COLOURS, Chart, Series, round_step

LEFT, RIGHT, TOP, BOTTOM = 70, 20, 56, 52
_LEGEND_ROW, _LETTER = 18, 6.4


def chart_svg(chart: Chart, width: int = 640, height: int = 400) -> str:
    """Return the picture, `width` x `height` pixels; the text of the chart is escaped."""
    legend, rows = _legend(chart, width)
    axes = _Axes(chart, width, height, TOP + _LEGEND_ROW * (rows - 1))
    parts = [axes.frame(chart)]
    if chart.diagonal:
        (x1, x2), (y1, y2) = axes.x_ends, axes.y_ends
        low, high = max(x1, y1), min(x2, y2)
        ends = f'x1="{axes.x(low):.1f}" y1="{axes.y(low):.1f}" x2="{axes.x(high):.1f}" y2="{axes.y(high):.1f}"'
        parts.append(f'<line class="diagonal" {ends} stroke="#999"/>')
    for i, series in enumerate(chart.series):
        parts += _drawn(axes, series, i)
    parts += legend
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">\n'
        f"<title>{_escaped(chart.description)}</title>\n"
        '<rect class="paper" width="100%" height="100%" fill="white"/>\n'
        + "\n".join(filter(None, parts))
        + "\n</svg>\n"
    )


class _Axes:
    """Maps values to pixels; axes without a given range end at round numbers, upwards at least."""

    def __init__(self, chart: Chart, width: int, height: int, top: int) -> None:
        self.width, self.height, self.top = width, height, top
        self.x_ends = chart.x_span
        low, high = chart.y_span
        self.step = round_step((high - low) or max(abs(high), 1.0) * 0.1)
        first = math.floor(low / self.step + 1e-9) * self.step
        last = max(math.ceil(high / self.step - 1e-9) * self.step, first + self.step)
        self.y_ends = chart.y_range or (first, last)

    def x(self, value: float) -> float:
        first, last = self.x_ends
        return LEFT + (self.width - LEFT - RIGHT) * (value - first) / (last - first)

    def y(self, value: float) -> float:
        low, high = self.y_ends
        return self.height - BOTTOM - (self.height - self.top - BOTTOM) * (value - low) / (high - low)

    def frame(self, chart: Chart) -> str:
        right, floor = self.width - RIGHT, self.height - BOTTOM
        lines = [f'<text class="title" x="{LEFT}" y="20" font-size="14">{_escaped(chart.title)}</text>']
        low, high = self.y_ends
        for i in range(math.floor((high - low) / self.step + 1e-9) + 1):
            y = self.y(low + i * self.step)
            value = low + i * self.step
            lines.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
            lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{self._shown(value)}</text>')
        for value, text in self._x_ticks():
            lines.append(f'<text x="{self.x(value):.1f}" y="{floor + 18}" text-anchor="middle">{text}</text>')
        middle = (self.top + floor) / 2
        across = f'x="{(LEFT + right) / 2:.0f}" y="{self.height - 14}"'
        lines.append(f'<text {across} text-anchor="middle">{_escaped(chart.x_label)}</text>')
        up = f'transform="translate(18 {middle:.0f}) rotate(-90)"'
        lines.append(f'<text {up} text-anchor="middle">{_escaped(chart.y_label)}</text>')
        return "\n".join(lines)

    def _shown(self, value: float) -> str:
        """Return a value of the y axis: small numbers with an exponent, for want of room."""
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        if digits > 3 and max(map(abs, self.y_ends)) < 100 * self.step:
            return f"{round(value / self.step) * self.step:.2g}"
        return f"{value:.{digits}f}"

    def _x_ticks(self) -> list[tuple[float, str]]:
        """Return whole numbers where the axis is long enough for them, else round fractions."""
        first, last = self.x_ends
        about = max(2, (self.width - LEFT - RIGHT) // 45)
        if last - first >= 2 and float(first).is_integer():
            span = last - first
            step = 1.0 if span <= about else max(1.0, round_step(span, about))
        else:
            step = round_step(last - first, min(about, 5))
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        ticks = range(math.ceil(first / step - 1e-9), math.floor(last / step + 1e-9) + 1)
        return [(i * step, f"{i * step:.{digits}f}") for i in ticks]


def _drawn(axes: _Axes, series: Series, i: int) -> list[str]:
    """Return the intervals, the line and the points of the i-th series."""
    colour, kind = COLOURS[i % len(COLOURS)], f"s{i % len(COLOURS)}"
    parts = []
    if series.bars:
        parts += [
            f'<line class="{kind} bar" x1="{axes.x(x):.1f}" y1="{axes.y(low):.1f}" x2="{axes.x(x):.1f}" '
            f'y2="{axes.y(high):.1f}" stroke="{colour}" stroke-opacity="0.5" stroke-width="2"/>'
            for x, low, high in series.intervals
        ]
    elif len(series.intervals) > 1:
        upper = [f"{axes.x(x):.1f},{axes.y(high):.1f}" for x, _, high in series.intervals]
        lower = [f"{axes.x(x):.1f},{axes.y(low):.1f}" for x, low, _ in reversed(series.intervals)]
        corners = " ".join(upper + lower)
        parts.append(f'<polygon class="{kind} band" points="{corners}" fill="{colour}" fill-opacity="0.15"/>')
    line = [f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in zip(series.x, series.y, strict=True)]
    parts.append(
        f'<polyline class="{kind}" points="{" ".join(line)}" fill="none" stroke="{colour}" stroke-width="2"'
        f"{_dashes(series)}/>"
    )
    if series.points or len(line) == 1:
        for x, y in zip(series.x, series.y, strict=True):
            parts.append(f'<circle class="{kind}" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3" fill="{colour}"/>')
    return parts


def _legend(chart: Chart, width: int) -> tuple[list[str], int]:
    """Return the entries, in as many rows as they need, and how many rows that are."""
    if not chart.needs_legend:
        return [], 1
    entries, x, row = [], LEFT + 0.0, 0
    for i, series in enumerate(chart.series):
        wide = 34 + _LETTER * len(series.name)
        if x > LEFT and x + wide > width - 4:
            x, row = LEFT + 0.0, row + 1
        y = 38 + _LEGEND_ROW * row
        entries.append(
            f'<line class="s{i % len(COLOURS)}" x1="{x:.0f}" y1="{y}" x2="{x + 28:.0f}" y2="{y}" '
            f'stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="2"{_dashes(series)}/>'
            f'<text x="{x + 34:.0f}" y="{y + 4}">{_escaped(series.name)}</text>'
        )
        x += wide + 16
    return entries, row + 1


def _dashes(series: Series) -> str:
    return ' stroke-dasharray="6 4"' if series.dashed else ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
