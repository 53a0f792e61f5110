"""Draw a scene: anti-aliased shapes over a grey wall with posts and a darker floor, at any size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toyworld.scene import COLOURS, FLOOR, THINGS, Actor, Array, Pose, Scene, camera_at, pose_at

Coverage = npt.NDArray[np.float32]

WALL, STRIPE, GROUND, DARK = 206, 148, 112, 62
"""Greys of wall, wall stripes, floor, and of posts and unlit lamps. All neutral: only things have a colour."""

STRIPES = (
    (-0.41, 0.07),
    (-0.2, 0.04),
    (0.05, 0.09),
    (0.33, 0.05),
    (0.46, 0.04),
    (0.71, 0.1),
    (0.94, 0.05),
    (1.21, 0.08),
)
"""Left edge and width of the stripes on the wall, spaced unevenly so that a shift of the camera is never ambiguous."""

POST_WIDTH = 0.045


@dataclass(frozen=True)
class Layers:
    """What each pixel shows: `frames` (T, H, W, 3) uint8 and `visible` (N, T, H, W), each actor's share in [0, 1]."""

    frames: npt.NDArray[np.uint8]
    visible: Coverage


def render(scene: Scene, size: int, story_times: Array) -> Layers:
    """Draw `scene` at the moments `story_times` (T,) as square pictures of `size` pixels."""
    offset, scale = camera_at(scene.camera, story_times)
    pixel = (np.arange(size) + 0.5) / size
    x = ((pixel[None] - 0.5) / scale[:, None] + 0.5 + offset[:, None]).astype(np.float32)
    y = ((pixel[None] - 0.5) / scale[:, None] + 0.5).astype(np.float32)
    step = (1 / (size * scale)).astype(np.float32)[:, None, None]
    picture = np.repeat(_background(x, y, step)[..., None], 3, axis=-1)
    visible = np.zeros((len(scene.actors), len(story_times), size, size), np.float32)
    for index in sorted(range(len(scene.actors)), key=lambda index: scene.actors[index].layer):
        actor = scene.actors[index]
        pose = pose_at(actor, story_times)
        there = (story_times < actor.vanishes).astype(np.float32)[:, None, None]
        if THINGS[actor.noun].post:
            _paint(picture, there * _post(pose, x, y, step), np.float32(DARK))
        cover = there * coverage(actor, pose, x, y, step)
        _paint(picture, cover, colours_at(actor, story_times)[:, None, None])
        visible *= 1 - cover
        visible[index] = cover
    return Layers(np.rint(picture).astype(np.uint8), visible)


def colours_at(actor: Actor, story_times: Array) -> Coverage:
    """Return the RGB colour (T, 3) in which an actor is drawn."""
    colours = np.tile(np.array(COLOURS[actor.colour], np.float32), (len(story_times), 1))
    if actor.recolours is not None:
        colours[story_times >= actor.recolours[0]] = COLOURS[actor.recolours[1]]
    colours[story_times < actor.lights] = DARK
    return colours


def coverage(actor: Actor, pose: Pose, x: Coverage, y: Coverage, step: Coverage) -> Coverage:
    """Return which share of each pixel an actor covers, (T, H, W); `x` (T, W), `y` (T, H), `step` is a pixel's size."""
    dx = np.abs(x[:, None, :] - _frame(pose.x))
    dy = y[:, :, None] - _frame(pose.y)
    half_width, half_height = _frame(pose.width) / 2, _frame(pose.height) / 2
    rows = np.clip((half_height - np.abs(dy)) / step + 0.5, 0, 1)
    if actor.shape == "box":
        return rows * np.clip((half_width - dx) / step + 0.5, 0, 1)
    safe_width, safe_height = np.maximum(half_width, 1e-4), np.maximum(half_height, 1e-4)
    if actor.shape == "cone":
        slope = safe_width / (2 * safe_height)
        edge = slope * (dy + half_height) - dx
        return rows * np.clip(edge / np.sqrt(1 + slope * slope) / step + 0.5, 0, 1)
    radius = np.sqrt((dx / safe_width) ** 2 + (dy / safe_height) ** 2)
    gradient = np.sqrt((dx / safe_width**2) ** 2 + (dy / safe_height**2) ** 2)
    distance = (1 - radius) * radius / np.maximum(gradient, 1e-6)
    inside = np.where(radius < 0.5, 1, np.clip(distance / step + 0.5, 0, 1))
    return inside * np.clip(np.minimum(half_width, half_height) * 2 / step, 0, 1)


def _frame(values: Array) -> Coverage:
    return values.astype(np.float32)[:, None, None]


def _background(x: Coverage, y: Coverage, step: Coverage) -> Coverage:
    column = np.zeros_like(x)
    for left, width in STRIPES:
        column += np.clip((width / 2 - np.abs(x - left - width / 2)) / step[:, :, 0] + 0.5, 0, 1)
    wall = (WALL + (STRIPE - WALL) * column)[:, None, :]
    ground = np.clip((y - FLOOR) / step[:, :, 0] + 0.5, 0, 1)[:, :, None]
    return wall + (GROUND - wall) * ground


def _post(pose: Pose, x: Coverage, y: Coverage, step: Coverage) -> Coverage:
    top = _frame(pose.y)
    columns = np.clip((POST_WIDTH / 2 - np.abs(x[:, None, :] - _frame(pose.x))) / step + 0.5, 0, 1)
    rows = np.clip((y[:, :, None] - top) / step + 0.5, 0, 1) * np.clip((FLOOR - y[:, :, None]) / step + 0.5, 0, 1)
    return columns * rows


def _paint(picture: Coverage, cover: Coverage, colour: Coverage | np.float32) -> None:
    picture += cover[..., None] * (colour - picture)
