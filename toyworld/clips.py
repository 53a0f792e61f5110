"""Draw a clip of a prompt: what it shows as asked, what otherwise, and hence the truth of every question."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reward.answers import letters
from toyworld.acts import Playing, play
from toyworld.plan import Plan, Question, ToyPrompt
from toyworld.scene import COLOURS, Actor, Camera, Scene


@dataclass(frozen=True)
class ToyClip:
    """A scene and its truth: `checks` in the order of the prompt's, `order` the letters of the events that happen."""

    scene: Scene
    checks: tuple[bool, ...]
    order: str


@dataclass(frozen=True)
class Deviations:
    """Where a clip differs from its prompt.

    `starts`: of the asked events in story time, NaN where one does not happen. `as_asked`: per part, whether its own
    check is to be Yes. `opposite`: a single event that does not happen is replaced by its reverse. `mirrored`: left and
    right are exchanged. `strange_colour`: the thing whose colour is asked about has, or changes to, another one.
    """

    starts: tuple[float, ...]
    as_asked: tuple[bool, ...]
    camera: Camera
    opposite: bool = False
    mirrored: bool = False
    strange_colour: bool = False


def sample_clip(toy_prompt: ToyPrompt, rng: np.random.Generator, faithful: bool = False) -> ToyClip:
    """Draw a clip of a prompt, with any one thing as asked in about half of the clips; in all if `faithful`."""
    deviations = as_asked(toy_prompt.plan) if faithful else sample_deviations(toy_prompt.plan, rng)
    return stage_clip(toy_prompt, deviations, rng)


def as_asked(plan: Plan) -> Deviations:
    """Return the deviations of a clip that does all that its prompt asks."""
    return Deviations(_slots(len(plan.events)), (True,) * len(plan.parts), plan.camera)


# How often things differ from the prompt: chosen so that every question is Yes in about half of the clips.
_MISSING, _MISSING_OF_MORE = 0.42, 0.1
"""How often an asked event does not happen: where it is the only one, and where it is one of several."""
_ORDER_AS_ASKED = 0.47
"""Share of the clips of several events in which all happen in the asked order."""
_SWAPPED = 0.6
"""Share of the other clips of several events in which the order differs; in the rest an event is missing."""
_BOTH = 0.2
"""Share of the swapped clips of three or more events in which one is missing as well."""
_FOLLOWS_EVENT = ("falls", "rises")
"""Checks that are Yes exactly when their event happens."""


def sample_deviations(plan: Plan, rng: np.random.Generator) -> Deviations:
    """Draw where a clip is to differ from its prompt."""
    count = len(plan.events)
    starts = _sample_starts(count, rng)
    share = 0.5 / (1 - (_MISSING if count == 1 else _MISSING_OF_MORE))
    follows = {question.part for question in plan.questions if question.template in _FOLLOWS_EVENT}
    return Deviations(
        starts=starts,
        as_asked=tuple(
            index in follows or bool(rng.random() < (0.5 if part.act == "stand" else share))
            for index, part in enumerate(plan.parts)
        ),
        camera=plan.camera if rng.random() < 0.5 else _other_camera(plan, rng),
        opposite=bool(rng.random() < 0.5),
        mirrored=bool(rng.random() < 0.5),
        strange_colour=bool(rng.random() < 0.5),
    )


def stage_clip(toy_prompt: ToyPrompt, deviations: Deviations, rng: np.random.Generator) -> ToyClip:
    """Return the scene and truth of a prompt under given deviations; `rng` draws small changes of size and place."""
    plan = toy_prompt.plan
    playings = [_playing(plan, index, deviations) for index in range(len(plan.parts))]
    actors = _actors(plan, playings, deviations, rng)
    truth = tuple(_truth(question, playings, deviations) for question in plan.questions)
    named = zip(deviations.starts, letters(len(plan.events)), strict=True)
    order = "".join(letter for _, letter in sorted(pair for pair in named if not np.isnan(pair[0])))
    return ToyClip(Scene(actors, deviations.camera, deviations.starts), truth, order)


def _slots(count: int) -> tuple[float, ...]:
    return tuple(0.07 + _spacing(count) * index for index in range(count))


def _spacing(count: int) -> float:
    """Return the time from event to event: the last one begins early enough to be seen in nine frames."""
    return (0.84 if count < 3 else 0.8) / max(count, 1)


def _playing(plan: Plan, index: int, deviations: Deviations) -> Playing:
    events = zip(deviations.starts, plan.events, strict=True)
    starts = tuple(start for start, event in events if event.part == index) or (np.nan,)
    count = len(plan.events)
    length = 0.5 if count <= 1 else 0.85 * _spacing(count)
    return Playing(starts, length, deviations.as_asked[index], deviations.opposite and count == 1)


def _sample_starts(count: int, rng: np.random.Generator) -> tuple[float, ...]:
    slots = np.array(_slots(count)) + rng.uniform(0, 0.03)
    if count == 0 or rng.random() >= (_MISSING if count == 1 else 1 - _ORDER_AS_ASKED):
        return tuple(slots.tolist())
    starts = slots.copy()
    swapped = count > 1 and rng.random() < _SWAPPED
    if swapped:
        starts = slots[_derangement(count, rng)]
    if not swapped or (count > 2 and rng.random() < _BOTH):
        starts[rng.integers(count)] = np.nan
    return tuple(starts.tolist())


def _derangement(count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw an order other than the asked one."""
    while True:
        order = rng.permutation(count)
        if np.any(order != np.arange(count)):
            return order


def _other_camera(plan: Plan, rng: np.random.Generator) -> Camera:
    others = [camera for camera in plan.cameras if camera != plan.camera]
    return others[int(rng.integers(len(others)))]


def _truth(question: Question, playings: Sequence[Playing], deviations: Deviations) -> bool:
    if question.template == "camera":
        return question.slots["camera"] == deviations.camera
    if question.template in ("beside", "half"):
        return not deviations.mirrored
    if question.template in ("colour", "keeps_colour"):
        return not deviations.strange_colour
    playing = playings[question.part]
    if question.template in _FOLLOWS_EVENT:
        return playing.happens
    return playing.as_asked and (playing.happens or question.template == "stays")


def _actors(
    plan: Plan, playings: Sequence[Playing], deviations: Deviations, rng: np.random.Generator
) -> tuple[Actor, ...]:
    asked = {question.template: question.slots.get("thing", "") for question in plan.questions}
    free = [colour for colour in COLOURS if colour not in plan.colours.values()]
    strange = free[int(rng.integers(len(free)))]
    when = float(rng.uniform(0.42, 0.58))
    actors: list[Actor] = []
    for part, playing in zip(plan.parts, playings, strict=True):
        mirror = deviations.mirrored and ("beside" in asked or "half" in asked)
        place = replace(part, centre=1 - part.centre, heading=-part.heading) if mirror else part
        colours = [plan.colours[noun] for noun in part.nouns]
        if deviations.strange_colour and asked.get("colour") in part.nouns:
            colours[part.nouns.index(asked["colour"])] = strange
        for actor in play(place, playing, colours, rng):
            changes: dict[str, Any] = {}
            if deviations.strange_colour and actor.noun == asked.get("keeps_colour"):
                changes["recolours"] = (when, strange)
            if part.act == "stand" and not playing.as_asked:
                changes["vanishes"] = when
            actors.append(replace(actor, **changes))
    return tuple(actors)
