"""Best of N: order statistics of one pool of candidates, and what of the gain is selection of noise.

All functions are pure. A group is the candidates of one prompt: `rewards` (N,), their standard deviations `stds`
(N,), and `criterion` (N,), what they are ranked by: the reward or a lower bound of it.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

from reward.errors import InputError


@functools.lru_cache(maxsize=64)
def order_statistic_weights(num_candidates: int) -> np.ndarray:
    """Return the probability (N, N) that the i-th worst of N (column i - 1) is the best of n drawn ones (row n - 1).

    It is C(i - 1, n - 1) / C(N, n), drawing without replacement: the unbiased best-of-n estimator (for pass@k in Chen
    et al. 2021, arXiv 2107.03374, section 2.1). Computed from the right, w(N) = n / N and
    w(i - 1) = w(i) (i - n) / (i - 1), so that nothing overflows.
    """
    n = np.arange(1, num_candidates + 1)[:, None]
    i = np.arange(num_candidates, 1, -1)[None, :]
    steps = np.maximum(i - n, 0) / (i - 1)
    weights = np.cumprod(np.concatenate([n / num_candidates, steps], axis=1), axis=1)[:, ::-1]
    weights.flags.writeable = False
    return weights


def best_of_n(values: np.ndarray, criterion: np.ndarray) -> np.ndarray:
    """Return E[value of the candidate with the highest criterion among n drawn], (N,) for n = 1 .. N, exactly.

    Equal criteria rank in the order given, first is best. With `values` the criterion it is the expected maximum.
    """
    return order_statistic_weights(len(values)) @ np.asarray(values, float)[ranked(criterion)][::-1]


def ranked(criterion: np.ndarray) -> np.ndarray:
    """Return indices (N,) from best to worst; equal ones stay in the order given."""
    return np.argsort(-np.asarray(criterion, float), kind="stable")


def between_variance(groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return tau^2, the variance of true quality between candidates of one prompt, pooled over (rewards, stds) groups.

    Unbiased moment estimator of the random-effects model r_i = theta_i + e_i, e_i ~ N(0, s_i^2), theta_i ~ N(mu_p,
    tau^2) (Hedges 1983, as in DerSimonian and Laird 1986, unweighted): since E[sum (r_i - mean r)^2] = (N - 1) tau^2 +
    (1 - 1/N) sum s_i^2, tau^2 = [sum over groups of both's difference] / [sum of (N - 1)], cut off at 0. NaN where no
    group has two candidates.
    """
    freedom = sum(len(rewards) - 1 for rewards, _ in groups)
    if not freedom:
        return math.nan
    spread = sum(float(np.sum((rewards - rewards.mean()) ** 2)) for rewards, _ in groups)
    noise = sum(float(np.sum(stds**2)) * (1 - 1 / len(rewards)) for rewards, stds in groups)
    return max(0.0, (spread - noise) / freedom)


def shrunken(rewards: np.ndarray, stds: np.ndarray, tau2: float) -> np.ndarray:
    """Return the posterior means (N,) of true quality: mu + tau^2 / (tau^2 + s_i^2) (r_i - mu).

    The normal-normal model of `between_variance`, with a flat prior on the prompt's mean: mu is the mean weighted by
    1 / (tau^2 + s_i^2) (Gelman et al., Bayesian Data Analysis, 3rd ed., section 5.4). A posterior mean does not
    depend on which candidate was selected, so that of the pick is free of the winner's curse. It assumes noise that
    is independent between candidates: noise common to all of a prompt cancels in a comparison, and counting it
    shrinks too much, and so does counting doubt that the reward already is the mean of: a perfectly calibrated
    reward is a posterior mean itself, and needs no shrinking. One candidate alone keeps its reward.
    """
    if len(rewards) == 1:
        return np.asarray(rewards, float).copy()
    variances = tau2 + stds**2
    certain = variances == 0
    if certain.any():
        # The limit of the formula for s_i -> 0 before tau -> 0: what is certain stays, the others join its mean.
        return np.where(certain, rewards, rewards[certain].mean())
    mean = float(np.sum(rewards / variances) / np.sum(1 / variances))
    return mean + tau2 / variances * (rewards - mean)


def lower_bounds(rewards: np.ndarray, stds: np.ndarray, k: float) -> np.ndarray:
    """Return rewards - k * stds (N,); at k = 0 the rewards themselves, whatever is missing in `stds`.

    Raises InputError for a negative k.
    """
    if k < 0:
        raise InputError(f"k of a lower bound is {k}; give 0 or more")
    return np.asarray(rewards, float) - (k * np.asarray(stds, float) if k else 0.0)
