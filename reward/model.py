"""The reward model: a critic, an optional calibration and weights, giving a reward vector, a scalar and its doubt."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reward.answers import Answer, Critic, Judgement, Order
from reward.calibration import Calibration, load_calibration, read_calibration, write_calibration
from reward.dimensions import EVENT_FOLLOWING, NAMES
from reward.errors import InputError
from reward.gates import Gates, measure_gates
from reward.options import LoadOptions
from reward.prompts import Check, Prompt, with_generic_questions

if TYPE_CHECKING:
    from reward.video import Clip


@dataclasses.dataclass(frozen=True)
class Reward:
    """The reward of one clip.

    `dimensions` and `stds` hold the ten dimensions: means of calibrated p_yes, E[LCS] / n for the events, in [0, 1];
    NaN where the prompt asks nothing or nothing was answered. `scalar` in [0, 1] is their weighted total over what was
    answered, NaN if nothing was; `std` is the standard deviation of the true total as far as the critic knows it.
    A closed gate makes the scalar 0. `unanswered` says which answers do not count and why.
    """

    dimensions: Mapping[str, float]
    stds: Mapping[str, float]
    scalar: float
    std: float
    ungated: float
    answers: tuple[Answer, ...]
    order: Order | None
    gates: Gates | None = None
    unanswered: tuple[str, ...] = ()

    def lower_bound(self, k: float) -> float:
        """Return scalar - k * std, the reward that is exceeded with the confidence of k standard deviations."""
        return self.scalar - k * self.std


class RewardModel:
    """A critic as a reward.

    `weights` maps dimensions to weights >= 0 (others weigh 1). With all at 1 the scalar is VideoVerse's own total,
    (E[LCS] + sum of p_yes) / (events + checks). `gates` closes on frozen and black clips.
    """

    def __init__(
        self,
        critic: Critic,
        calibration: Calibration | None = None,
        weights: Mapping[str, float] | None = None,
        gates: bool = True,
        min_answer_mass: float = 0.0,
    ) -> None:
        self.critic, self.calibration = critic, calibration or Calibration()
        self.weights = checked_weights(weights or {})
        self.gates, self.min_answer_mass = gates, min_answer_mass

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        options: LoadOptions | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        gates: bool = True,
        min_answer_mass: float | None = None,
        calibration: Path | None = None,
        **load: Any,
    ) -> "RewardModel":
        """Load a critic by short name, from a folder or from the hub, with its calibration if it has one.

        The manifest is checked against weights, tokenizer and wording, the calibration against the manifest; what does
        not match is refused with both hashes (InputError). `load` are fields of LoadOptions, such as device="cuda",
        instead of `options`; `min_answer_mass` replaces the critic's own, the file `calibration` its own calibration.
        """
        from reward.loading import find_folder, load_critic, offered

        weights = checked_weights(weights or {})
        options = options or LoadOptions(**load)
        model = offered(str(name), options)
        if model is None:
            folder = find_folder(str(name), options.revision)
            critic = load_critic(str(name), folder, options)
            own = None if calibration else read_calibration(folder, critic.manifest.sha256)
            model = cls(critic, own, min_answer_mass=critic.manifest.min_answer_mass)
        if calibration is not None:
            model.calibration = model.bound(calibration)
        model.weights, model.gates = weights, gates
        if min_answer_mass is not None:
            model.min_answer_mass = min_answer_mass
        return model

    def bound(self, calibration: Path) -> Calibration:
        """Return the calibration in a file; InputError if it was not fitted for this very critic."""
        manifest_sha256 = self.critic.identity.get("manifest_sha256")
        if manifest_sha256 is None:
            raise InputError(
                f"critic {self.critic.identity['name']} has no manifest, so {calibration} cannot be its own"
            )
        return load_calibration(calibration, manifest_sha256)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save critic, manifest and calibration into a folder that `from_pretrained` reads."""
        from reward.critic import VideoCritic

        if not isinstance(self.critic, VideoCritic):
            raise InputError(f"a {type(self.critic).__name__} has no weights to save")
        self.critic.save_pretrained(Path(folder))
        if self.calibration.maps:
            bound = dataclasses.replace(self.calibration, manifest_sha256=self.critic.manifest.sha256)
            write_calibration(Path(folder), bound)

    @property
    def identity(self) -> dict[str, Any]:
        """What made the rewards: the critic's identity and calibration, weights, gates, least answer mass."""
        calibrated = bool(self.calibration.maps)
        return {
            **self.critic.identity,
            "calibrated": calibrated,
            **({"calibration_sha256": self.calibration.sha256} if calibrated else {}),
            "weights": dict(self.weights),
            "gates": self.gates,
            "min_answer_mass": self.min_answer_mass,
        }

    def score(self, clips: Sequence["Clip"], prompts: Sequence[Prompt]) -> list[Reward]:
        """Return the reward of each clip for the prompt beside it."""
        judgements = self.critic.judge(clips, prompts)
        return [self.reward(*row) for row in zip(prompts, judgements, clips, strict=True)]

    def score_files(self, paths: Sequence[str | Path], prompts: Sequence[Prompt | str]) -> list[Reward]:
        """Return the reward of each video file; VideoError names one that cannot be read.

        A prompt given as text is asked about with generic questions.
        """
        from reward.video import read_video

        asked = [with_generic_questions("prompt", each) if isinstance(each, str) else each for each in prompts]
        return self.score([read_video(Path(path), self.critic.sampling) for path in paths], asked)

    def reward(self, prompt: Prompt, judgement: Judgement, clip: "Clip | None" = None) -> Reward:
        """Turn a critic's judgement into a reward; without the clip no gate is measured."""
        checks = prompt.asked_checks
        answers = [self._calibrated(*row) for row in zip(checks, judgement.answers, strict=True)]
        order = self.calibration.order(judgement.order) if judgement.order else None
        parts = _Parts(self.calibration, judgement, self.min_answer_mass)
        parts.add_checks(checks, answers)
        parts.add_order(order)
        ungated, std = parts.total(self.weights)
        gates = measure_gates(clip.frames) if clip is not None and self.gates else None
        paid = not (gates and gates.closed) or math.isnan(ungated)
        by_dimension = {name: parts.total({other: float(other == name) for other in NAMES}) for name in NAMES}
        return Reward(
            dimensions={name: mean for name, (mean, _) in by_dimension.items()},
            stds={name: std for name, (_, std) in by_dimension.items()},
            scalar=ungated if paid else 0.0,
            std=std if paid else 0.0,
            ungated=ungated,
            answers=tuple(answers),
            order=order,
            gates=gates,
            unanswered=tuple(parts.unanswered),
        )

    def _calibrated(self, check: Check, answer: Answer) -> Answer:
        return dataclasses.replace(answer, p_yes=self.calibration.p_yes(check.dimension, answer.p_yes))


def checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weight of every dimension, 1 where none is given; InputError for an unknown name or a bad weight."""
    from reward.dimensions import dimension_name

    named = {dimension_name(name): float(weight) for name, weight in weights.items()}
    for name, weight in named.items():
        if not (weight >= 0 and math.isfinite(weight)):
            raise InputError(f"weight of {name} is {weight}; weights are finite and not negative")
    complete = dict.fromkeys(NAMES, 1.0) | named
    if not any(complete.values()):
        raise InputError("all weights are zero; give at least one dimension a weight above zero")
    return complete


class _Parts:
    """Sums up what was answered: points, possible points and variances by dimension.

    A check is worth a point with the calibrated probability p, so its variance is p (1 - p), whatever is uncertain in
    p itself; the events are worth LCS of n points. Uncertain calibration parameters move all answers that share a map
    together: to the sum of variances comes g' C g - sum_i g_i' C g_i for weighted gradients g_i with sum g and
    parameter covariance C.
    """

    def __init__(self, calibration: Calibration, judgement: Judgement, min_answer_mass: float) -> None:
        self.calibration, self.judgement, self.min_answer_mass = calibration, judgement, min_answer_mass
        self.rows: list[tuple[str, float, float, float]] = []
        self.gradients: list[tuple[str, str, np.ndarray]] = []
        self.unanswered: list[str] = []

    def add_checks(self, checks: Sequence[Check], answers: Sequence[Answer]) -> None:
        for i, (check, answer) in enumerate(zip(checks, answers, strict=True)):
            if self._counts(answer.answer_mass, answer.p_yes, f"check {i + 1} ({check.dimension})"):
                self.rows.append((check.dimension, answer.p_yes, 1.0, answer.p_yes * (1 - answer.p_yes)))
                name = self.calibration.map_name(check.dimension)
                if name is not None:
                    raw = self.judgement.answers[i].p_yes
                    self.gradients.append((check.dimension, name, self.calibration.maps[name].gradient(raw)))

    def add_order(self, order: Order | None) -> None:
        if order is not None and self._counts(order.answer_mass, order.expected_lcs, "event order"):
            self.rows.append((EVENT_FOLLOWING, order.expected_lcs, float(order.num_events), order.variance_lcs))

    def _counts(self, mass: float, value: float, what: str) -> bool:
        if math.isfinite(value) and mass >= self.min_answer_mass:
            return True
        self.unanswered.append(f"{what}: answer mass {mass:.2g} is below {self.min_answer_mass:g}")
        return False

    def total(self, weights: Mapping[str, float]) -> tuple[float, float]:
        """Return the weighted share of the possible points, and its standard deviation; NaN if nothing was answered."""
        possible = sum(weights[name] * most for name, _, most, _ in self.rows)
        if not possible:
            return math.nan, math.nan
        points = sum(weights[name] * value for name, value, _, _ in self.rows)
        variance = sum(weights[name] ** 2 * each for name, _, _, each in self.rows) + self._shared_variance(weights)
        return points / possible, math.sqrt(max(0.0, variance)) / possible

    def _shared_variance(self, weights: Mapping[str, float]) -> float:
        extra = 0.0
        for shared in {name for _, name, _ in self.gradients}:
            covariance = np.array(self.calibration.maps[shared].covariance)
            each = np.array([weights[dimension] * g for dimension, name, g in self.gradients if name == shared])
            together = each.sum(axis=0)
            extra += float(together @ covariance @ together - np.einsum("ni,ij,nj->", each, covariance, each))
        return extra
