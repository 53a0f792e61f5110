"""The world: render a scene at any size and length, and say what is where in it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reward.errors import InputError
from toyworld.clips import ToyClip, sample_clip
from toyworld.measure import MIN_FRAMES, MIN_SIZE
from toyworld.plan import Story, ToyPrompt
from toyworld.render import Layers, colours_at, render
from toyworld.scene import COLOURS, Actor, Array, Scene, camera_at, pose_at
from toyworld.stories import absent_check, sample_prompt

__all__ = ["Latents", "Story", "ToyClip", "ToyPrompt", "World", "absent_check", "sample_clip", "sample_prompt"]


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
