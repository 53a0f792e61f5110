"""Fitting calibration maps: temperature, Platt, isotonic, and a temperature for event orders.

The objects are used as scikit-learn's: `fit` returns self, learned values end in `_`, `predict` applies them. `map_` is
the map that a calibration file holds.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from reward.answers import Order
from reward.calibration import EDGE, Isotonic, Platt
from reward.errors import InputError

Array = npt.NDArray[np.float64]

LEAST_SLOPE, MOST_SLOPE = 1e-3, 1e3
"""Bounds of a: a map never turns the order of two answers around, and never becomes a step."""
_MOST_STEPS = 200
_CONVERGED = 1e-10


class PlattFit:
    """p' = sigmoid(a logit(p) + b), fitted by maximum likelihood (Platt 1999), a in [1e-3, 1e3].

    Targets are Platt's smoothed ones, (N_yes + 1) / (N_yes + 2) for Yes and 1 / (N_no + 2) for No, so that separable
    answers have a finite fit. `with_intercept=False` keeps b at 0: temperature scaling, a = 1 / T (Guo et al. 2017).
    """

    def __init__(self, with_intercept: bool = True) -> None:
        self.with_intercept = with_intercept

    def fit(self, p: Array, y: Array, clusters: npt.NDArray[Any] | None = None) -> Self:
        """Fit on p (N,) in [0, 1] and y (N,) in {0, 1}.

        `covariance_` (2, 2) is that of (a, b): the inverse Hessian of the likelihood; with `clusters` (N,), the
        prompts, the sandwich H^-1 (sum of g_c g_c') H^-1 C / (C - 1) over the gradients of C > 1 clusters (Liang and
        Zeger 1986), since answers of one prompt go together. A slope at its bound has no variance. Raises InputError
        without answers.
        """
        p, y = _checked(p, y)
        x, targets = logit(p), smoothed(y)
        free = np.array([True, self.with_intercept])
        theta = _newton(x, targets, np.array([1.0, 0.0]), free)
        if not LEAST_SLOPE <= theta[0] <= MOST_SLOPE:
            theta[0] = np.clip(theta[0], LEAST_SLOPE, MOST_SLOPE)
            free = np.array([False, self.with_intercept])
            theta = _newton(x, targets, np.array([theta[0], 0.0]), free)
        self.a_, self.b_ = float(theta[0]), float(theta[1])
        self.covariance_ = _covariance(x, targets, theta, free, clusters)
        return self

    def predict(self, p: Array) -> Array:
        """Return the calibrated probabilities (N,)."""
        return sigmoid(self.a_ * logit(np.asarray(p, float)) + self.b_)

    @property
    def map_(self) -> Platt:
        """The fitted map."""
        (aa, ab), (ba, bb) = self.covariance_.tolist()
        return Platt(a=self.a_, b=self.b_, covariance=((aa, ab), (ba, bb)))


class IsotonicFit:
    """The monotone step function nearest to the answers in squared error (Zadrozny and Elkan 2002), joined by lines.

    Values stay 1 / (N + 2) away from 0 and 1, so that no answer becomes impossible.
    """

    def fit(self, p: Array, y: Array, clusters: npt.NDArray[Any] | None = None) -> Self:
        """Fit on p (N,) in [0, 1] and y (N,) in {0, 1}; clusters change nothing. InputError without answers."""
        from scipy.optimize import isotonic_regression

        p, y = _checked(p, y)
        values, place = np.unique(p, return_inverse=True)
        weights = np.bincount(place).astype(float)
        fitted = isotonic_regression(np.bincount(place, y) / weights, weights=weights)
        edge = 1 / (len(p) + 2)
        first, after = fitted.blocks[:-1], fitted.blocks[1:]
        ends = np.unique(np.concatenate([first, after - 1]))
        self.x_ = values[ends]
        self.y_ = np.clip(fitted.x[ends], edge, 1 - edge)
        return self

    def predict(self, p: Array) -> Array:
        """Return the calibrated probabilities (N,)."""
        return np.interp(np.asarray(p, float), self.x_, self.y_)

    @property
    def map_(self) -> Isotonic:
        """The fitted map."""
        return Isotonic(x=tuple(map(float, self.x_)), y=tuple(map(float, self.y_)))


class IdentityFit:
    """No map at all: what a critic is left with whose probabilities need none."""

    map_ = None

    def fit(self, p: Array, y: Array, clusters: npt.NDArray[Any] | None = None) -> Self:
        """Learn nothing."""
        return self

    def predict(self, p: Array) -> Array:
        """Return p."""
        return np.asarray(p, float)


class OrderTemperatureFit:
    """p' of an order proportional to p^a over all orders, a fitted by maximum likelihood in [1/20, 20]."""

    BOUNDS = (1 / 20, 20.0)

    def fit(self, orders: Sequence[Order], truths: Sequence[str]) -> Self:
        """Fit on predicted distributions and the orders that are true; InputError without any.

        `variance_` of a is the inverse of the likelihood's second derivative, 0 at a bound.
        """
        from scipy.optimize import minimize_scalar

        if not orders:
            raise InputError("no event order to fit a temperature on")
        tables = [order_log_probabilities(order, truth) for order, truth in zip(orders, truths, strict=True)]

        def loss(log_a: float) -> float:
            a = np.exp(log_a)
            return float(sum(np.logaddexp.reduce(a * logs) - a * true for logs, true in tables))

        found = minimize_scalar(loss, bounds=tuple(np.log(self.BOUNDS)), method="bounded", options={"xatol": 1e-8})
        self.a_ = float(np.exp(found.x))
        curvature = sum(_variance(logs, self.a_) for logs, _ in tables)
        low, high = self.BOUNDS
        self.variance_ = float(1 / curvature) if low * 1.001 < self.a_ < high / 1.001 and curvature > 0 else 0.0
        return self

    @property
    def map_(self) -> Platt:
        """The fitted map; its b means nothing for orders."""
        return Platt(a=self.a_, covariance=((self.variance_, 0.0), (0.0, 0.0)))


METHODS = ("none", "temperature", "platt", "isotonic")
Fit = PlattFit | IsotonicFit | IdentityFit


def make_fit(method: str) -> Fit:
    """Return an unfitted object of one of METHODS."""
    if method == "none":
        return IdentityFit()
    return IsotonicFit() if method == "isotonic" else PlattFit(with_intercept=method == "platt")


def order_log_probabilities(order: Order, truth: str) -> tuple[Array, float]:
    """Return the log-probabilities of all orders that a distribution holds, and that of the true one.

    One that a beam left out, or that is rounded to 0, counts as 1e-12.
    """
    logs = {letters: float(np.log(max(p, 1e-12))) for letters, p in order.probabilities.items()}
    logs.setdefault(truth, float(np.log(1e-12)))
    return np.array(list(logs.values())), logs[truth]


def smoothed(y: Array) -> Array:
    """Return Platt's smoothed targets of y (N,) in {0, 1}: Platt 1999, section 2.2, eq. 9."""
    num_yes = y.sum()
    num_no = len(y) - num_yes
    return np.asarray(y * (num_yes + 1) / (num_yes + 2) + (1 - y) / (num_no + 2))


def logit(p: Array) -> Array:
    """Return log(p / (1 - p)), p kept 1e-7 from 0 and 1 as in applying a map."""
    p = np.clip(p, EDGE, 1 - EDGE)
    return np.asarray(np.log(p) - np.log1p(-p))


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _checked(p: Array, y: Array) -> tuple[Array, Array]:
    p, y = np.asarray(p, float), np.asarray(y, float)
    if not len(p) or p.shape != y.shape:
        raise InputError(f"a calibration needs as many answers as probabilities, and some: {p.shape} and {y.shape}")
    return p, y


def _loss(x: Array, targets: Array, theta: Array) -> float:
    z = theta[0] * x + theta[1]
    return float((np.logaddexp(0, z) - targets * z).sum())


def _newton(x: Array, targets: Array, theta: Array, free: npt.NDArray[np.bool_]) -> Array:
    """Minimise the loss over the free parameters: Newton with step halving (Lin, Lin and Weng 2007)."""
    if not free.any():
        return theta
    design = np.stack([x, np.ones_like(x)], axis=1)[:, free]
    loss = _loss(x, targets, theta)
    for _ in range(_MOST_STEPS):
        q = sigmoid(theta[0] * x + theta[1])
        gradient = design.T @ (q - targets)
        hessian = (design * (q * (1 - q))[:, None]).T @ design + 1e-12 * np.eye(free.sum())
        step = np.zeros(2)
        step[free] = -np.linalg.solve(hessian, gradient)
        scale, slope = 1.0, float(gradient @ step[free])
        while scale > _CONVERGED and _loss(x, targets, theta + scale * step) > loss + 1e-4 * scale * slope:
            scale /= 2
        theta = theta + scale * step
        before, loss = loss, _loss(x, targets, theta)
        if before - loss < _CONVERGED * (1 + abs(loss)):
            break
    return theta


def _covariance(
    x: Array, targets: Array, theta: Array, free: npt.NDArray[np.bool_], clusters: npt.NDArray[Any] | None
) -> Array:
    covariance = np.zeros((2, 2))
    if not free.any():
        return covariance
    design = np.stack([x, np.ones_like(x)], axis=1)[:, free]
    q = sigmoid(theta[0] * x + theta[1])
    bread = np.linalg.pinv((design * (q * (1 - q))[:, None]).T @ design)
    if clusters is not None:
        _, place = np.unique(clusters, return_inverse=True)
        scores = np.zeros((place.max() + 1, free.sum()))
        np.add.at(scores, place, design * (q - targets)[:, None])
        if len(scores) > 1:
            bread = bread @ (scores.T @ scores) @ bread * len(scores) / (len(scores) - 1)
    covariance[np.ix_(free, free)] = (bread + bread.T) / 2
    return covariance


def _variance(logs: Array, a: float) -> float:
    """Return the variance of the log-probabilities under p^a, the second derivative of the loss in a."""
    weights = np.exp(a * logs - np.logaddexp.reduce(a * logs))
    mean = float(weights @ logs)
    return float(weights @ (logs - mean) ** 2)
