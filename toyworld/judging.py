"""The answer to each yes/no question, measured from the tracks of the things that it names."""

import numpy as np

from toyworld.events import falls, melts, rises, rolls_into, rolls_past
from toyworld.stage import SMALL_TRAVEL, TRAVEL, Answer, Slots, Stage, longest_run, side_of, sideways, why_absent


def _said(yes: bool, reason: str) -> Answer:
    return Answer(float(yes), reason)


def has_colour(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing has the colour asked for in most of its frames."""
    if missing := why_absent(stage, slots):
        return _said(False, missing)
    part = stage.parts[slots["thing"]]
    share = float(part.right_colour[part.frames].mean())
    right = slots["colour"] == part.asked and share > 0.5
    return _said(right, f"the {part.noun} is {part.asked} in {share:.0%} of its frames")


def keeps_colour(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing has one colour in all of its frames."""
    if missing := why_absent(stage, slots):
        return _said(False, missing)
    part = stage.parts[slots["thing"]]
    share = float(part.right_colour[part.frames].mean())
    return _said(share > 0.85 or share < 0.15, f"the {part.noun} is {part.asked} in {share:.0%} of its frames")


def stays_in_picture(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing is seen in every frame but at most one in ten, and in the last."""
    if missing := why_absent(stage, slots):
        return _said(False, missing)
    frames = stage.parts[slots["thing"]].frames
    return _said(
        frames[-1] and frames.mean() >= 0.9, f"the {slots['thing']} is seen in {frames.mean():.0%} of the frames"
    )


def moves_camera(stage: Stage, slots: Slots) -> Answer:
    """Judge what the camera does."""
    if stage.camera.unknown:
        return Answer(np.nan, stage.camera.unknown)
    return _said(stage.camera.kind == slots["camera"], f"pan {stage.camera.pan:+.2f}, zoom {stage.camera.zoom:.2f}")


def falls_down(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing falls."""
    found = falls(stage, slots)
    return _said(not np.isnan(found.start), found.reason)


def rises_up(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing rises."""
    found = rises(stage, slots)
    return _said(not np.isnan(found.start), found.reason)


def rests_on_floor(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing falls and is still whole in the picture at the end."""
    found = falls(stage, slots)
    if np.isnan(found.start):
        return _said(False, found.reason)
    area = stage.parts[slots["thing"]].track.area
    left = float(area[-1] / np.median(area[area > 0]))
    return _said(left > 0.6, f"{left:.0%} of the {slots['thing']} is in the picture at the end")


def stays_up(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing rises and does not come down again."""
    found = rises(stage, slots)
    if np.isnan(found.start):
        return _said(False, found.reason)
    y = stage.parts[slots["thing"]].track.y
    _, _, top = longest_run(y, -1)
    back, _, _ = longest_run(y[top:], 1)
    return _said(back < TRAVEL, f"the {slots['thing']} comes down by {back:.2f} after it rose")


def bounces(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing falls and then comes up again."""
    found = falls(stage, slots)
    if np.isnan(found.start):
        return _said(False, found.reason)
    y = stage.parts[slots["thing"]].track.y
    start = int(np.searchsorted(stage.times, found.start))
    back, _, _ = longest_run(y[max(start - 1, 0) :], -1)
    return _said(back > SMALL_TRAVEL, f"the {slots['thing']} comes up by {back:.2f} after its fall")


def flattens(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing falls and ends much flatter than it began."""
    found = falls(stage, slots)
    if np.isnan(found.start):
        return _said(False, found.reason)
    track = stage.parts[slots["thing"]].track
    form = (track.height / track.width)[track.seen]
    ratio = float(form[-2:].min() / np.median(form[:2]))
    return _said(ratio < 0.6, f"height to width of the {slots['thing']} changes by a factor {ratio:.2f}")


def leaves_puddle(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing that melts ends low and wide instead of gone."""
    found = melts(stage, slots)
    if np.isnan(found.start):
        return _said(False, found.reason)
    track = stage.parts[slots["thing"]].track
    wide = float(np.where(track.seen, track.width, 0)[-2:].max() / np.median(track.width[track.seen][:2]))
    return _said(track.seen[-1] and wide > 1.05, f"the {slots['thing']} ends {wide:.2f} times as wide as it began")


def is_pushed(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing that is hit moves, and not before it is hit."""
    found = rolls_into(stage, slots)
    if np.isnan(found.start):
        return _said(False, found.reason)
    pushed = sideways(stage, slots["other"])
    after = pushed.start > found.start
    return _said(after, pushed.reason if not np.isnan(pushed.start) else f"the {slots['other']} stays where it is")


def is_beside(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing is on the asked side of another in the first frames that show both."""
    if missing := why_absent(stage, slots):
        return _said(False, missing)
    side = side_of(stage, slots)
    side = side[~np.isnan(side)][:2]
    if not len(side):
        return Answer(np.nan, f"the {slots['thing']} and the {slots['other']} are never seen together")
    left = float(side.mean())
    return _said(
        (left < 0) == (slots["side"] == "left"), f"their distance to the right is {left:+.2f} at the beginning"
    )


def is_in_half(stage: Stage, slots: Slots) -> Answer:
    """Judge in which half of the picture a thing is when it is first seen."""
    if missing := why_absent(stage, slots):
        return _said(False, missing)
    x = stage.parts[slots["thing"]].track.picture_x
    first = float(x[~np.isnan(x)][0])
    return _said((first < 0.5) == (slots["side"] == "left"), f"the {slots['thing']} is at {first:.2f} at the beginning")


def passes(stage: Stage, slots: Slots) -> Answer:
    """Judge whether a thing passes in front of or behind another, by which of the two is covered where they meet."""
    if missing := why_absent(stage, slots):
        return _said(False, missing)
    found = rolls_past(stage, slots)
    if np.isnan(found.start):
        return _said(False, found.reason)
    thing, other = stage.parts[slots["thing"]].track, stage.parts[slots["other"]].track
    usual = np.median(thing.area[[0, -1]])
    x = np.interp(stage.times, stage.times[thing.seen], thing.x[thing.seen])
    meeting = int(np.nanargmin(np.abs(x - np.nanmedian(other.x))))
    near = slice(max(meeting - 1, 0), meeting + 2)
    hidden = 1 - float(thing.area[near].min() / usual)
    covered = 1 - float(other.area[near].min() / np.median(other.area[[0, -1]]))
    behind = hidden * usual > covered * np.median(other.area[[0, -1]])
    seen = f"where they meet {hidden:.0%} of the {slots['thing']} and {covered:.0%} of the {slots['other']} is covered"
    return _said(behind == (slots["depth"] == "behind"), seen)
