"""A scene as plain data: who is where, how large and in which colour at every moment, and what the camera does.

Picture coordinates: x to the right, y down, both in [0, 1] for the picture in the middle of the clip. Story time
runs from 0 (first frame) to 1 (last frame); `toyworld.world.World` turns it into seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FLOOR = 0.86
"""Height of the floor's edge in the picture in the middle of the clip."""

COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"red": (228, 36, 36), "green": (86, 204, 24), "blue": (20, 140, 228), "purple": (180, 40, 222)}
)
"""RGB. The four hues lie about 90 degrees apart, so that blur, a small autoencoder or a hue shift leaves them apart
and no blend of two of them has the hue of a third at more than a third of its strength."""

Shape = Literal["disc", "box", "cone"]
Camera = Literal["stay still", "pan to the left", "pan to the right", "zoom in", "zoom out"]

CAMERAS: tuple[Camera, ...] = ("stay still", "pan to the left", "pan to the right", "zoom in", "zoom out")
PAN_DISTANCE = 0.2
"""How far the camera travels in the whole clip, in picture widths."""
ZOOM_RATIO = 1.3
"""Picture scale in the last frame over that in the first, zooming in."""


@dataclass(frozen=True)
class Thing:
    """What a noun looks like: its shape, its size in picture units, and whether a grey post carries it."""

    shape: Shape
    width: float
    height: float
    post: float = 0.0


THINGS: Mapping[str, Thing] = MappingProxyType(
    {
        "ball": Thing("disc", 0.19, 0.19),
        "box": Thing("box", 0.18, 0.18),
        "cone": Thing("cone", 0.22, 0.22),
        "balloon": Thing("disc", 0.17, 0.23),
        "ice cube": Thing("box", 0.2, 0.19),
        "lamp": Thing("disc", 0.17, 0.17, post=0.3),
        "tree": Thing("cone", 0.22, 0.3, post=0.1),
        "pillar": Thing("box", 0.21, 0.42),
    }
)
"""Every noun of the world; a scene holds each at most once."""

GREY_AT_FIRST = ("lamp",)
"""Nouns that have no colour until they light up: that their colour is nowhere does not mean that it is a wrong one."""


@dataclass(frozen=True)
class Move:
    """A change to a new place and size between two moments of story time.

    `ease`: even = constant speed, soft = starts and stops gently, drop = from rest under gravity, toss = thrown up.
    """

    start: float
    end: float
    x: float
    y: float
    width: float
    height: float
    ease: Literal["even", "soft", "drop", "toss"] = "soft"


@dataclass(frozen=True)
class Actor:
    """One thing in the scene. Centre, width and height are those before its first move; moves are in time order.

    `layer`: a higher one is nearer to the camera. `vanishes`, `lights`: story time, infinite for never; a lamp is
    grey until it lights, and everything else is lit from the start. `recolours`: the moment and the new colour.
    """

    noun: str
    colour: str
    x: float
    y: float
    width: float
    height: float
    moves: tuple[Move, ...] = ()
    layer: int = 0
    vanishes: float = np.inf
    lights: float = -np.inf
    recolours: tuple[float, str] | None = None

    @property
    def shape(self) -> Shape:
        """The outline that is drawn."""
        return THINGS[self.noun].shape

    def then(self, start: float, end: float, ease: Literal["even", "soft", "drop", "toss"], **to: float) -> "Actor":
        """Return the actor with one more move; `to` gives the new x, y, width or height, the rest stays."""
        last = self.moves[-1] if self.moves else self
        pose = {name: to.get(name, float(getattr(last, name))) for name in ("x", "y", "width", "height")}
        return replace(self, moves=(*self.moves, Move(start, end, **pose, ease=ease)))


@dataclass(frozen=True)
class Pose:
    """Centre, width and height of an actor at T moments, each of shape (T,)."""

    x: Array
    y: Array
    width: Array
    height: Array


def pose_at(actor: Actor, story_times: Array) -> Pose:
    """Return where an actor is and how large at `story_times` (T,), before the camera."""
    columns = {}
    for name in ("x", "y", "width", "height"):
        before = getattr(actor, name)
        value = np.full(len(story_times), before, dtype=float)
        for move in actor.moves:
            after = getattr(move, name)
            value += (after - before) * _eased(story_times, move)
            before = after
        columns[name] = value
    return Pose(**columns)


def _eased(story_times: Array, move: Move) -> Array:
    done = np.clip((story_times - move.start) / max(move.end - move.start, 1e-9), 0, 1)
    if move.ease == "soft":
        return done * done * (3 - 2 * done)
    if move.ease == "drop":
        return done * done
    return 1 - (1 - done) ** 2 if move.ease == "toss" else done


@dataclass(frozen=True)
class Scene:
    """All that is needed to draw a clip. `event_starts`: story times of the asked events, NaN where one is missing."""

    actors: tuple[Actor, ...]
    camera: Camera
    event_starts: tuple[float, ...] = ()


def camera_at(camera: Camera, story_times: Array) -> tuple[Array, Array]:
    """Return the camera's offset to the right in picture widths and its scale (1 in mid-clip), each (T,)."""
    middle = story_times - 0.5
    offset, scale = np.zeros_like(middle), np.ones_like(middle)
    if camera == "pan to the left":
        offset = -PAN_DISTANCE * middle
    elif camera == "pan to the right":
        offset = PAN_DISTANCE * middle
    elif camera == "zoom in":
        scale = ZOOM_RATIO**middle
    elif camera == "zoom out":
        scale = ZOOM_RATIO**-middle
    return offset, scale
