import numpy as np
import pytest
from scipy import stats

from reward import metrics
from reward.statistics import statistic_interval

P = np.array([0.9, 0.8, 0.6, 0.4, 0.3, 0.1])
Y = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
ONES = np.ones(6)


def test_hand_worked_values():
    assert metrics.accuracy(P, Y, ONES) == pytest.approx(4 / 6)
    assert metrics.majority(P, Y, ONES) == 0.5
    assert metrics.balanced_accuracy(P, Y, ONES) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert metrics.cohen_kappa(P, Y, ONES) == pytest.approx((4 / 6 - 0.5) / 0.5)
    assert metrics.auroc(P, Y, ONES) == pytest.approx(8 / 9)
    assert metrics.brier(P, Y, ONES) == pytest.approx((0.01 + 0.04 + 0.36 + 0.36 + 0.09 + 0.01) / 6)
    assert metrics.nll(P, Y, ONES) == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.4, 0.7, 0.9]).mean())


def test_kappa_of_a_two_by_two_table():
    """Counts 88, 14, 10, 88: observed agreement 0.88."""
    p = np.repeat([0.9, 0.9, 0.1, 0.1], [88, 14, 10, 88])
    y = np.repeat([1.0, 0.0, 1.0, 0.0], [88, 14, 10, 88])
    by_chance = (102 * 98 + 98 * 102) / 200**2
    assert metrics.cohen_kappa(p, y, np.ones(200)) == pytest.approx((176 / 200 - by_chance) / (1 - by_chance))


def test_expected_calibration_errors_by_hand():
    p, y = np.array([0.05, 0.15, 0.15, 0.95]), np.array([0.0, 1.0, 0.0, 1.0])
    assert metrics.ece_width(p, y, np.ones(4)) == pytest.approx((0.05 + abs(0.3 - 1) + 0.05) / 4)
    grid = np.repeat([0.2, 0.7], 10)
    truth = np.concatenate([np.ones(4), np.zeros(6), np.ones(7), np.zeros(3)])
    assert metrics.ece_mass(grid, truth, np.ones(20)) == pytest.approx(0.5 * 0.2)
    assert metrics.ece_width(np.array([1.0]), np.array([1.0]), np.ones(1)) == 0


def test_bins_of_equal_mass_hold_equal_mass_and_keep_ties_together():
    p = np.random.default_rng(0).random(1000)
    assert np.bincount(metrics.mass_bins(p, np.ones(1000))).tolist() == [100] * 10
    tied = np.array([0.5] * 50 + [0.6] * 50)
    assert len(set(metrics.mass_bins(tied, np.ones(100))[:50])) == 1


def test_auroc_equals_the_mann_whitney_statistic():
    rng = np.random.default_rng(1)
    p, y = rng.integers(0, 20, 300) / 20, rng.integers(0, 2, 300).astype(float)
    u = stats.mannwhitneyu(p[y == 1], p[y == 0]).statistic
    assert metrics.auroc(p, y, np.ones(300)) == pytest.approx(u / ((y == 1).sum() * (y == 0).sum()))


@pytest.mark.parametrize(
    "measure",
    [
        metrics.accuracy,
        metrics.majority,
        metrics.balanced_accuracy,
        metrics.cohen_kappa,
        metrics.auroc,
        metrics.brier,
        metrics.nll,
        metrics.ece_width,
    ],
)
def test_weights_count_rows_as_often(measure):
    rng = np.random.default_rng(2)
    p, y, w = rng.random(60), rng.integers(0, 2, 60).astype(float), rng.integers(0, 4, 60)
    repeated = measure(np.repeat(p, w), np.repeat(y, w), np.ones(w.sum()))
    assert measure(p, y, w.astype(float)) == pytest.approx(repeated)


def test_undefined_measures_are_nan():
    ones = np.ones(3)
    assert np.isnan(metrics.auroc(np.array([0.1, 0.2, 0.3]), ones, ones))
    assert np.isnan(metrics.balanced_accuracy(np.array([0.1, 0.2, 0.3]), ones, ones))
    assert np.isnan(metrics.cohen_kappa(np.array([0.9, 0.8, 0.7]), ones, ones))


def test_a_majority_guesser_has_no_kappa_and_no_balanced_accuracy_above_chance():
    y = np.array([1.0] * 8 + [0.0] * 2)
    p = np.full(10, 0.9)
    assert metrics.accuracy(p, y, np.ones(10)) == metrics.majority(p, y, np.ones(10)) == 0.8
    assert metrics.cohen_kappa(p, y, np.ones(10)) == pytest.approx(0)
    assert metrics.balanced_accuracy(p, y, np.ones(10)) == 0.5


def test_reliability_bins_sum_to_the_data():
    rng = np.random.default_rng(3)
    p = rng.random(200)
    y = (rng.random(200) < p).astype(float)
    bins = metrics.reliability(p, y, np.ones(200), metrics.width_bins(p))
    assert sum(each["n"] for each in bins) == 200
    assert sum(each["n"] * each["share_yes"] for each in bins) == pytest.approx(y.sum())
    gap = sum(each["n"] * abs(each["mean_p"] - each["share_yes"]) for each in bins) / 200
    assert gap == pytest.approx(metrics.ece_width(p, y, np.ones(200)))


def test_intervals_of_a_statistic_resample_prompts_not_rows():
    rng = np.random.default_rng(4)
    of_prompt = rng.normal(size=40)
    values, prompts = np.repeat(of_prompt, 25), np.repeat(np.arange(40), 25)

    def mean(w):
        return float(w @ values / w.sum())

    interval = statistic_interval(mean, prompts, 2000, 0)
    width = interval.high - interval.low
    assert width == pytest.approx(2 * 1.96 * of_prompt.std() / np.sqrt(40), rel=0.1)
    by_rows = statistic_interval(mean, np.arange(1000), 2000, 0)
    assert by_rows.high - by_rows.low < width / 3


def test_no_interval_comes_with_its_reason():
    assert "1 prompt" in statistic_interval(lambda w: 0.0, np.zeros(5)).reason
    assert "the same" in statistic_interval(lambda w: 1.0, np.arange(5)).reason
    assert "not defined" in statistic_interval(lambda w: float("nan"), np.arange(5)).reason
