"""From sections to one HTML file: jinja2 with autoescape, our own style and script inside, nothing from elsewhere.

The content security policy names the style and the script by their hashes and lets the page load videos from beside it
and nothing else, so that a prompt could not make the page do anything even if it were not escaped.
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reward.chart import Chart
from reward.chart_svg import chart_svg
from reward.statistics import Interval

FOLDER = Path(__file__).parent
CHART_SIZE = (440, 300)


def render(sections: Mapping[str, Any]) -> str:
    """Return the page; `sections` are the variables of `page.html.j2`, every text in them data to be escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, signed=signed, percent=percent, interval=interval)
    style, script = (f"\n{(FOLDER / name).read_text(encoding='utf-8')}" for name in ("style.css", "script.js"))

    def drawn(chart: Chart) -> Markup:
        return Markup(chart_svg(chart, *CHART_SIZE))

    return environment.get_template("page.html.j2").render(
        **sections,
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        chart=drawn,
        isfinite=math.isfinite,
    )


def policy(style: str, script: str) -> str:
    """Return the content security policy; a page opened from disk takes its videos from `file:`."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data: 'self' file:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with so many decimals, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign."""
    return "–" if value is None or not math.isfinite(value) else f"{value:+.{digits}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """Return a share in whole percent."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.0%}"


def interval(value: Interval, change: bool = False) -> str:
    """Return an interval's ends, with their signs for a `change`; a dash where there is none."""
    if value.low is None or value.high is None:
        return "–"
    shown = signed if change else number
    return f"{shown(value.low, 3)} to {shown(value.high, 3)}"
