"""The world: draw a clip of a prompt with known truth, render it at any size, and say what is where in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from reward.errors import InputError
from reward.prompts import Check
from toyworld.acts import Playing, play
from toyworld.measure import MIN_FRAMES, MIN_SIZE
from toyworld.oracle import letters
from toyworld.plan import Plan, Question, Story, ToyPrompt, absent_check, sample_prompt
from toyworld.render import Layers, colours_at, render
from toyworld.scene import COLOURS, Actor, Array, Camera, Scene, camera_at, pose_at

__all__ = [
    "Latents",
    "Story",
    "ToyClip",
    "ToyPrompt",
    "World",
    "absent_check",
    "sample_clip",
    "sample_prompt",
]


@dataclass(frozen=True)
class ToyClip:
    """A scene and its truth: `checks` in the order of the prompt's, `order` the letters of the events that happen."""

    scene: Scene
    checks: tuple[bool, ...]
    order: str


@dataclass(frozen=True)
class Latents:
    """What is where in a clip, per actor and frame (N, T), in units of the picture as it is drawn.

    `colour` indexes COLOURS, -1 while a lamp is off. `visible`: share of the drawn thing that is neither hidden by
    another nor outside the picture, 0 where it is gone. `moving`: it changes place or size between this frame and the
    next. `camera_offset`, `camera_scale` (T,). `event_seconds`: starts of the asked events, NaN where one is missing.
    """

    nouns: tuple[str, ...]
    x: Array
    y: Array
    width: Array
    height: Array
    colour: npt.NDArray[np.int8]
    visible: Array
    moving: npt.NDArray[np.bool_]
    camera_offset: Array
    camera_scale: Array
    event_seconds: Array
    seconds: Array


@dataclass(frozen=True)
class World:
    """How clips are drawn: square pictures of `size` pixels, `frames` of them at `fps`.

    A story fills the clip whatever its length, so that the same scene can be drawn short and small, or long and large.
    """

    size: int = 64
    frames: int = 16
    fps: float = 8.0
    story_times: Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.size < MIN_SIZE or self.frames < MIN_FRAMES or not self.fps > 0:
            raise InputError(
                f"a world needs size >= {MIN_SIZE}, frames >= {MIN_FRAMES} and fps > 0, "
                f"got {self.size}, {self.frames}, {self.fps}"
            )
        object.__setattr__(self, "story_times", np.linspace(0, 1, self.frames))

    @property
    def seconds(self) -> Array:
        """Time of every frame (T,)."""
        return np.arange(self.frames) / self.fps

    def render(self, scene: Scene) -> npt.NDArray[np.uint8]:
        """Draw a scene as uint8 RGB frames (T, size, size, 3)."""
        return self.layers(scene).frames

    def layers(self, scene: Scene) -> Layers:
        """Draw a scene and keep how much of each pixel shows each actor."""
        return render(scene, self.size, self.story_times)

    def cells(self, layers: Layers, grid: int) -> Array:
        """Return each actor's share of every cell of a `grid` x `grid` raster, (N, T, grid, grid) in [0, 1].

        Raises InputError where `grid` does not divide the size.
        """
        if grid < 1 or self.size % grid:
            raise InputError(f"grid {grid} does not divide the picture size {self.size}")
        side = self.size // grid
        shape = (*layers.visible.shape[:2], grid, side, grid, side)
        return layers.visible.reshape(shape).mean(axis=(3, 5)).astype(float)

    def latents(self, scene: Scene, layers: Layers) -> Latents:
        """Return what is where in a scene that was drawn as `layers`."""
        times = self.story_times
        offset, scale = camera_at(scene.camera, times)
        poses = [pose_at(actor, times) for actor in scene.actors]
        x = np.stack([(pose.x - 0.5 - offset) * scale + 0.5 for pose in poses])
        y = np.stack([(pose.y - 0.5) * scale + 0.5 for pose in poses])
        width, height = np.stack([p.width for p in poses]) * scale, np.stack([p.height for p in poses]) * scale
        return Latents(
            nouns=tuple(actor.noun for actor in scene.actors),
            x=x,
            y=y,
            width=width,
            height=height,
            colour=np.stack([_colour_indices(actor, times) for actor in scene.actors]),
            visible=_visible_share(scene, layers, width * height),
            moving=np.stack([_is_moving(actor, times) for actor in scene.actors]),
            camera_offset=offset,
            camera_scale=scale,
            event_seconds=np.array(scene.event_starts) * self.seconds[-1],
            seconds=self.seconds,
        )


def _colour_indices(actor: Actor, times: Array) -> npt.NDArray[np.int8]:
    palette = np.array(list(COLOURS.values()))
    match = (colours_at(actor, times)[:, None] == palette[None]).all(-1)
    return np.where(match.any(1), match.argmax(1), -1).astype(np.int8)


_FILL = {"box": 1.0, "disc": np.pi / 4, "cone": 0.5}
"""Share of its bounding box that a shape fills."""


def _visible_share(scene: Scene, layers: Layers, boxes: Array) -> Array:
    shown = layers.visible.mean(axis=(2, 3)).astype(float)
    drawn = boxes * np.array([_FILL[actor.shape] for actor in scene.actors])[:, None]
    return np.clip(np.divide(shown, drawn, out=np.zeros_like(shown), where=drawn > 1e-6), 0, 1)


def _is_moving(actor: Actor, times: Array) -> npt.NDArray[np.bool_]:
    pose = pose_at(actor, times)
    change = sum(np.abs(np.diff(values, append=values[-1:])) for values in (pose.x, pose.y, pose.width, pose.height))
    return np.asarray(change > 1e-3)


# What differs from the prompt, and how often. Chosen so that every question is Yes in about half of the clips.
_EVENTS_AS_ASKED = {1: 0.6}
_EVENTS_AS_ASKED_OF_MORE = 0.47
_SWAPPED = 0.6
"""Share of the deviating clips of several events in which the order differs; in the rest an event is missing."""
_BOTH = 0.2
_OPPOSITE = 0.5


def sample_clip(toy_prompt: ToyPrompt, rng: np.random.Generator) -> ToyClip:
    """Draw a clip of a prompt: what it shows as asked and what otherwise, and hence the truth of every check."""
    plan = toy_prompt.plan
    starts, length = _event_starts(plan, rng)
    missing_share = 0.4 if len(starts) == 1 else 0.2
    decoupled = min(0.5 / (1 - missing_share), 1.0)
    playings = []
    for index, part in enumerate(plan.parts):
        own = tuple(start for start, event in zip(starts, plan.events, strict=True) if event.part == index)
        coupled = any(q.part == index and q.template in _FOLLOWS_EVENT for q in plan.questions)
        as_asked = coupled or bool(rng.random() < (0.5 if part.act == "stand" else decoupled))
        opposite = len(plan.events) == 1 and bool(rng.random() < _OPPOSITE)
        playings.append(Playing(own or (np.nan,), length, as_asked, opposite))
    mirrored, strange_colour = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    camera = plan.camera if rng.random() < 0.5 else _other_camera(plan, rng)
    actors = _actors(plan, playings, mirrored, strange_colour, rng)
    truth = tuple(_truth(q, playings, mirrored, strange_colour, camera) for q in plan.questions)
    happening = sorted(
        (start, letter) for start, letter in zip(starts, letters(len(starts)), strict=True) if start >= 0
    )
    return ToyClip(Scene(actors, camera, starts), truth, "".join(letter for _, letter in happening))


_FOLLOWS_EVENT = ("falls", "rises")
"""Checks that are Yes exactly when their event happens."""


def _truth(
    question: Question, playings: Sequence[Playing], mirrored: bool, strange_colour: bool, camera: Camera
) -> bool:
    if question.template == "camera":
        return question.slots["camera"] == camera
    if question.template in ("beside", "half"):
        return not mirrored
    if question.template in ("colour", "keeps_colour"):
        return not strange_colour
    playing = playings[question.part]
    return playing.as_asked and (playing.happens or question.template == "stays")


def _event_starts(plan: Plan, rng: np.random.Generator) -> tuple[tuple[float, ...], float]:
    """Draw when each asked event starts in story time (NaN: never), and how long an event may take."""
    count = len(plan.events)
    if count == 0:
        return (), 0.4
    spacing = 0.92 / count
    slots = 0.07 + spacing * np.arange(count) + rng.uniform(0, 0.03)
    length = 0.5 if count == 1 else 0.85 * spacing
    starts = slots.copy()
    if rng.random() >= _EVENTS_AS_ASKED.get(count, _EVENTS_AS_ASKED_OF_MORE):
        swap = count > 1 and rng.random() < _SWAPPED
        if swap:
            starts = slots[_derangement(count, rng)]
        if not swap or (count > 2 and rng.random() < _BOTH):
            starts[rng.integers(count)] = np.nan
    return tuple(float(start) for start in starts), length


def _derangement(count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw an order other than the asked one."""
    while True:
        order = rng.permutation(count)
        if np.any(order != np.arange(count)):
            return order


def _other_camera(plan: Plan, rng: np.random.Generator) -> Camera:
    others = [camera for camera in plan.cameras if camera != plan.camera]
    return others[int(rng.integers(len(others)))]


def _actors(
    plan: Plan, playings: Sequence[Playing], mirrored: bool, strange_colour: bool, rng: np.random.Generator
) -> tuple[Actor, ...]:
    asked = {question.template: question.slots.get("thing", "") for question in plan.questions}
    free = [colour for colour in COLOURS if colour not in plan.colours.values()]
    strange = free[int(rng.integers(len(free)))]
    when = float(rng.uniform(0.42, 0.58))
    actors: list[Actor] = []
    for part, playing in zip(plan.parts, playings, strict=True):
        if mirrored and any(question.template in ("beside", "half") for question in plan.questions):
            part = replace(part, centre=1 - part.centre, heading=-part.heading)
        for actor in play(part, playing, [plan.colours[noun] for noun in part.nouns], rng):
            if strange_colour and actor.noun == asked.get("colour"):
                actor = replace(actor, colour=strange)
            if strange_colour and actor.noun == asked.get("keeps_colour"):
                actor = replace(actor, recolours=(when, strange))
            if part.act == "stand" and not playing.as_asked:
                actor = replace(actor, vanishes=when)
            actors.append(actor)
    return tuple(actors)


def absent_checks(rng: np.random.Generator, toy_prompt: ToyPrompt, count: int) -> tuple[Check, ...]:
    """Draw `count` questions about nouns that the prompt does not name; the truth of each is No."""
    return tuple(absent_check(rng, toy_prompt) for _ in range(count))
