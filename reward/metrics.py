"""How good probabilities of Yes are against answers: discrimination, agreement beyond chance, calibration.

Every measure takes `p` (N,) in [0, 1], `y` (N,) in {0, 1} and row weights `w` (N,) >= 0, and returns a float, NaN where
it is not defined. Weights are how often a bootstrap draws a row's prompt.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
NUM_BINS = 10
LEAST_PROBABILITY = 1e-12
"""Keeps the logarithm finite where a probability is rounded to 0."""


def accuracy(p: Array, y: Array, w: Array) -> float:
    """Return the share of answers that p >= 0.5 gives right."""
    return _ratio(w[(p >= 0.5) == (y > 0.5)].sum(), w.sum())


def majority(p: Array, y: Array, w: Array) -> float:
    """Return the accuracy of always giving the more frequent answer, whatever p says."""
    yes = _ratio((w * y).sum(), w.sum())
    return max(yes, 1 - yes)


def balanced_accuracy(p: Array, y: Array, w: Array) -> float:
    """Return the mean of the accuracies on Yes and on No; 0.5 for a guesser, NaN with one kind of answer only."""
    said, yes = p >= 0.5, y > 0.5
    return (_ratio(w[said & yes].sum(), w[yes].sum()) + _ratio(w[~said & ~yes].sum(), w[~yes].sum())) / 2


def cohen_kappa(p: Array, y: Array, w: Array) -> float:
    """Return (p_o - p_e) / (1 - p_e), Cohen 1960, "A coefficient of agreement for nominal scales", eq. 1.

    p_o is the observed agreement of p >= 0.5 with y, p_e what two independent raters with these Yes-rates would have.
    NaN where both always say the same one answer.
    """
    total = w.sum()
    said, yes = _ratio(w[p >= 0.5].sum(), total), _ratio((w * y).sum(), total)
    by_chance = said * yes + (1 - said) * (1 - yes)
    return _ratio(accuracy(p, y, w) - by_chance, 1 - by_chance)


def auroc(p: Array, y: Array, w: Array) -> float:
    """Return P(p of a Yes > p of a No) + P(equal) / 2, the area under the ROC curve (Hanley and McNeil 1982)."""
    values, place = np.unique(p, return_inverse=True)
    yes = np.bincount(place, w * y, len(values))
    no = np.bincount(place, w * (1 - y), len(values))
    below = np.cumsum(no) - no
    return _ratio((yes * (below + no / 2)).sum(), yes.sum() * no.sum())


def brier(p: Array, y: Array, w: Array) -> float:
    """Return the mean squared error of p (Brier 1950, for two classes; in [0, 1])."""
    return _ratio((w * (p - y) ** 2).sum(), w.sum())


def nll(p: Array, y: Array, w: Array) -> float:
    """Return the mean negative log-likelihood of the answers, in nats."""
    losses = -(y * np.log(np.maximum(p, LEAST_PROBABILITY)) + (1 - y) * np.log(np.maximum(1 - p, LEAST_PROBABILITY)))
    return _ratio((w * losses).sum(), w.sum())


def ece_width(p: Array, y: Array, w: Array) -> float:
    """Return the expected calibration error with ten bins of equal width (Guo et al. 2017, eq. 3)."""
    return _ece(p, y, w, width_bins(p))


def ece_mass(p: Array, y: Array, w: Array) -> float:
    """Return the expected calibration error with ten bins of equal mass (Nguyen and O'Connor 2015)."""
    return _ece(p, y, w, mass_bins(p, w))


def width_bins(p: Array) -> npt.NDArray[np.int64]:
    """Return the bin, 0 to 9, of each p when [0, 1] is cut into ten equal parts."""
    return np.minimum((p * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def mass_bins(p: Array, w: Array) -> npt.NDArray[np.int64]:
    """Return the bin, 0 to 9, of each p when the sorted weights are cut into ten equal parts; equal p stay together."""
    values, place = np.unique(p, return_inverse=True)
    mass = np.bincount(place, w, len(values))
    below = np.cumsum(mass) - mass
    bins = np.minimum((below / max(mass.sum(), LEAST_PROBABILITY) * NUM_BINS + 1e-9).astype(np.int64), NUM_BINS - 1)
    return bins[place]


def reliability(p: Array, y: Array, w: Array, bins: npt.NDArray[np.int64]) -> list[dict[str, float]]:
    """Return for each bin that holds something its weight, mean p and share of Yes."""
    mass, p_sum, y_sum = (np.bincount(bins, each, NUM_BINS) for each in (w, w * p, w * y))
    return [
        {"bin": k, "n": float(mass[k]), "mean_p": float(p_sum[k] / mass[k]), "share_yes": float(y_sum[k] / mass[k])}
        for k in range(NUM_BINS)
        if mass[k] > 0
    ]


def _ece(p: Array, y: Array, w: Array, bins: npt.NDArray[np.int64]) -> float:
    gaps = np.abs(np.bincount(bins, w * p, NUM_BINS) - np.bincount(bins, w * y, NUM_BINS))
    return _ratio(gaps.sum(), w.sum())


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if abs(denominator) > LEAST_PROBABILITY else float("nan")
