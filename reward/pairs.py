"""Preference pairs from scored candidates: by the probability that one is better than the other, under a rule.

All functions are pure. A *gated* clip is one that nothing is paid for (frozen, black): it may lose, never win.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic

from reward.config import config
from reward.dimensions import NAMES, dimension_name
from reward.errors import InputError
from reward.options import Positive
from reward.scores import SCORED, ScoreRow

Rule = Literal["scalar", "no_regression", "pareto", "dimension"]
Finite = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


@config
class PairOptions:
    """Which two candidates of a prompt make a pair."""

    rule: Rule = "no_regression"
    """scalar: the higher reward; no_regression: besides, worse in no dimension beyond its noise; pareto: besides, also
    better in one beyond its noise; dimension: the higher mean of --dimension, whatever the others say."""
    dimension: str | None = None
    """Dimension of rule dimension, such as mechanics."""
    min_probability: Annotated[float, pydantic.Field(ge=0.5, lt=1)] = 0.75
    """Least probability that the chosen video is better."""
    min_margin: Finite = 0.0
    """Least difference of the two rewards (or of the dimension)."""
    tie_band: Annotated[float, pydantic.Field(ge=0, lt=0.5)] = 0.05
    """Pairs whose probability is within this of .5 are ties, written apart."""
    noise_stds: Finite = 1.0
    """A dimension is worse or better beyond its noise from so many standard deviations of the difference on."""
    max_pairs_per_prompt: Positive = 4
    """Most pairs of a prompt, and most ties; the best separated pairs and the closest ties are taken."""
    max_uses: Positive = 2
    """Most pairs of a prompt that one video is in, and most ties."""
    max_motion_difference: Finite | None = None
    """Only pairs whose motion (levels of 255, see score rows) differs by at most this: motion is then not learned."""
    reward_std: Finite | None = None
    """Standard deviation where a score row names none; without it such rows are left out."""

    def check(self) -> None:
        """Raise InputError for options that contradict each other."""
        if (self.rule == "dimension") != (self.dimension is not None):
            raise InputError("--rule dimension and --dimension NAME go together")
        if self.dimension is not None:
            dimension_name(self.dimension)
        if self.min_probability < 0.5 + self.tie_band:
            raise InputError(
                f"--min_probability {self.min_probability:g} is inside the tie band, .5 to {0.5 + self.tie_band:g}; "
                "raise it or narrow --tie_band"
            )


@dataclass(frozen=True)
class Clip:
    """A candidate as the rules see it: what it is compared by (reward or one dimension), with its std."""

    row: ScoreRow
    value: float
    std: float

    @property
    def gated(self) -> bool:
        """Whether nothing is paid for the clip."""
        return bool(self.row.gates and self.row.gates.closed)

    @property
    def motion(self) -> float:
        """Largest change of a cell's brightness over time, levels of 255; NaN if it was not measured."""
        return self.row.gates.motion if self.row.gates else math.nan


@dataclass(frozen=True)
class Pair:
    """Two clips of a prompt; `chosen` has the higher value. In a tie the names mean nothing more."""

    chosen: Clip
    rejected: Clip
    probability: float

    @property
    def margin(self) -> float:
        """By how much the chosen clip's value is higher."""
        return self.chosen.value - self.rejected.value


@dataclass(frozen=True)
class Mined:
    """One prompt's pairs and ties; counts of pairs that were not taken, by reason; rows that could not be used."""

    pairs: tuple[Pair, ...]
    ties: tuple[Pair, ...]
    rejected: Counter[str]
    unused: tuple[tuple[ScoreRow, str], ...]
    num_clips: int


def preference_probability(m_w: float, m_l: float, s_w: float, s_l: float) -> float:
    """Return P(w > l) = Phi((m_w - m_l) / sqrt(s_w^2 + s_l^2)): Thurstone's law of comparative judgment (1927), case 3.

    The means are rewards and the standard deviations the critic's own doubt of them (reward_std): how far the true
    total of yes-answers may be from its calibrated expectation. The two doubts are taken for independent and normal.
    A doubt that both clips share (calibration, a hard question) cancels in the difference, so that the probability is
    then nearer .5 than it should be: cautious. Without any doubt it is 1, 0 or, for equal means, .5.
    """
    difference, variance = m_w - m_l, s_w**2 + s_l**2
    if variance == 0:
        return 0.5 if difference == 0 else float(difference > 0)
    return 0.5 * math.erfc(-difference / math.sqrt(2 * variance))


def mine_prompt(rows: Sequence[ScoreRow], options: PairOptions) -> Mined:
    """Return the pairs among the candidates of one prompt, best separated first."""
    clips, unused = _clips(rows, options)
    pairs: list[Pair] = []
    ties: list[Pair] = []
    rejected: Counter[str] = Counter()
    for a, b in itertools.combinations(clips, 2):
        pair = _pair(a, b)
        reason = _reason(pair, options)
        if reason is None:
            pairs.append(pair)
        elif reason == _TIE:
            ties.append(pair)
        else:
            rejected[reason] += 1
    pairs.sort(key=lambda pair: (-pair.probability, -pair.margin, *_names(pair)))
    ties.sort(key=lambda pair: (pair.probability, *_names(pair)))
    kept = _select(pairs, options, rejected, "")
    kept_ties = _select(ties, options, rejected, "tie ")
    return Mined(kept, kept_ties, rejected, tuple(unused), len(clips))


_TIE = "tie"


def _names(pair: Pair) -> tuple[str, str]:
    return pair.chosen.row.video, pair.rejected.row.video


def _clips(rows: Sequence[ScoreRow], options: PairOptions) -> tuple[list[Clip], list[tuple[ScoreRow, str]]]:
    """Return the rows that can be compared, by video name, and the others with the reason."""
    clips, unused = [], []
    seen: set[str] = set()
    for row in sorted(rows, key=lambda row: row.video):
        clip = _clip(row, options)
        if isinstance(clip, str):
            unused.append((row, clip))
        elif row.sha256 in seen:
            unused.append((row, "the same content as another candidate"))
        else:
            clips.append(clip)
            seen |= {row.sha256} if row.sha256 else set()
    return clips, unused


def _clip(row: ScoreRow, options: PairOptions) -> Clip | str:
    if not row.scored:
        return "no reward" if row.status in SCORED else row.status
    value, std = row.reward, row.reward_std
    if options.dimension is not None:
        name = dimension_name(options.dimension)
        closed = row.gates is not None and bool(row.gates.closed)
        value, std = (0.0, 0.0) if closed else (_of(row.dimensions, name), _of(row.dimension_stds, name))
        if math.isnan(value):
            return f"no score in {name}"
    if math.isnan(std):
        if options.reward_std is None:
            return "no standard deviation; --reward_std gives one"
        std = options.reward_std
    return Clip(row, value, std)


def _of(scores: Mapping[str, float], name: str) -> float:
    return scores.get(name, math.nan)


def _pair(a: Clip, b: Clip) -> Pair:
    chosen, rejected = (b, a) if b.value > a.value else (a, b)
    return Pair(chosen, rejected, preference_probability(chosen.value, rejected.value, chosen.std, rejected.std))


def _reason(pair: Pair, options: PairOptions) -> str | None:
    """Return why a pair is not taken (a tie is one reason), None if it is."""
    chosen, rejected = pair.chosen, pair.rejected
    either_gated = chosen.gated or rejected.gated
    faults = (
        ("both gated", chosen.gated and rejected.gated),
        (motion := _motion_reason(pair, options), bool(motion)),
        (_TIE, pair.probability <= 0.5 + options.tie_band and not either_gated),
        ("gated clip ahead", chosen.gated),
        ("below min_probability", pair.probability < options.min_probability),
        ("below min_margin", pair.margin < options.min_margin),
    )
    fault = next((reason for reason, holds in faults if holds), None)
    return fault or (None if rejected.gated else _rule_reason(pair, options))


def _motion_reason(pair: Pair, options: PairOptions) -> str | None:
    if options.max_motion_difference is None:
        return None
    difference = abs(pair.chosen.motion - pair.rejected.motion)
    if math.isnan(difference):
        return "motion not measured"
    return "motion differs" if difference > options.max_motion_difference else None


def _rule_reason(pair: Pair, options: PairOptions) -> str | None:
    if options.rule not in ("no_regression", "pareto"):
        return None
    better = False
    for name in NAMES:
        gain = dimension_gain(pair, name)
        noise = options.noise_stds * _noise(pair, name, options.reward_std)
        if math.isnan(gain):
            if any(math.isfinite(_of(clip.row.dimensions, name)) for clip in (pair.chosen, pair.rejected)):
                return f"only one answered in {name}"
            continue
        if gain < -noise:
            return f"worse in {name}"
        better |= gain > noise
    return None if better or options.rule == "no_regression" else "better in no dimension beyond its noise"


def dimension_gain(pair: Pair, name: str) -> float:
    """Return by how much the chosen clip is better in a dimension; NaN where one of the two has no score in it."""
    return _of(pair.chosen.row.dimensions, name) - _of(pair.rejected.row.dimensions, name)


def _noise(pair: Pair, name: str, missing: float | None) -> float:
    """Return the standard deviation of a dimension's gain; a std that a row does not name counts as `missing`, or 0."""
    stds = [_of(clip.row.dimension_stds, name) for clip in (pair.chosen, pair.rejected)]
    return math.hypot(*((missing or 0.0) if math.isnan(std) else std for std in stds))


def _select(pairs: Sequence[Pair], options: PairOptions, rejected: Counter[str], what: str) -> tuple[Pair, ...]:
    """Take pairs in order while their prompt and their clips may have more; count the others."""
    kept: list[Pair] = []
    uses: Counter[str] = Counter()
    for pair in pairs:
        if any(uses[name] >= options.max_uses for name in _names(pair)):
            rejected[f"{what}over max_uses"] += 1
        elif len(kept) == options.max_pairs_per_prompt:
            rejected[f"{what}over max_pairs_per_prompt"] += 1
        else:
            kept.append(pair)
            uses.update(_names(pair))
    return tuple(kept)
