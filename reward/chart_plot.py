"""Charts as files for papers and logs, drawn by matplotlib (extra `plots`) without a display: PNG, SVG, PDF."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reward.chart import COLOURS, Bars, Chart, Series
from reward.errors import InputError
from reward.files import write_atomic


def require_matplotlib() -> None:
    """Raise InputError with the command that installs matplotlib where it is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InputError("plots need matplotlib; install it with: pip install 'worldcritic[plots]'") from None


def plot_files(charts: Sequence[Chart | Bars], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Return the files that `write_plots` will write."""
    return [folder / f"{chart.name}.{suffix}" for chart in charts for suffix in formats]


def write_plots(charts: Sequence[Chart | Bars], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write every chart in every format ("png", "svg", "pdf") and return the files, each written whole.

    SVG and PDF carry no date and SVG text stays text, so that the same chart is the same file.
    """
    import matplotlib

    for chart in charts:
        with matplotlib.rc_context({"svg.hashsalt": chart.name, "svg.fonttype": "none", "pdf.fonttype": 42}):
            figure = _bars(chart) if isinstance(chart, Bars) else _lines(chart)
            for suffix in formats:
                buffer = io.BytesIO()
                dated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
                figure.savefig(buffer, format=suffix, dpi=200, metadata=dated[suffix])
                write_atomic(folder / f"{chart.name}.{suffix}", buffer.getvalue())
    return plot_files(charts, folder, formats)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _lines(chart: Chart) -> Any:
    figure, axis = _figure(5.2, 3.6)
    if chart.diagonal:
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=1)
    for i, series in enumerate(chart.series):
        _line(axis, series, COLOURS[i % len(COLOURS)])
    axis.set(title=plain(chart.title), xlabel=plain(chart.x_label), ylabel=plain(chart.y_label))
    axis.grid(axis="y", color="0.9")
    if chart.x_range:
        axis.set_xlim(*chart.x_range)
    else:
        axis.xaxis.get_major_locator().set_params(integer=True)  # candidates, steps
    if chart.y_range:
        axis.set_ylim(*chart.y_range)
    if chart.needs_legend:
        axis.legend(fontsize="small", frameon=False)
    return figure


def _line(axis: Any, series: Series, colour: str) -> None:
    style = {"linestyle": "--" if series.dashed else "-", "marker": "o" if series.points else None, "markersize": 4}
    axis.plot(series.x, series.y, color=colour, label=plain(series.name), **style)
    if not series.intervals:
        return
    x, low, high = zip(*series.intervals, strict=True)
    if series.bars:
        axis.vlines(x, low, high, color=colour, alpha=0.5, linewidth=2)
    else:
        axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _bars(chart: Bars) -> Any:
    figure, axis = _figure(5.2, 1.2 + 0.32 * len(chart.labels))
    places = range(len(chart.labels))
    axis.barh(places, chart.values, color=COLOURS[0], alpha=0.8)
    known = [
        (y, a, b) for y, a, b in zip(places, chart.low, chart.high, strict=True) if a is not None and b is not None
    ]
    if known:
        y, low, high = zip(*known, strict=True)
        axis.hlines(y, low, high, color="black", linewidth=1.5)
    axis.set_yticks(places, [plain(label) for label in chart.labels])
    axis.invert_yaxis()
    axis.set(title=plain(chart.title), xlabel=plain(chart.x_label))
    return figure


def plain(text: str) -> str:
    """Return a text that matplotlib prints as it is: a pair of dollar signs would begin a formula."""
    return text.replace("$", r"\$")
