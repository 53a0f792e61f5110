"""How each act is played, as asked or not: actors with their moves in story time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toyworld.plan import Part
from toyworld.scene import FLOOR, THINGS, Actor
from toyworld.stage import DIRECTIONS


@dataclass(frozen=True)
class Playing:
    """How one part is played. `starts`: of its own events in story time, NaN where one does not happen.

    `length`: how long an event may take. `as_asked`: whether the part's own check is to be Yes. `opposite`: whether a
    single event that does not happen is replaced by its reverse instead of by standing still.
    """

    starts: tuple[float, ...]
    length: float
    as_asked: bool = True
    opposite: bool = False

    @property
    def happens(self) -> bool:
        """Whether the part's only event happens."""
        return not np.isnan(self.starts[0])


HANGING = 0.2
"""Height of the centre of a thing before its fall and after its rise."""
PUDDLE = 0.08
"""Height of what is left of melted ice: 2.5 pixels in the smallest clips in use, of 32 pixels."""


def play(part: Part, playing: Playing, colours: Sequence[str], rng: np.random.Generator) -> tuple[Actor, ...]:
    """Return the actors of one part; `rng` draws sizes within 6 per cent and places within 0.015."""
    centre = part.centre + rng.uniform(-0.015, 0.015)
    actors = [_actor(noun, colour, centre, rng) for noun, colour in zip(part.nouns, colours, strict=True)]
    if part.act == "push":
        return _push(actors[0], actors[1], part, playing)
    if part.act == "pass":
        return _pass(actors[0], actors[1], part, playing)
    return (_play_alone(actors[0], part, playing),)


def _play_alone(actor: Actor, part: Part, playing: Playing) -> Actor:
    if part.act == "stand":
        return actor
    if part.act == "journey":
        return _journey(actor, part, playing)
    if part.act == "light":
        return replace(actor, lights=playing.starts[0] if playing.happens else np.inf)
    if part.act == "melt":
        return _melt(actor, playing)
    rising = (part.act == "rise") == (playing.happens or not playing.opposite)
    return _rise(actor, playing) if rising else _fall(actor, part, playing)


def _actor(noun: str, colour: str, x: float, rng: np.random.Generator) -> Actor:
    """Return a thing that stands on the floor, or on its post."""
    thing = THINGS[noun]
    size = rng.uniform(0.94, 1.06)
    width, height = thing.width * size, thing.height * size
    return Actor(noun, colour, x, FLOOR - thing.post - height / 2, width, height)


def _event_start(playing: Playing) -> float:
    """Return when the part's event, or what comes in its place, begins."""
    return playing.starts[0] if playing.happens else 0.15


def _fall(actor: Actor, part: Part, playing: Playing) -> Actor:
    """Fall to the floor; then rest, or sink through it, bounce or flatten, as the act and the playing have it."""
    floor = actor.y
    hanging = replace(actor, y=HANGING)
    if not playing.happens and not playing.opposite:
        return hanging
    start = _event_start(playing)
    landing = start + min(playing.length * 0.85, 0.24)
    if part.act == "drop" and playing.happens and not playing.as_asked:
        return hanging.then(start, landing + 0.05, "drop", y=1.25)
    fallen = hanging.then(start, landing, "drop", y=floor)
    if part.act == "bounce" and playing.happens and playing.as_asked:
        thrown = fallen.then(landing, landing + 0.16, "toss", y=floor - 0.3)
        return thrown.then(landing + 0.16, landing + 0.34, "drop", y=floor)
    if part.act == "squash" and playing.happens and playing.as_asked:
        height = actor.height * 0.42
        return fallen.then(
            landing, landing + 0.06, "even", y=FLOOR - height / 2, width=actor.width * 1.5, height=height
        )
    return fallen


def _rise(actor: Actor, playing: Playing) -> Actor:
    """Rise from the floor; then stay up, or come down again."""
    if not playing.happens and not playing.opposite:
        return actor
    start = _event_start(playing)
    top = start + min(playing.length, 0.36)
    risen = actor.then(start, top, "soft", y=HANGING)
    if playing.happens and not playing.as_asked:
        return risen.then(min(top + 0.05, 0.86), min(top + 0.35, 0.99), "drop", y=actor.y)
    return risen


def _melt(actor: Actor, playing: Playing) -> Actor:
    """Melt to a puddle, or shrink to nothing."""
    if not playing.happens:
        return actor
    end = min(playing.starts[0] + playing.length, 0.99)
    if playing.as_asked:
        return actor.then(playing.starts[0], end, "even", y=FLOOR - PUDDLE / 2, width=actor.width * 1.6, height=PUDDLE)
    return actor.then(playing.starts[0], end, "even", y=FLOOR, width=0, height=0)


def _journey(actor: Actor, part: Part, playing: Playing) -> Actor:
    """Move in the asked directions, each at its own time, from the middle of the part's place."""
    actor = replace(actor, y=0.48)
    x, y = actor.x, actor.y
    for index in np.argsort(playing.starts):
        start = playing.starts[int(index)]
        sign = 1
        if np.isnan(start):
            if not playing.opposite:
                continue
            start, sign = 0.15, -1
        axis, direction = DIRECTIONS[part.directions[int(index)]]
        x += sign * direction * part.step * (axis == "x")
        y += sign * direction * part.step * (axis == "y")
        actor = actor.then(start, start + min(playing.length, 0.36), "soft", x=x, y=y)
    return actor


def _push(mover: Actor, target: Actor, part: Part, playing: Playing) -> tuple[Actor, ...]:
    """Roll into another thing, which then moves, or stands like a rock."""
    reach = part.step + 0.065
    mover, target = _smaller(mover, 0.82), _smaller(target, 0.9)
    mover = replace(mover, x=mover.x - part.heading * reach)
    target = replace(target, x=target.x + part.heading * 0.07)
    if not playing.happens:
        return mover, target
    hit = playing.starts[0] + max(playing.length * 0.6, 0.16)
    touching = target.x - part.heading * (mover.width + target.width) / 2
    mover = mover.then(playing.starts[0], hit, "even", x=touching)
    if playing.as_asked:
        push = part.heading * 0.17
        end = min(hit + 0.2, 0.99)
        target = target.then(hit, end, "toss", x=target.x + push)
        mover = mover.then(hit, end, "toss", x=touching + push * 0.35)
    return mover, target


def _smaller(actor: Actor, factor: float) -> Actor:
    return replace(actor, width=actor.width * factor, height=actor.height * factor, y=FLOOR - actor.height * factor / 2)


def _pass(mover: Actor, screen: Actor, part: Part, playing: Playing) -> tuple[Actor, ...]:
    """Roll past another thing, in front of it or behind it."""
    in_front = (part.depth == "in front of") == playing.as_asked
    reach = part.heading * (part.step + 0.04)
    mover = replace(mover, x=mover.x - reach, layer=1 if in_front else -1)
    if playing.happens:
        end = min(playing.starts[0] + max(playing.length, 0.4), 0.99)
        mover = mover.then(playing.starts[0], end, "even", x=mover.x + 2 * reach)
    return mover, screen
