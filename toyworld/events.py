"""When each event starts, measured from the tracks of the things that it names."""

import numpy as np

from toyworld.measure import Track
from toyworld.scene import Array
from toyworld.stage import (
    DIRECTIONS,
    Happening,
    Slots,
    Stage,
    crossing,
    find_motion,
    gap_between,
    side_of,
    sideways,
    why_absent,
)

MELTED, BEGUN = 0.62, 0.88
"""Shares of its height, or of its height to width, at which a thing counts as melted, and as having begun to melt."""


def _event(stage: Stage, slots: Slots, axis: str, sign: int) -> Happening:
    missing = why_absent(stage, slots)
    return Happening(np.nan, missing) if missing else find_motion(stage, slots["thing"], axis, sign)


def moves(stage: Stage, slots: Slots) -> Happening:
    """Find the start of a move in the direction asked for."""
    return _event(stage, slots, *DIRECTIONS[slots["direction"]])


def falls(stage: Stage, slots: Slots) -> Happening:
    """Find the start of a fall."""
    return _event(stage, slots, "y", 1)


def rises(stage: Stage, slots: Slots) -> Happening:
    """Find the start of a rise."""
    return _event(stage, slots, "y", -1)


def melts(stage: Stage, slots: Slots) -> Happening:
    """Find when a thing begins to lose height, if it loses half of it or all."""
    if missing := why_absent(stage, slots):
        return Happening(np.nan, missing)
    left = _left_of_form(stage.parts[slots["thing"]].track)
    if left[-2:].mean() > MELTED:
        return Happening(np.nan, f"the {slots['thing']} keeps {left[-1]:.0%} of its form")
    last = int(np.flatnonzero(left <= MELTED)[0])
    whole = np.flatnonzero(left[:last] >= BEGUN)
    start = crossing(stage.times, -left, int(whole[-1]) if len(whole) else 0, last, -BEGUN)
    return Happening(start, f"the {slots['thing']} ends with {left[-1]:.0%} of its form")


def _left_of_form(track: Track) -> Array:
    """Return the smaller of what is left of the height, and of the height to width, of the first frames; 0 if gone."""
    form = np.stack([track.height, track.height / track.width])
    usual = np.median(form[:, track.seen][:, :2], axis=1, keepdims=True)
    return np.where(track.seen, (form / usual).min(0), 0.0)


def lights(stage: Stage, slots: Slots) -> Happening:
    """Find when a thing that was grey gets its colour."""
    if missing := why_absent(stage, slots):
        return Happening(np.nan, missing)
    frames = stage.parts[slots["thing"]].frames
    first = int(frames.argmax())
    if first == 0 or not frames[-1]:
        state = "from the start" if first == 0 else "only for a while"
        return Happening(np.nan, f"the {slots['thing']} has its colour {state}")
    return Happening(float(stage.times[first - 1 : first + 1].mean()), f"the {slots['thing']} gets its colour")


def rolls_into(stage: Stage, slots: Slots) -> Happening:
    """Find the start of a sideways move that ends at another thing."""
    if missing := why_absent(stage, slots):
        return Happening(np.nan, missing)
    found = sideways(stage, slots["thing"])
    gap = gap_between(stage, slots)
    if np.isnan(found.start) or not (gap < 0.08).any():
        return Happening(np.nan, f"the {slots['thing']} does not get to the {slots['other']}")
    return found


def rolls_past(stage: Stage, slots: Slots) -> Happening:
    """Find the start of a sideways move from one side of another thing to its other side."""
    if missing := why_absent(stage, slots):
        return Happening(np.nan, missing)
    side = side_of(stage, slots)
    side = side[~np.isnan(side)]
    if not len(side) or side[0] * side[-1] >= 0:
        return Happening(np.nan, f"the {slots['thing']} stays on one side of the {slots['other']}")
    return sideways(stage, slots["thing"])
