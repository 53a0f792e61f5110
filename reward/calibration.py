"""From a critic's p_yes to probabilities that can be believed: applying a fitted calibration.

`calibration.json` holds one map per dimension, or one pooled map for those that have none of their own, and the hash
of the manifest that it was fitted for. With another critic, wording, frames or pixels it is refused.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from reward.answers import Order
from reward.config import config
from reward.dimensions import EVENT_FOLLOWING, NAMES
from reward.errors import InputError
from reward.files import read_json, sha256_json, write_json

FILE_NAME = "calibration.json"
POOLED = "pooled"
EDGE = 1e-7
"""p_yes is kept this far from 0 and 1 before its logit is taken."""


@config
class Platt:
    """p' = sigmoid(a * logit(p) + b); temperature scaling is b = 0, a = 1 / T (Platt 1999; Guo et al. 2017, eq. 9).

    `covariance` is that of the fitted (a, b).
    """

    kind: Literal["platt"] = "platt"
    a: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0
    b: Annotated[float, pydantic.Field(allow_inf_nan=False)] = 0.0
    covariance: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))

    def apply(self, p: float) -> float:
        """Return the calibrated probability."""
        return _sigmoid(self.a * _logit(p) + self.b)

    def gradient(self, p: float) -> np.ndarray:
        """Return d p' / d (a, b)."""
        calibrated = self.apply(p)
        return calibrated * (1 - calibrated) * np.array([_logit(p), 1.0])


@config
class Isotonic:
    """A monotone piecewise linear map through (x, y), constant beyond its ends."""

    kind: Literal["isotonic"] = "isotonic"
    x: tuple[float, ...]
    y: tuple[float, ...]

    def apply(self, p: float) -> float:
        """Return the calibrated probability."""
        return float(np.interp(p, self.x, self.y))

    def gradient(self, p: float) -> np.ndarray:
        """Return zeros: an isotonic map carries no uncertainty of its own."""
        return np.zeros(2)

    @property
    def covariance(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Zeros, as for the gradient."""
        return ((0.0, 0.0), (0.0, 0.0))


Map = Annotated[Platt | Isotonic, pydantic.Field(discriminator="kind")]


@dataclass(frozen=True)
class Calibration:
    """Fitted maps by dimension or "pooled"; `fit` says on what they were fitted. Empty maps change nothing."""

    manifest_sha256: str | None = None
    maps: Mapping[str, Platt | Isotonic] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """What names the maps, whatever they were fitted on."""
        return sha256_json(_plain_maps(self.maps))

    def map_name(self, dimension: str) -> str | None:
        """Return which map answers in a dimension are put through, None for as they are."""
        return dimension if dimension in self.maps else POOLED if POOLED in self.maps else None

    def p_yes(self, dimension: str, p: float) -> float:
        """Return the calibrated probability of Yes."""
        name = self.map_name(dimension)
        return p if name is None else self.maps[name].apply(p)

    def order(self, order: Order) -> Order:
        """Return the order distribution sharpened by the `a` of the event map: p^a, renormalised."""
        scale = self.maps.get(EVENT_FOLLOWING)
        if not isinstance(scale, Platt):
            return order
        powers = {letters: p**scale.a for letters, p in order.probabilities.items()}
        total = sum(powers.values()) / order.covered
        return Order(order.num_events, {letters: p / total for letters, p in powers.items()}, order.answer_mass)


def read_calibration(folder: Path, manifest_sha256: str) -> Calibration | None:
    """Return a critic folder's calibration, None if it has none; InputError if it is for another manifest."""
    path = folder / FILE_NAME
    return load_calibration(path, manifest_sha256) if path.exists() else None


def load_calibration(path: Path, manifest_sha256: str) -> Calibration:
    """Return the calibration in a file; InputError if it is none, or for another manifest."""
    record = read_json(path, "calibration")
    try:
        fitted_for, maps = str(record["manifest_sha256"]), record["maps"]
        parsed = pydantic.TypeAdapter(dict[str, Map]).validate_python(maps)
    except (KeyError, TypeError, pydantic.ValidationError) as error:
        raise InputError(f"{path}: not a calibration: {' '.join(str(error).split())}") from None
    if unknown := set(parsed) - {*NAMES, POOLED}:
        raise InputError(f"{path}: map for unknown dimension {', '.join(sorted(unknown))}")
    if fitted_for != manifest_sha256:
        raise InputError(
            f"{path}: fitted for manifest {fitted_for[:12]}..., but this critic's is {manifest_sha256[:12]}...; "
            "calibrate this critic again"
        )
    return Calibration(fitted_for, parsed, record.get("fit", {}))


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Save a calibration into a critic's folder."""
    write_json(
        folder / FILE_NAME,
        {
            "schema_version": 1,
            "manifest_sha256": calibration.manifest_sha256,
            "fit": dict(calibration.fit),
            "maps": _plain_maps(calibration.maps),
        },
    )


def _plain_maps(maps: Mapping[str, Platt | Isotonic]) -> Any:
    return pydantic.TypeAdapter(dict[str, Map]).dump_python(dict(maps), mode="json")


def _logit(p: float) -> float:
    p = min(max(p, EDGE), 1 - EDGE)
    return math.log(p) - math.log1p(-p)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
