"""How good each generator is, in total and by dimension, with intervals by prompt; and what best of n buys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reward.chart import Bars, Chart
from reward.choice import choose
from reward.curve import CurvePoint, best_of_n_curve
from reward.curve_svg import curve_chart
from reward.dimensions import NAMES
from reward.page.scored import Scored, by_generator, by_prompt
from reward.scores import ScoreRow
from reward.statistics import Interval, mean_intervals

LABELS = {
    "event_following": "event following", "mechanics": "mechanics", "interaction": "interaction",
    "material_properties": "materials", "camera_control": "camera", "natural_constraints": "nature",
    "common_sense": "common sense", "attribution_correctness": "attributes", "layout_2d": "2D layout",
    "depth_3d": "3D depth",
}  # fmt: skip
"""Short names of the dimensions for a page."""


@dataclass(frozen=True)
class Mean:
    """A mean over prompts of the mean over each prompt's videos; None where nothing was answered."""

    value: float | None
    interval: Interval
    prompts: int


@dataclass(frozen=True)
class Standing:
    """One generator: how many videos, how many without a reward and how many frozen or black, and its means."""

    generator: str
    videos: int
    failed: int
    gated: int
    reward: Mean
    dimensions: dict[str, Mean]


def standings(found: Sequence[Scored], resamples: int, seed: int) -> list[Standing]:
    """Return the generators, best mean reward first; those without any reward come last."""
    board = [_standing(name, group, resamples, seed) for name, group in by_generator(found).items()]
    return sorted(board, key=lambda each: (each.reward.value is None, -(each.reward.value or 0.0)))


def _standing(name: str, group: Sequence[Scored], resamples: int, seed: int) -> Standing:
    def mean(value: Callable[[ScoreRow], float]) -> Mean:
        return _mean(group, value, resamples, seed)

    scored = [each.row for each in group if each.row.scored]
    return Standing(
        generator=name,
        videos=len(group),
        failed=len(group) - len(scored),
        gated=sum(bool(row.gates and row.gates.closed) for row in scored),
        reward=mean(lambda row: row.reward),
        dimensions={key: mean(lambda row, key=key: row.dimensions.get(key, np.nan)) for key in NAMES},  # type: ignore[misc]
    )


def _mean(group: Sequence[Scored], value: Callable[[ScoreRow], float], resamples: int, seed: int) -> Mean:
    means = []
    for rows in by_prompt([each for each in group if each.row.scored]).values():
        known = [number for number in (value(each.row) for each in rows) if np.isfinite(number)]
        if known:
            means.append(float(np.mean(known)))
    if not means:
        return Mean(None, Interval(None, None, "nothing was answered"), 0)
    return Mean(float(np.mean(means)), mean_intervals(np.array(means)[:, None], resamples, seed)[0], len(means))


def leaderboard_bars(board: Sequence[Standing]) -> list[Bars]:
    """Return the generators' rewards as bars, or one generator's dimensions where there is only one."""
    if len(board) == 1:
        means = {"reward": board[0].reward, **{LABELS[name]: each for name, each in board[0].dimensions.items()}}
        title = f"{board[0].generator}: mean reward by dimension"
    else:
        means, title = {each.generator: each.reward for each in board}, "mean reward by generator"
    known = {label: mean for label, mean in means.items() if mean.value is not None}
    if not known:
        return []
    ends = [mean.interval for mean in known.values()]
    return [
        Bars(
            "leaderboard", title, "mean reward over prompts, 95% interval", list(known),
            [mean.value for mean in known.values() if mean.value is not None],
            [each.low for each in ends], [each.high for each in ends],
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """The best-of-n curve of one generator, `most` candidates at the most."""

    generator: str
    points: Sequence[CurvePoint]
    chart: Chart

    @property
    def last(self) -> CurvePoint:
        """The greatest n of as many prompts as have two candidates; its gain is what a headline may name."""
        everywhere = [point for point in self.points if point.num_prompts == self.points[1].num_prompts]
        return everywhere[-1]


def curves(found: Sequence[Scored], resamples: int, seed: int) -> list[Curve]:
    """Return a curve for each generator that has two scored candidates of some prompt."""
    result = []
    for i, (name, group) in enumerate(by_generator(found).items()):
        choices, tau2 = choose([each.row for each in group], 0.0)
        pools = [choice.pool for choice in choices if choice.candidates]
        points = best_of_n_curve(pools, 0.0, tau2, resamples, seed) if pools else []
        if len(points) > 1:
            title = f"{name}: best of n, {points[0].num_prompts} prompts"
            file = "best-of-n" if i == 0 else f"best-of-n-{i + 1}"
            result.append(Curve(name, points, curve_chart(points, title, file)))
    return result


def headline(found: Sequence[Scored], board: Sequence[Standing]) -> dict[str, Any]:
    """Return the counts that stand at the top of the page."""
    critic = next((each.row.critic for each in found if each.row.critic), None) or {}
    return {
        "videos": len(found),
        "prompts": len(by_prompt(found)),
        "generators": len(board),
        "failed": sum(each.failed for each in board),
        "gated": sum(each.gated for each in board),
        "best": board[0],
        "critic": critic.get("name"),
        "calibrated": critic.get("calibrated"),
        "untrained": critic.get("trained") is False,
    }
