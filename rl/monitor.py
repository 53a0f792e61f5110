"""The hacking monitor: the reward that is trained on against everything that training does not see.

A point holds what was measured after a number of steps, as `rl.judging` makes it: `step`; `reward`, the train critic's
mean on held-out clips; `judge`, the held-out judge's; `judge_clips`, {prompt id: [judge's reward of each clip]}, clips
of the same seeds each time; `diversity`, `motion`, `presence`. What was not measured is None.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reward.files import write_json

Point = Mapping[str, Any]
GUARDED = ("diversity", "motion", "presence")


@dataclass(frozen=True)
class Rule:
    """When to raise an alarm."""

    stds: float = 2.0
    least: Mapping[str, float] | None = None
    """Least share of the first point's value, by name of what is guarded."""


def alarms(points: Sequence[Point], rule: Rule) -> list[str]:
    """Return what is wrong with the last point, in words; nothing where all is well or there is one point only.

    The judge falls when its mean is more than `stds` standard errors below that of its best point, clip by clip of the
    same prompt and seed; that is an alarm where the train reward has risen since that point (reward hacking; Gao et al.
    2023, arXiv 2210.10760, call it over-optimisation). Without a train reward a falling judge alone is one.
    """
    if len(points) < 2:
        return []
    now, found = points[-1], []
    judged = [point for point in points if point.get("judge") is not None]
    if now.get("judge") is not None:
        best = max(judged, key=lambda point: float(point["judge"]))
        fall, doubt = paired_fall(best["judge_clips"], now["judge_clips"])
        if fall > rule.stds * doubt:
            found += _judge_alarm(best, now, fall, doubt)
    for name, share in (rule.least or {}).items():
        first, value = points[0].get(name), now.get(name)
        if first is not None and value is not None and value < share * first:
            found.append(f"{name} is {value:.3g}, {value / first:.0%} of the {first:.3g} before training")
    return found


def _judge_alarm(best: Point, now: Point, fall: float, doubt: float) -> list[str]:
    text = f"the judge fell by {fall:.3f} ± {doubt:.3f} from its best, at step {best['step']}"
    before, after = best.get("reward"), now.get("reward")
    if before is None or after is None:
        return [text]
    return [f"{text}, while the train reward rose by {after - before:.3f}"] if after > before else []


def paired_fall(
    before: Mapping[str, Sequence[float | None]], after: Mapping[str, Sequence[float | None]]
) -> tuple[float, float]:
    """Return the mean fall from `before` to `after` over prompts, and its standard error.

    Clips are paired by prompt and place; a pair with a missing reward is left out. The prompts are taken for the
    independent units; with only one prompt its clips are. The error is infinite where fewer than two units are left.
    """
    by_prompt = [
        [b - a for b, a in zip(before[name], after[name], strict=True) if b is not None and a is not None]
        for name in before
        if name in after
    ]
    by_prompt = [falls for falls in by_prompt if falls]
    units = [float(np.mean(falls)) for falls in by_prompt] if len(by_prompt) > 1 else [*by_prompt, []][0]
    if len(units) < 2:
        return (units[0] if units else math.nan), math.inf
    return float(np.mean(units)), float(np.std(units, ddof=1) / math.sqrt(len(units)))


def write_page(out: Path, points: Sequence[Point], alarmed: Mapping[int, Sequence[str]], log: Sequence[Point]) -> None:
    """Write training.json and training.png: all points, the alarms by step, and the log's rewards."""
    shown = [{key: value for key, value in point.items() if key != "judge_clips"} for point in points]
    write_json(out / "training.json", {"points": shown, "alarms": {str(step): alarmed[step] for step in alarmed}})
    _plot(out / "training.png", points, alarmed, log)


def _plot(path: Path, points: Sequence[Point], alarmed: Mapping[int, Sequence[str]], log: Sequence[Point]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, gridspec_kw={"hspace": 0.35})
    rewards, guarded, drift, loss = axes.flat
    _line(rewards, points, "reward", "train critic, held-out prompts")
    _line(rewards, log, "reward_mean", "train critic, rollouts")
    _line(rewards, points, "judge", "judge", errors="judge_se")
    for name in GUARDED:
        first = next((point[name] for point in points if point.get(name)), None)
        if first:
            _line(guarded, [{**point, name: point[name] / first} for point in points if point.get(name)], name, name)
    _line(drift, points, "drift", "mse(v, v_ref)")
    _line(loss, log, "loss", "loss")
    for axis, title in zip(axes.flat, ("rewards", "share of the value before training", "drift", "loss"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("step")
        for step in alarmed:
            axis.axvline(step, color="red", alpha=0.3)
        if axis.lines and axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    figure.savefig(path, dpi=100)


def _line(axis: Any, points: Sequence[Point], name: str, label: str, errors: str | None = None) -> None:
    known = [point for point in points if point.get(name) is not None]
    if known:
        doubt = [point.get(errors) or 0.0 for point in known] if errors else None
        axis.errorbar(
            [point["step"] for point in known], [point[name] for point in known], yerr=doubt, label=label, marker="."
        )
