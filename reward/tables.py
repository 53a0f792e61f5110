"""Plain tables for a person at a terminal."""

import math
from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return rows under a header in aligned columns, the first `left` of them flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def shown(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Return a number with so many decimals, or "-" where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:{'+' * sign}.{digits}f}"


def count_shown(value: float) -> str:
    """Return a count: whole where it is whole, with one decimal where it is a mean."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
