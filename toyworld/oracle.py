"""Answer a prompt's questions and its event order from pixels: by measurement, with nothing learned and no truth seen.

The oracle knows the world's wordings and colours. It finds each noun by the colour that the prompt gives it, or by
elimination where that colour is nowhere: a colour that nobody asked for belongs to the noun whose own is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from reward.answers import letters
from reward.prompts import Check, Prompt
from toyworld.measure import Facts, Track, measure
from toyworld.questions import asked_colours, parse_event, parse_question
from toyworld.scene import GREY_AT_FIRST, THINGS
from toyworld.stage import TRAVEL, Answer, Happening, Played, Stage, longest_run


@dataclass(frozen=True)
class Verdict:
    """One answer per check and one happening per event, in the prompt's order.

    `order`: the letters of the events that happen, in order ("" if none does), or None where it cannot be told.
    """

    answers: tuple[Answer, ...]
    happenings: tuple[Happening, ...]
    order: str | None


def judge(prompt: Prompt, frames: npt.NDArray[np.uint8], timestamps: npt.ArrayLike | None = None) -> Verdict:
    """Answer every check of `prompt` and find its event order in a clip (T, H, W, 3) uint8 RGB.

    A thing that is not in the clip answers No. An answer is NaN, with its reason, where the question is none of the
    world's or nothing in the clip could decide it. Raises InputError for a clip that `measure` refuses.
    """
    return judge_facts(prompt, measure(frames, timestamps))


def judge_facts(prompt: Prompt, facts: Facts) -> Verdict:
    """Answer a prompt's checks and find its event order from a clip that is measured already."""
    stage = set_stage(prompt.text, facts)
    happenings = tuple(_happening(text, stage) for text in prompt.events)
    named = zip(happenings, letters(len(happenings)), strict=True)
    happened = sorted((happening.start, letter) for happening, letter in named if not np.isnan(happening.start))
    known = all(happening.known for happening in happenings)
    order = "".join(letter for _, letter in happened) if known else None
    return Verdict(tuple(_answer(check, stage) for check in prompt.checks), happenings, order)


def _answer(check: Check, stage: Stage) -> Answer:
    parsed = parse_question(check.question)
    if parsed is None:
        return Answer(np.nan, f"no question of the toy world is worded {check.question!r}")
    template, slots = parsed
    unclear = _unclear(stage, slots)
    return Answer(np.nan, unclear) if unclear else template.measurement(stage, slots)


def _happening(text: str, stage: Stage) -> Happening:
    parsed = parse_event(text)
    if parsed is None:
        return Happening(np.nan, f"no event of the toy world is worded {text!r}", known=False)
    template, slots = parsed
    unclear = _unclear(stage, slots)
    return Happening(np.nan, unclear, known=False) if unclear else template.measurement(stage, slots)


def _unclear(stage: Stage, slots: Mapping[str, str]) -> str:
    named = (slots[slot] for slot in ("thing", "other") if slot in slots)
    return next((stage.unclear[noun] for noun in named if noun in stage.unclear), "")


def set_stage(prompt_text: str, facts: Facts) -> Stage:
    """Return which track plays which noun of the prompt, and why a noun has none."""
    asked = asked_colours(prompt_text)
    shared = {noun for noun, colour in asked.items() if list(asked.values()).count(colour) > 1}
    tracks = {noun: facts.tracks[colour] for noun, colour in asked.items() if colour in facts.tracks}
    right = {noun: track.seen for noun, track in tracks.items()}
    spare = [track for colour, track in facts.tracks.items() if colour not in asked.values()]
    for track in sorted(spare, key=lambda track: -track.area.sum()):
        noun = _owner(track, [noun for noun in asked if noun not in GREY_AT_FIRST], tracks)
        if noun is not None:
            right.setdefault(noun, np.zeros(len(facts.times), bool))
            tracks[noun] = _merged(tracks[noun], track) if noun in tracks else track
    parts = {
        noun: Played(noun, asked[noun], track, right[noun]) for noun, track in tracks.items() if noun not in shared
    }
    absent = {noun: f"the prompt names no {noun} with a colour to look for" for noun in THINGS if noun not in asked}
    absent |= {noun: f"no {asked[noun]} thing is seen that could be the {noun}" for noun in asked if noun not in parts}
    unclear = {noun: f"the {noun} shares its colour with another thing of the prompt" for noun in shared}
    return Stage(facts.times, parts, absent, unclear, facts.camera)


MIN_SPARE_FRAMES = 2
MOST_OVERLAP = 0.25


def _owner(spare: Track, nouns: Sequence[str], tracks: Mapping[str, Track]) -> str | None:
    """Return the noun to which an unasked colour belongs: the one unseen while it is seen, the nearest if several."""
    if spare.seen.sum() < MIN_SPARE_FRAMES:
        return None
    distances = {}
    for noun in nouns:
        own = tracks.get(noun)
        if own is None:
            distances[noun] = -1.0
        elif (own.seen & spare.seen).sum() <= MOST_OVERLAP * spare.seen.sum():
            distances[noun] = _switch_distance(own, spare)
    return min(distances, key=lambda noun: distances[noun]) if distances else None


def _switch_distance(own: Track, spare: Track) -> float:
    """Return how far apart two tracks are where one ends and the other begins."""
    gaps = np.abs(np.flatnonzero(own.seen)[:, None] - np.flatnonzero(spare.seen)[None])
    row, column = np.unravel_index(int(gaps.argmin()), gaps.shape)
    one, two = np.flatnonzero(own.seen)[row], np.flatnonzero(spare.seen)[column]
    return float(np.hypot(own.x[one] - spare.x[two], own.y[one] - spare.y[two]))


def _merged(own: Track, spare: Track) -> Track:
    """Return `own` with `spare` in the frames where `own` is unseen."""
    columns = {
        field.name: np.where(own.seen, getattr(own, field.name), getattr(spare, field.name))
        for field in fields(Track)
        if field.name != "colour"
    }
    return Track(own.colour, **columns)


@dataclass(frozen=True)
class Seen:
    """What one colour does in a clip, with no prompt in mind: to look at what a generator made.

    `presence`: share of the frames. `motion`: of left, right, up, down those by which it travels 0.12 or more, else
    empty. `coherent`: it is there in nearly every frame, in one piece, and never jumps.
    """

    colour: str
    presence: float
    motion: tuple[str, ...]
    coherent: bool


FARTHEST_JUMP = 0.4
"""Between two frames, in picture widths: beyond the fastest fall in 9 frames."""


def look(facts: Facts) -> tuple[Seen, ...]:
    """Return what each colour of a clip does, the largest first."""
    return tuple(_seen(track) for track in sorted(facts.tracks.values(), key=lambda track: -track.area.sum()))


def _seen(track: Track) -> Seen:
    axes = (("left", track.x, -1), ("right", track.x, 1), ("up", track.y, -1), ("down", track.y, 1))
    motion = tuple(name for name, values, sign in axes if longest_run(values, sign)[0] >= TRAVEL)
    jumps = np.hypot(np.diff(track.x[track.seen]), np.diff(track.y[track.seen]))
    whole = float(np.mean(track.main_share[track.seen])) > 0.85
    coherent = bool(track.seen.mean() >= 0.9 and whole and np.all(jumps < FARTHEST_JUMP))
    return Seen(track.colour, float(track.seen.mean()), motion, coherent)
