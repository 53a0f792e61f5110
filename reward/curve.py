"""The best-of-n curve: what picking the best of n candidates buys, with intervals, as numbers and as a picture."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward.errors import InputError
from reward.ranking import best_of_n, between_variance, lower_bounds, shrunken
from reward.statistics import Interval, mean_intervals


@dataclass(frozen=True)
class CurvePoint:
    """Best of n, averaged over the `num_prompts` prompts that have n candidates or more.

    `reward` is E[reward of the pick]; `gain` is that minus the mean reward of the same prompts; `true_gain` is the
    same gain in the shrunken rewards (`reward.ranking.shrunken`), None where a standard deviation is missing.
    """

    n: int
    num_prompts: int
    reward: float
    reward_interval: Interval
    gain: float
    gain_interval: Interval
    true_gain: float | None
    true_gain_interval: Interval


@dataclass(frozen=True)
class Pool:
    """The scored candidates of one prompt: rewards and standard deviations (N,), the latter NaN where missing."""

    rewards: np.ndarray
    stds: np.ndarray


NO_STD = "some candidates carry no reward_std"


def pooled_between_variance(pools: Sequence[Pool]) -> float | None:
    """Return tau^2 of all prompts, 0 where no prompt has two candidates, None where a standard deviation is missing."""
    if not all(np.isfinite(pool.stds).all() for pool in pools):
        return None
    tau2 = between_variance([(pool.rewards, pool.stds) for pool in pools])
    return tau2 if np.isfinite(tau2) else 0.0


def best_of_n_curve(pools: Sequence[Pool], k: float, tau2: float | None, resamples: int, seed: int) -> list[CurvePoint]:
    """Return a point for every n up to the largest pool, picking by rewards - k * stds.

    Intervals resample prompts; tau^2 is held fixed. Raises InputError where there is no pool.
    """
    if not pools:
        raise InputError("no prompt has a scored candidate")
    most = max(len(pool.rewards) for pool in pools)
    picked = np.full((len(pools), most), np.nan)
    true = np.full((len(pools), most), np.nan)
    for row, pool in enumerate(pools):
        criterion = lower_bounds(pool.rewards, pool.stds, k)
        picked[row, : len(criterion)] = best_of_n(pool.rewards, criterion)
        if tau2 is not None:
            true[row, : len(criterion)] = best_of_n(shrunken(pool.rewards, pool.stds, tau2), criterion)
    points: list[CurvePoint] = []
    for first, last in _same_prompts(picked):
        points += _points(picked, true, range(first, last), resamples, seed)
    return points


def _same_prompts(values: np.ndarray) -> list[tuple[int, int]]:
    """Return ranges of columns that the same prompts have a value in."""
    counts = np.isfinite(values).sum(axis=0)
    edges = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), values.shape[1]]
    return list(itertools.pairwise(edges))


def _points(picked: np.ndarray, true: np.ndarray, columns: range, resamples: int, seed: int) -> list[CurvePoint]:
    rows = np.isfinite(picked[:, columns[0]])
    reward = picked[rows][:, columns]
    gain, true_gain = (values[rows][:, columns] - values[rows][:, :1] for values in (picked, true))
    has_true = bool(np.isfinite(true_gain).all())
    intervals = [mean_intervals(values, resamples, seed) for values in (reward, gain)]
    intervals.append(
        mean_intervals(true_gain, resamples, seed) if has_true else [Interval(None, None, NO_STD)] * len(columns)
    )
    return [
        CurvePoint(
            n=column + 1,
            num_prompts=int(rows.sum()),
            reward=float(reward[:, i].mean()),
            reward_interval=intervals[0][i],
            gain=float(gain[:, i].mean()),
            gain_interval=intervals[1][i],
            true_gain=float(true_gain[:, i].mean()) if has_true else None,
            true_gain_interval=intervals[2][i],
        )
        for i, column in enumerate(columns)
    ]
