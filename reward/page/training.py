"""A training run as `worldcritic dpo`, `rwr` and `nft` leave it: curves over steps, alarms, before and after.

Read from the run's folder: `training.json` (measurements on held-out prompts, and the hacking monitor's alarms),
`log.jsonl` (a row a step) and `samples/step-N/` (the held-out clips and their rewards).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward.chart import Chart, Series
from reward.errors import InputError
from reward.files import existing, read_json, read_jsonl
from reward.page.leaderboard import LABELS

MEASURED, LOG, SAMPLES = "training.json", "log.jsonl", "samples"
_GUARDED = ("diversity", "motion", "presence")
_MOST_POINTS = 200
_STEP = re.compile(r"step-(\d+)")

Point = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingSection:
    """Curves, alarms as (step, text), and each dimension's held-out reward at the first and the last measurement."""

    steps: int
    charts: Sequence[Chart]
    alarms: Sequence[tuple[int, str]]
    judge: tuple[float, float] | None
    scorer: str
    dimensions: Sequence[tuple[str, float, float]]


def load_training(run: Path) -> TrainingSection:
    """Read a run's folder; InputError where it holds neither measurements nor a log, or something else."""
    existing(run, "training run")
    measured, log = run / MEASURED, run / LOG
    record = read_json(measured, "training record") if measured.exists() else {}
    rows = [row for _, row in read_jsonl(log, "training log")] if log.exists() else []
    if not rows and (not isinstance(record, dict) or not record.get("points")):
        raise InputError(
            f"--training {run} holds no measurements in {MEASURED} and no rows in {LOG}; "
            "name the --out folder of dpo, rwr or nft"
        )
    try:
        points = [point for point in record.get("points", ()) if int(point["step"]) >= 0]
        steps = max((int(each["step"]) for each in (*points, *rows)), default=0)
        alarms = [(int(step), str(text)) for step, texts in record.get("alarms", {}).items() for text in texts]
        scorer = "judge" if any(point.get("judge") is not None for point in points) else "reward"
        return TrainingSection(
            steps, _charts(points, rows), alarms, _ends(points, scorer), scorer, _dimensions(points, scorer)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{run}: not the record of a training run ({type(error).__name__}: {error}); --training takes its --out"
        ) from None


def sampled_steps(run: Path) -> list[tuple[int, Path]]:
    """Return the steps that have sampled clips with a score file, in order, with their folders."""
    folders = (run / SAMPLES).iterdir() if (run / SAMPLES).is_dir() else ()
    steps = [(int(match[1]), path) for path in folders if (match := _STEP.fullmatch(path.name))]
    return sorted(each for each in steps if (each[1] / "scores.jsonl").is_file())


def _charts(points: Sequence[Point], log: Sequence[Point]) -> list[Chart]:
    rewards = [
        _series(points, "reward", "train critic, held-out prompts"),
        _series(points, "judge", "held-out judge ± standard error", errors="judge_se"),
        _series(log, "reward_mean", "train critic, rollouts", dashed=True),
    ]
    guarded = [_series(_relative(points, name), name, name) for name in _GUARDED]
    charts = [
        _chart("training-reward", "rewards over training", "reward", rewards),
        _chart("training-guarded", "share of the value before training", "share", guarded, from_zero=True),
        _chart(
            "training-drift",
            "drift from the model before",
            "mse(v, v_ref)",
            [_series(points, "drift", "mse(v, v_ref)")],
        ),
        _chart("training-loss", "loss", "loss", [_series(log, "loss", "loss")]),
    ]
    return [chart for chart in charts if chart is not None]


def _chart(
    name: str, title: str, y_label: str, series: Sequence[Series | None], from_zero: bool = False
) -> Chart | None:
    known = [each for each in series if each is not None]
    if not known:
        return None
    top = max(y for each in known for y in each.y)
    return Chart(name, title, "optimiser steps", y_label, known, y_range=(0.0, 1.1 * top) if from_zero else None)


def _series(
    rows: Sequence[Point], key: str, label: str, errors: str | None = None, dashed: bool = False
) -> Series | None:
    """Return a line of what is known; long ones are thinned to means of neighbours."""
    known = [row for row in rows if _finite(row.get(key))]
    if not known:
        return None
    size = math.ceil(len(known) / _MOST_POINTS)
    parts = [known[i : i + size] for i in range(0, len(known), size)]
    x, y = ([math.fsum(row[name] for row in part) / len(part) for part in parts] for name in ("step", key))
    if errors is None or size > 1:
        return Series(label, x, y, dashed=dashed, points=len(x) < 30)
    doubt = [row.get(errors) for row in known]
    low = [value - error if error is not None else None for value, error in zip(y, doubt, strict=True)]
    high = [value + error if error is not None else None for value, error in zip(y, doubt, strict=True)]
    return Series(label, x, y, low, high, bars=True, points=True)


def _relative(points: Sequence[Point], name: str) -> list[Point]:
    """Return a measurement as a share of its first value above 0."""
    known = [point for point in points if _finite(point.get(name))]
    first = next((float(point[name]) for point in known if point[name] > 0), None)
    return [{"step": point["step"], name: point[name] / first} for point in known] if first else []


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _ends(points: Sequence[Point], key: str) -> tuple[float, float] | None:
    known = [float(point[key]) for point in points if _finite(point.get(key))]
    return (known[0], known[-1]) if len(known) > 1 else None


def _dimensions(points: Sequence[Point], scorer: str) -> list[tuple[str, float, float]]:
    means = [point[f"{scorer}_dimensions"] for point in points if point.get(f"{scorer}_dimensions")]
    if len(means) < 2:
        return []
    first, last = means[0], means[-1]
    return [
        (LABELS.get(name, name), first[name], last[name])
        for name in first
        if _finite(first[name]) and _finite(last.get(name))
    ]
