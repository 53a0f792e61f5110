import numpy as np
import pytest
import scipy.stats

from reward import statistics
from reward.errors import InputError
from reward.statistics import Interval, mean_intervals, ratio_interval

POINTS = np.random.default_rng(0).binomial(3, 0.6, size=60).astype(float)
LIMITS = np.full(60, 3.0)


def test_ratio_interval_agrees_with_scipy_for_paired_clusters() -> None:
    generator = np.random.default_rng(3)
    limits = generator.integers(1, 6, size=80).astype(float)
    points = generator.binomial(limits.astype(int), generator.beta(2, 2, size=80)).astype(float)
    interval = ratio_interval(points, limits, resamples=20_000)
    reference = scipy.stats.bootstrap(
        (points, limits),
        lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(4),
    ).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=0.004)


def test_mean_intervals_agree_with_scipy_column_by_column() -> None:
    values = np.random.default_rng(5).normal([0.0, 3.0], [1.0, 0.2], size=(50, 2))
    for column, interval in enumerate(mean_intervals(values, resamples=20_000)):
        reference = scipy.stats.bootstrap(
            (values[:, column],), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(6)
        ).confidence_interval
        spread = reference.high - reference.low
        assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=0.04 * spread)


def test_prompts_that_say_nothing_do_not_matter() -> None:
    padded = ratio_interval(np.append(POINTS, [0.0, 0.0]), np.append(LIMITS, [0.0, 0.0]))
    assert padded == ratio_interval(POINTS, LIMITS)


def test_the_seed_decides() -> None:
    assert ratio_interval(POINTS, LIMITS, seed=1) == ratio_interval(POINTS, LIMITS, seed=1)
    assert ratio_interval(POINTS, LIMITS, seed=1) != ratio_interval(POINTS, LIMITS, seed=2)


def test_clusters_that_go_together_widen_the_interval() -> None:
    alone = ratio_interval(np.tile([0.0, 1.0], 50), np.ones(100))
    together = ratio_interval(np.tile([0.0, 10.0], 5), np.full(10, 10.0))
    assert alone.low is not None
    assert together.low is not None
    assert together.low < alone.low - 0.1


@pytest.mark.parametrize(
    ("points", "limits", "reason"),
    [([], [], "0 prompts"), ([1.0], [1.0], "1 prompt;"), ([2.0, 4.0], [2.0, 4.0], "all 2 prompts are alike")],
)
def test_no_interval_where_resampling_cannot_tell(points: list[float], limits: list[float], reason: str) -> None:
    interval = ratio_interval(np.array(points), np.array(limits))
    assert interval.low is None
    assert reason in (interval.reason or "")
    assert interval.to_json()["high"] is None
    assert interval.shown() == "-"


def test_memory_is_bounded_without_changing_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ratio_interval(POINTS, LIMITS, resamples=1000)
    monkeypatch.setattr(statistics, "_CELLS_AT_ONCE", 60 * 7)
    assert ratio_interval(POINTS, LIMITS, resamples=1000) == whole


def test_interval_shows_and_scales() -> None:
    assert Interval(0.25, 0.5).scaled(100).shown(1) == "[25.0, 50.0]"
    assert Interval(None, None, "why").scaled(100).to_json() == {"low": None, "high": None, "reason": "why"}


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="for each prompt"):
        ratio_interval(np.ones(3), np.ones(2))
    with pytest.raises(InputError, match="for each prompt"):
        ratio_interval(np.ones(1), np.array([-1.0]))
