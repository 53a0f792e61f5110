"""Bootstrap intervals that resample prompts, because answers about one prompt or one video go together."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reward.errors import InputError

CONFIDENCE = 0.95
ALIKE = 1e-12
"""Prompts whose values differ by less are alike: the difference is rounding."""
_CELLS_AT_ONCE = 4_000_000
"""Resampled cells held in memory at a time, about 100 MB."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval; where none can be given both ends are None and `reason` says why."""

    low: float | None
    high: float | None
    reason: str | None = None

    def scaled(self, factor: float) -> "Interval":
        """Return the interval of `factor` > 0 times the quantity."""
        if self.low is None or self.high is None:
            return self
        return Interval(self.low * factor, self.high * factor)

    def shown(self, digits: int = 3) -> str:
        """Return "[low, high]", or "-"."""
        return "-" if self.low is None or self.high is None else f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def to_json(self) -> dict[str, float | str | None]:
        """Return `{"low", "high"}`, with `reason` where there is no interval."""
        ends: dict[str, float | str | None] = {"low": self.low, "high": self.high}
        return ends | ({"reason": self.reason} if self.reason else {})


def ratio_interval(
    numerators: np.ndarray,
    denominators: np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the percentile interval of sum(numerators) / sum(denominators), both (C,), one value per prompt.

    Cluster bootstrap: whole prompts are drawn with replacement (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13). Prompts with denominator 0 say nothing about the ratio and are left out before
    drawing. With fewer than two prompts, or where all give the same ratio, resampling cannot tell the doubt and no
    interval is given. The same seed draws the same prompts, so that quantities of the same prompts move together.
    Raises InputError for arrays of different shape or a negative denominator.
    """
    numerators, denominators = np.asarray(numerators, float), np.asarray(denominators, float)
    if numerators.shape != denominators.shape or numerators.ndim != 1 or np.any(denominators < 0):
        raise InputError("a ratio needs one numerator and one denominator >= 0 for each prompt")
    known = denominators > 0
    return _intervals(numerators[known, None], denominators[known], resamples, seed, confidence)[0]


def mean_intervals(
    values: np.ndarray, resamples: int = 2000, seed: int = 0, confidence: float = CONFIDENCE
) -> list[Interval]:
    """Return the bootstrap percentile interval of each column's mean over prompts; `values` (C, K) are finite."""
    return _intervals(np.asarray(values, float), np.ones(len(values)), resamples, seed, confidence)


def statistic_interval(
    statistic: Callable[[np.ndarray], float],
    clusters: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the percentile interval of any statistic of N rows, whole clusters (prompts) drawn with replacement.

    `clusters` (N,) names each row's prompt; `statistic` takes row weights (N,), how often the row's prompt was drawn,
    and returns a float. Draws for which it is NaN are left out; where that is every tenth or more, there is no
    interval.
    """
    names, place = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return Interval(None, None, f"{len(names)} prompt{'s' * (len(names) != 1)}; an interval needs two")
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        times = np.bincount(generator.integers(len(names), size=len(names)), minlength=len(names))
        drawn[i] = statistic(times[place].astype(float))
    known = drawn[~np.isnan(drawn)]
    if len(known) <= 0.9 * resamples:
        return Interval(None, None, "not defined in many resamples: too few prompts or answers of one kind")
    if np.ptp(known) < ALIKE:
        return Interval(None, None, f"the same in all resamples of {len(names)} prompts")
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _intervals(
    numerators: np.ndarray, denominators: np.ndarray, resamples: int, seed: int, confidence: float
) -> list[Interval]:
    """Intervals of the K ratios of column sums of (C, K) to the sum of (C,)."""
    clusters, columns = numerators.shape
    if clusters < 2:
        return [Interval(None, None, f"{clusters} prompt{'s' * (clusters != 1)}; an interval needs two")] * columns
    drawn = _resampled_ratios(numerators, denominators, resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail), axis=0)
    alike = np.ptp(numerators / denominators[:, None], axis=0) < ALIKE
    none = Interval(None, None, f"all {clusters} prompts are alike")
    return [none if alike[k] else Interval(float(low[k]), float(high[k])) for k in range(columns)]


def _resampled_ratios(
    numerators: np.ndarray, denominators: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Return (resamples, K) ratios, each from as many prompts drawn with replacement as there are."""
    clusters = len(denominators)
    step = max(1, _CELLS_AT_ONCE // clusters)
    ratios = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(float)
        ratios.append((times @ numerators) / (times @ denominators)[:, None])
    return np.concatenate(ratios)
