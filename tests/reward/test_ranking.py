import itertools
import math

import numpy as np
import pytest

from reward.errors import InputError
from reward.ranking import best_of_n, between_variance, lower_bounds, order_statistic_weights, ranked, shrunken


def test_best_of_n_is_the_mean_over_all_subsets() -> None:
    rewards = np.array([0.3, 0.9, 0.1, 0.5, 0.5, 0.8])
    for n in range(1, 7):
        subsets = itertools.combinations(rewards, n)
        assert best_of_n(rewards, rewards)[n - 1] == pytest.approx(np.mean([max(subset) for subset in subsets]))


def test_best_of_n_by_another_criterion_follows_the_criterion() -> None:
    rewards, bounds = np.array([0.9, 0.5, 0.7]), np.array([0.1, 0.4, 0.3])
    pairs = list(itertools.combinations(range(3), 2))
    by_hand = np.mean([rewards[max(pair, key=lambda i: bounds[i])] for pair in pairs])
    assert best_of_n(rewards, bounds) == pytest.approx([0.7, by_hand, 0.5])


def test_weights_are_the_order_statistics_formula_and_sum_to_one() -> None:
    weights = order_statistic_weights(9)
    for n, i in itertools.product(range(1, 10), repeat=2):
        assert weights[n - 1, i - 1] == pytest.approx(math.comb(i - 1, n - 1) / math.comb(9, n))
    assert order_statistic_weights(1000).sum(axis=1) == pytest.approx(np.ones(1000))


def test_equal_candidates_keep_their_order() -> None:
    assert ranked(np.array([0.2, 0.7, 0.7, 0.1])).tolist() == [1, 2, 0, 3]


def test_between_variance_is_unbiased() -> None:
    generator = np.random.default_rng(0)
    groups = []
    for _ in range(10_000):
        stds = generator.uniform(0.02, 0.08, size=generator.integers(1, 6))
        groups.append((generator.normal(0.5, 0.1, len(stds)) + generator.normal(0, stds), stds))
    assert between_variance(groups) == pytest.approx(0.01, rel=0.05)


def test_between_variance_is_never_negative_and_unknown_for_single_candidates() -> None:
    alike = np.array([0.5, 0.5])
    assert between_variance([(alike, np.array([0.2, 0.2]))]) == 0.0
    assert math.isnan(between_variance([(np.array([0.5]), np.array([0.1]))]))


def test_shrunken_by_hand() -> None:
    # tau^2 = s^2: half the way to the mean of 0.6.
    assert shrunken(np.array([0.4, 0.8]), np.array([0.1, 0.1]), 0.01) == pytest.approx([0.5, 0.7])


@pytest.mark.parametrize(
    ("stds", "tau2", "wanted"),
    [
        ([0.0, 0.0], 0.01, [0.4, 0.8]),
        ([0.0, 0.0], 0.0, [0.4, 0.8]),
        ([0.1, 0.1], 0.0, [0.6, 0.6]),
        ([0.0, 0.1], 0.0, [0.4, 0.4]),
    ],
)
def test_shrunken_at_the_limits(stds: list[float], tau2: float, wanted: list[float]) -> None:
    assert shrunken(np.array([0.4, 0.8]), np.array(stds), tau2) == pytest.approx(wanted)


def test_shrunken_gain_is_the_true_gain_where_the_raw_one_is_not() -> None:
    generator = np.random.default_rng(1)
    prompts, candidates = 2000, 8
    true = generator.normal(0.6, 0.15, (prompts, 1)) + generator.normal(0, 0.08, (prompts, candidates))
    stds = generator.uniform(0.04, 0.16, (prompts, candidates))
    rewards = true + generator.normal(0, stds)
    tau2 = between_variance(list(zip(rewards, stds, strict=True)))
    pick = rewards.argmax(axis=1)
    rows = np.arange(prompts)
    estimates = np.array([shrunken(*pair, tau2) for pair in zip(rewards, stds, strict=True)])
    true_gain, raw_gain, estimated_gain = (
        float(np.mean(values[rows, pick] - values.mean(axis=1))) for values in (true, rewards, estimates)
    )
    assert raw_gain > true_gain + 0.08
    assert estimated_gain == pytest.approx(true_gain, abs=0.005)


def test_lower_bounds() -> None:
    assert lower_bounds(np.array([0.5]), np.array([0.1]), 2.0) == pytest.approx([0.3])
    assert lower_bounds(np.array([0.5]), np.array([np.nan]), 0.0) == pytest.approx([0.5])
    with pytest.raises(InputError, match="0 or more"):
        lower_bounds(np.array([0.5]), np.array([0.1]), -1.0)
