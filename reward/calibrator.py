"""A calibration fitted as a whole: one pooled map, and own maps where a dimension has errors enough to fit them.

What it does to answers that it has not seen is measured by cross-fitting: every prompt's answers are calibrated by what
was fitted, and chosen, on the other prompts.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from reward.answers import Order
from reward.calibration import POOLED, Calibration, Isotonic, Platt
from reward.dimensions import CHECK_NAMES, EVENT_FOLLOWING
from reward.errors import InputError
from reward.fitting import METHODS, Fit, OrderTemperatureFit, make_fit, order_log_probabilities
from reward.metrics import nll

Method = Literal["auto", "none", "temperature", "platt", "isotonic"]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """N answers to checks: raw `p` in [0, 1], labels `y` in {0, 1}, and names of dimension and prompt, all (N,)."""

    p: Array
    y: Array
    dimension: npt.NDArray[Any]
    prompt: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.p)

    def of(self, rows: npt.NDArray[np.bool_]) -> "Answers":
        """Return some of the answers; `rows` (N,) says which."""
        return Answers(self.p[rows], self.y[rows], self.dimension[rows], self.prompt[rows])

    @property
    def errors(self) -> int:
        """How many answers p >= 0.5 gives wrong."""
        return int(((self.p >= 0.5) != (self.y > 0.5)).sum())


@dataclass(frozen=True)
class Orders:
    """Predicted distributions over event orders, the orders that the labels say, and prompt ids, all of length N."""

    predicted: Sequence[Order] = ()
    truth: Sequence[str] = ()
    prompt: Sequence[str] = ()

    @property
    def errors(self) -> int:
        """How many most probable orders are wrong."""
        return sum(order.best != truth for order, truth in zip(self.predicted, self.truth, strict=True))

    def of(self, rows: npt.NDArray[np.bool_]) -> "Orders":
        """Return some of the orders; `rows` (N,) says which."""
        kept = [i for i, keep in enumerate(rows) if keep]
        return Orders([self.predicted[i] for i in kept], [self.truth[i] for i in kept], [self.prompt[i] for i in kept])


@dataclass
class Calibrator:
    """Fits a pooled map and, in dimensions with at least `min_errors` wrong answers, maps of their own.

    `method` "auto" takes for each map the one with the least NLL on held-out prompts, of `folds` parts. Event orders
    get a temperature under the same rule of errors unless `orders` is false. After `fit`, `maps_` holds the maps (none
    for probabilities that need none), `methods_` what was chosen, `held_out_nll_` why.
    """

    method: Method = "auto"
    min_errors: int = 30
    folds: int = 5
    orders: bool = True
    seed: int = 0
    maps_: dict[str, Platt | Isotonic] = field(default_factory=dict, init=False)
    methods_: dict[str, str] = field(default_factory=dict, init=False)
    held_out_nll_: dict[str, dict[str, float]] = field(default_factory=dict, init=False)

    def fit(self, answers: Answers, orders: Orders | None = None) -> Self:
        """Fit all maps. Raises InputError where there are fewer than two prompts or only one kind of answer."""
        if len(set(answers.prompt)) < 2 or len(set(answers.y)) < 2:
            raise InputError(
                f"{len(answers)} answers of {len(set(answers.prompt))} prompts, {int(answers.y.sum())} of them Yes: "
                "a calibration needs Yes and No, and two prompts or more"
            )
        self.maps_, self.methods_, self.held_out_nll_ = {}, {}, {}
        self._fits: dict[str, Fit] = {}
        self._fit_map(POOLED, answers)
        for name in CHECK_NAMES:
            own = answers.of(answers.dimension == name)
            if own.errors >= self.min_errors and len(set(own.y)) == 2 and len(set(own.prompt)) > 1:
                self._fit_map(name, own)
        if orders is not None and self.orders and self.method != "none" and orders.errors >= self.min_errors:
            self.maps_[EVENT_FOLLOWING] = OrderTemperatureFit().fit(orders.predicted, orders.truth).map_
            self.methods_[EVENT_FOLLOWING] = "temperature"
        return self

    def predict(self, p: Array, dimension: npt.NDArray[Any]) -> Array:
        """Return calibrated probabilities (N,) of raw p (N,) in the named dimensions (N,)."""
        calibrated = np.empty(len(p))
        for name in set(dimension):
            rows = dimension == name
            calibrated[rows] = self._fits.get(name, self._fits[POOLED]).predict(p[rows])
        return calibrated

    def map_name(self, dimension: str) -> str:
        """Return which map answers in a dimension are put through, "pooled" or the dimension's own."""
        return dimension if dimension in self._fits else POOLED

    def calibration(self, manifest_sha256: str | None, fit: Mapping[str, Any]) -> Calibration:
        """Return the calibration to save, bound to a critic's manifest, with the facts about its fit."""
        return Calibration(manifest_sha256, dict(self.maps_), fit)

    def _fit_map(self, name: str, answers: Answers) -> None:
        method: str = self.method
        if method == "auto":
            scores = self.held_out_nll_[name] = self._held_out(answers)
            method = min(METHODS, key=lambda each: scores[each])
        fitted = make_fit(method).fit(answers.p, answers.y, answers.prompt)
        self._fits[name], self.methods_[name] = fitted, method
        if fitted.map_ is not None:
            self.maps_[name] = fitted.map_
        elif name != POOLED and POOLED in self.maps_:
            self.maps_[name] = Platt()

    def _held_out(self, answers: Answers) -> dict[str, float]:
        """Return the NLL of each method on prompts that it was not fitted on."""
        parts = prompt_folds(answers.prompt, self.folds, self.seed)
        predicted = {method: np.empty(len(answers)) for method in METHODS}
        for part in range(parts.max() + 1):
            rest, held = answers.of(parts != part), parts == part
            for method, values in predicted.items():
                values[held] = make_fit(method).fit(rest.p, rest.y).predict(answers.p[held])
        return {method: nll(values, answers.y, np.ones(len(answers))) for method, values in predicted.items()}


def prompt_folds(prompts: npt.NDArray[Any], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the part, 0 to folds - 1, of each row; rows of a prompt share it, and no part is empty."""
    names = sorted(set(prompts), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    part = {name: i % min(folds, len(names)) for i, name in enumerate(names)}
    return np.array([part[name] for name in prompts], np.int64)


def cross_fitted(calibrator: Calibrator, answers: Answers) -> Array:
    """Return p (N,) calibrated by what the same procedure fits on the other prompts' answers.

    Raises InputError where the other prompts have only one kind of answer.
    """
    parts = prompt_folds(answers.prompt, calibrator.folds, calibrator.seed)
    calibrated = np.empty(len(answers))
    for part in range(parts.max() + 1):
        held = parts == part
        again = Calibrator(calibrator.method, calibrator.min_errors, calibrator.folds, False, calibrator.seed)
        calibrated[held] = again.fit(answers.of(~held)).predict(answers.p[held], answers.dimension[held])
    return calibrated


def cross_fitted_orders(calibrator: Calibrator, orders: Orders) -> list[Order]:
    """Return the order distributions sharpened by a temperature fitted on the other prompts, or as they are."""
    if EVENT_FOLLOWING not in calibrator.maps_:
        return list(orders.predicted)
    parts = prompt_folds(np.array(orders.prompt), calibrator.folds, calibrator.seed)
    sharpened = list(orders.predicted)
    for part in range(parts.max() + 1):
        rest = orders.of(parts != part)
        if not rest.predicted:
            continue
        scale = OrderTemperatureFit().fit(rest.predicted, rest.truth).map_
        one = Calibration(maps={EVENT_FOLLOWING: scale})
        for i in np.flatnonzero(parts == part).tolist():
            sharpened[i] = one.order(orders.predicted[i])
    return sharpened


def order_losses(orders: Sequence[Order], truths: Sequence[str]) -> Array:
    """Return the negative log-probability (N,) of each true order under its distribution, renormalised."""
    tables = (order_log_probabilities(order, truth) for order, truth in zip(orders, truths, strict=True))
    return np.array([np.logaddexp.reduce(logs) - true for logs, true in tables], float)
