"""What `worldcritic calibrate` measured: reliability diagrams before and after, and the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward.chart import Chart, Series
from reward.errors import InputError
from reward.files import read_json

FILE_NAME = "report.json"
WHEN = {"before": "before calibration", "after": "after, on held-out prompts"}
_MEASURES = ("ece_width", "brier", "nll", "auroc")


@dataclass(frozen=True)
class Line:
    """A dimension's measures, each before and after; None where there is no value."""

    dimension: str
    n: int
    errors: int
    measures: Sequence[tuple[float | None, float | None]]


@dataclass(frozen=True)
class CalibrationSection:
    """The critic's name, how many answers of how many prompts, the table and the diagrams."""

    critic: str
    answers: int
    prompts: int
    lines: Sequence[Line]
    charts: Sequence[Chart]

    @property
    def ece(self) -> tuple[float | None, float | None]:
        """Expected calibration error of all checks, before and after."""
        return self.lines[-1].measures[0]


def load_calibration_report(path: Path) -> CalibrationSection:
    """Read the folder or the report.json that `worldcritic calibrate` wrote; InputError if it is something else."""
    file = path / FILE_NAME if path.is_dir() else path
    record = read_json(file, "calibration report")
    try:
        lines = [_line(each) for each in record["table"]]
        charts = [_chart(when, record["reliability"][when]["equal_width"]) for when in WHEN]
        fit, name = record["fit"], str(record["critic"].get("name", "critic"))
        section = CalibrationSection(name, int(fit["answers"]), int(fit["prompts"]), lines, charts)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{file}: not a report of `worldcritic calibrate` ({type(error).__name__}: {error}); "
            "--calibration takes its --out folder or the report.json in it"
        ) from None
    if not lines:
        raise InputError(f"{file}: its table has no line; calibrate again")
    return section


def _line(line: Mapping[str, Any]) -> Line:
    pairs = [tuple(_number(line[when][name]["value"]) for when in WHEN) for name in _MEASURES]
    return Line(str(line["dimension"]), int(line["n"]), int(line["errors"]), [(a, b) for a, b in pairs])


def _chart(when: str, bins: Sequence[Mapping[str, Any]]) -> Chart:
    ends = [(each["share_interval"]["low"], each["share_interval"]["high"]) for each in bins]
    series = Series(
        "labels, 95% intervals",
        [float(each["mean_p"]) for each in bins],
        [float(each["share_yes"]) for each in bins],
        [_number(low) for low, _ in ends],
        [_number(high) for _, high in ends],
        bars=True,
        points=True,
    )
    title, whole = f"reliability {WHEN[when]}", (0.0, 1.0)
    return Chart(
        f"reliability-{when}", title, "probability of Yes", "share of Yes", [series], whole, whole, diagonal=True
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
