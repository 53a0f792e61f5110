"""What a measurement may look at, and the few motions from which all of them are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from toyworld.measure import CameraMotion, Flags, Track
from toyworld.scene import Array

TRAVEL = 0.12
"""A thing has moved when it travelled this far, in picture widths; the world's moves are 0.2 and more."""
SMALL_TRAVEL = 0.05
"""A move begins where this much of it is done."""


@dataclass(frozen=True)
class Answer:
    """`yes` is 1 or 0, or NaN where it cannot be measured; `reason` says what was seen, in words."""

    yes: float
    reason: str


@dataclass(frozen=True)
class Happening:
    """`start` of an event in story time (0 to 1), NaN if it does not happen; `reason` says what was seen.

    `known` is False where it cannot be told whether it happens.
    """

    start: float
    reason: str
    known: bool = True


@dataclass(frozen=True)
class Played:
    """One noun's part in a clip: its track, the colour asked for, and the share of its frames in that colour."""

    noun: str
    asked: str
    track: Track
    right_colour: Flags

    @property
    def frames(self) -> Flags:
        """The frames in which it is seen."""
        return self.track.seen


@dataclass(frozen=True)
class Stage:
    """All that a measurement may look at: `times` (T,), the nouns' parts, the camera.

    `absent`: why each other noun is not in the clip. `unclear`: why it cannot be told what plays a noun.
    """

    times: Array
    parts: Mapping[str, Played]
    absent: Mapping[str, str]
    unclear: Mapping[str, str]
    camera: CameraMotion


Slots = Mapping[str, str]
Check = Callable[[Stage, Slots], Answer]
Event = Callable[[Stage, Slots], Happening]


DIRECTIONS = {"to the left": ("x", -1), "to the right": ("x", 1), "up": ("y", -1), "down": ("y", 1)}


def why_absent(stage: Stage, slots: Slots) -> str:
    """Return why one of the named things cannot be judged, or an empty string."""
    return next((stage.absent[slots[s]] for s in ("thing", "other") if s in slots and slots[s] in stage.absent), "")


def longest_run(values: Array, sign: int) -> tuple[float, int, int]:
    """Return the largest gain of `sign * values` from an earlier to a later frame, and these frames; NaN is skipped."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 2:
        return 0.0, 0, 0
    signed = sign * values[known]
    gain = signed - np.minimum.accumulate(signed)
    last = int(gain.argmax())
    first = last - int(signed[last::-1].argmin())
    return float(gain[last]), int(known[first]), int(known[last])


def crossing(times: Array, values: Array, first: int, last: int, level: float) -> float:
    """Return when `values` first rises to `level` between two frames, interpolated; NaN values are passed over."""
    known = [frame for frame in range(first, last + 1) if not np.isnan(values[frame])]
    for before, after in pairwise(known):
        if values[after] >= level:
            part = (level - values[before]) / max(values[after] - values[before], 1e-9)
            return float(times[before] + np.clip(part, 0, 1) * (times[after] - times[before]))
    return float(times[last])


def find_motion(stage: Stage, noun: str, axis: str, sign: int) -> Happening:
    """Find the longest travel of a thing along an axis, and its start."""
    track = stage.parts[noun].track
    values: Array = track.x if axis == "x" else track.y
    gain, first, last = longest_run(values, sign)
    if gain < TRAVEL:
        return Happening(np.nan, f"the {noun} travels only {gain:.2f} that way")
    signed = sign * values
    start = crossing(stage.times, signed, first, last, signed[first] + SMALL_TRAVEL)
    return Happening(start, f"the {noun} travels {gain:.2f} that way")


def sideways(stage: Stage, noun: str) -> Happening:
    """Find the earlier of a move to the left and a move to the right."""
    return min(
        (find_motion(stage, noun, "x", sign) for sign in (-1, 1)),
        key=lambda found: (np.isnan(found.start), found.start),
    )


def gap_between(stage: Stage, slots: Slots) -> Array:
    """Return the free space between two things, (T,); NaN where one is unseen."""
    thing, other = stage.parts[slots["thing"]].track, stage.parts[slots["other"]].track
    return np.abs(thing.x - other.x) - (thing.width + other.width) / 2


def side_of(stage: Stage, slots: Slots) -> Array:
    """Return how far the thing is to the right of the other, (T,); NaN where one is unseen."""
    return stage.parts[slots["thing"]].track.x - stage.parts[slots["other"]].track.x
