"""Measure a clip from its pixels alone: a track per hue, and the camera's travel. Knows no scene, prompt or truth.

Things are the only coloured parts of the world, so a pixel's chroma says how much of it a thing covers, and its hue
which thing. Sums of chroma survive blur, and grey noise has none. Positions and sizes come out in picture units of
the middle of the clip: the camera's own travel, found from the stripes on the grey wall, is taken out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from reward.errors import InputError
from toyworld.scene import COLOURS, ZOOM_RATIO, Array

Pixels = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

MIN_FRAMES = 5
MIN_SIZE = 24
FAINTEST_CHROMA = 45.0
"""Below this chroma (of about 190 in a clean clip) nothing counts as coloured."""
CHROMA_SHARE = 0.42
"""A pixel belongs to a thing above this share of the clip's full chroma: blends of three hues stay below."""
SMALLEST_PART = 0.0028
"""A connected part below this share of the picture is dirt."""


@dataclass(frozen=True)
class Track:
    """What has one hue, frame by frame, each (T,). Units: shares of the picture in the middle of the clip.

    `area` is 0 where nothing is seen; positions and sizes are NaN there. `picture_x` is before the camera's travel is
    taken out. `main_share` is the largest connected part's share of the area.
    """

    colour: str
    area: Array
    x: Array
    y: Array
    width: Array
    height: Array
    picture_x: Array
    main_share: Array

    @property
    def seen(self) -> Flags:
        """Whether the hue is in the frame."""
        return self.area > 0


@dataclass(frozen=True)
class CameraMotion:
    """`pan`: travel to the right in picture widths over the clip; `zoom`: last scale over first.

    `unknown` is empty, or says why neither can be told (then pan is 0 and zoom 1 and nothing is compensated).
    """

    pan: float
    zoom: float
    unknown: str = ""

    @property
    def kind(self) -> str:
        """The name of the camera motion as the questions write it."""
        if abs(np.log(self.zoom)) > np.log(ZOOM_RATIO) * 0.45:
            return "zoom in" if self.zoom > 1 else "zoom out"
        if abs(self.pan) > 0.08:
            return "pan to the right" if self.pan > 0 else "pan to the left"
        return "stay still"


@dataclass(frozen=True)
class Facts:
    """All that is measured in one clip: `times` (T,) from 0 to 1, one track per hue that occurs, the camera."""

    times: Array
    tracks: Mapping[str, Track]
    camera: CameraMotion


def measure(frames: npt.NDArray[np.uint8], timestamps: npt.ArrayLike | None = None) -> Facts:
    """Measure a clip of uint8 RGB `frames` (T, H, W, 3); `timestamps` (T,) in seconds, evenly spaced if left out.

    Raises InputError for another shape or type, fewer than 5 frames, a side under 24 pixels, or timestamps that do
    not rise.
    """
    times = _story_times(frames, timestamps)
    red, green, blue = (frames[..., channel].astype(np.float32) for channel in range(3))
    across, along = red - (green + blue) / 2, (green - blue) * np.float32(np.sqrt(0.75))
    chroma = np.sqrt(across * across + along * along)
    full = max(float(np.quantile(chroma[:, ::2, ::2], 0.985)), FAINTEST_CHROMA / CHROMA_SHARE)
    coloured = chroma > full * CHROMA_SHARE
    axes = _hue_axes()
    projections = np.stack([across[coloured] * c + along[coloured] * s for c, s in axes])
    hue = np.full(frames.shape[:3], -1, np.int8)
    hue[coloured] = projections.argmax(0)
    camera = _camera(red + green + blue, chroma, times)
    tracks = {}
    for index, colour in enumerate(COLOURS):
        track = _track(colour, hue == index, chroma / full, times, camera)
        if track is not None:
            tracks[colour] = track
    return Facts(times, tracks, camera)


def _story_times(frames: npt.NDArray[np.uint8], timestamps: npt.ArrayLike | None) -> Array:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise InputError(f"frames must be uint8 of shape (T, H, W, 3), got {frames.dtype} {frames.shape}")
    if len(frames) < MIN_FRAMES or min(frames.shape[1:3]) < MIN_SIZE:
        raise InputError(f"a clip needs {MIN_FRAMES} frames of {MIN_SIZE}x{MIN_SIZE} or more, got {frames.shape[:3]}")
    times = np.arange(len(frames), dtype=float) if timestamps is None else np.asarray(timestamps, dtype=float)
    if times.shape != (len(frames),) or not np.all(np.diff(times) > 0):
        raise InputError(f"timestamps must be {len(frames)} rising numbers of seconds, got {times.shape}")
    return (times - times[0]) / (times[-1] - times[0])


@lru_cache(maxsize=1)
def _hue_axes() -> tuple[tuple[float, float], ...]:
    axes = []
    for red, green, blue in COLOURS.values():
        across, along = red - (green + blue) / 2, (green - blue) * np.sqrt(0.75)
        axes.append((across / np.hypot(across, along), along / np.hypot(across, along)))
    return tuple(axes)


def _track(
    colour: str, mask: Flags, strength: npt.NDArray[np.floating], times: Array, camera: CameraMotion
) -> Track | None:
    from scipy import ndimage

    frames, rows, columns = mask.shape
    smallest = max(SMALLEST_PART * rows * columns, 3)
    if mask.sum() < smallest:
        return None
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = True
    labels, count = ndimage.label(mask, in_plane)
    where = np.flatnonzero(labels)
    label = labels.ravel()[where]
    weight = np.minimum(strength.ravel()[where], 1).astype(float)
    part_area = np.bincount(label, weight, count + 1)
    keep = part_area[label] >= smallest
    where, label, weight = where[keep], label[keep], weight[keep]
    if not len(where):
        return None
    frame, pixel = np.divmod(where, rows * columns)
    y, x = np.divmod(pixel, columns)
    area = np.bincount(frame, weight, frames).astype(float)
    largest = np.zeros(frames)
    np.maximum.at(largest, frame, part_area[label])
    with np.errstate(invalid="ignore", divide="ignore"):
        x_mean, x_spread = _moments(frame, x, weight, area, columns)
        y_mean, y_spread = _moments(frame, y, weight, area, rows)
        main_share = largest / area
    scale, offset = camera.zoom ** (times - 0.5), camera.pan * (times - 0.5)
    return Track(
        colour,
        area / (rows * columns) / scale**2,
        (x_mean - 0.5) / scale + 0.5 + offset,
        (y_mean - 0.5) / scale + 0.5,
        x_spread / scale,
        y_spread / scale,
        x_mean,
        main_share,
    )


def _moments(
    frame: npt.NDArray[np.intp], pixel: npt.NDArray[np.intp], weight: Array, area: Array, pixels: int
) -> tuple[Array, Array]:
    """Return per frame the mean position and the side of the box of equal spread, as shares of the picture.

    A box n pixels wide has variance (n^2 - 1) / 12, so that the side is never below one pixel.
    """
    mean = np.bincount(frame, weight * pixel, len(area)) / area
    square = np.bincount(frame, weight * pixel * pixel, len(area)) / area
    return (mean + 0.5) / pixels, np.sqrt(12 * np.maximum(square - mean * mean, 0) + 1) / pixels


_PANS = np.linspace(-0.36, 0.36, 37)
_ZOOMS = np.exp(np.linspace(-0.45, 0.45, 31))
_BAND = (0.05, 0.7)
"""The rows of the picture in which the wall is looked at: above the floor at every zoom."""
_FAINT = 30.0
"""Pixels above this chroma are left out of the wall."""


def _camera(brightness: Pixels, chroma: Pixels, times: Array) -> CameraMotion:
    """Find the constant pan or zoom under which the wall's stripes agree best over all frames."""
    rows = brightness.shape[1]
    band = slice(int(_BAND[0] * rows), int(_BAND[1] * rows))
    wall = chroma[:, band] < _FAINT
    for shift in (-1, 1):
        wall &= np.roll(wall, shift, axis=2)
    count = wall.sum(1).astype(float)
    profile = (brightness[:, band] * wall).sum(1) / np.maximum(count, 1) / 3
    count[count < 3] = 0
    structure = float(np.std(profile[count > 0])) if (count > 0).any() else 0.0
    if structure < 4:
        return CameraMotion(0.0, 1.0, "the background shows nothing by which a camera motion could be told")
    cost = _disagreement(profile, count, times)
    best = int(np.argmin(cost))
    if cost[best] > 0.5 * structure**2:
        return CameraMotion(0.0, 1.0, "the background changes in a way that is no steady pan or zoom")
    return (
        CameraMotion(float(_PANS[best]), 1.0)
        if best < len(_PANS)
        else CameraMotion(0, float(_ZOOMS[best - len(_PANS)]))
    )


def _disagreement(profile: Array, count: Array, times: Array) -> Array:
    """Return per candidate motion the mean variance over time of the wall's grey, weighted by how much is seen."""
    left, share, inside = _sampling(profile.shape[1], tuple(times.tolist()))
    grey, seen = profile.astype(np.float32).ravel(), count.astype(np.float32).ravel()
    weight = np.minimum(seen[left], seen[left + 1]) * inside
    value = grey[left]
    value += (grey[left + 1] - value) * share
    total = np.maximum(weight.sum(1), 1e-9)
    weighted = weight * value
    mean = weighted.sum(1) / total
    squares = np.einsum("ctw,ctw->cw", weighted, value) - total * mean**2
    return (squares.sum(1) / np.maximum(weight.sum((1, 2)), 1e-9)).astype(float)


@lru_cache(maxsize=8)
def _sampling(columns: int, times: tuple[float, ...]) -> tuple[npt.NDArray[np.intp], Pixels, Pixels]:
    """Return for every candidate, frame and wall column where in the frame that column is, (C, T, W) each.

    The pixel to its left as an index into all (T, W) pixels, the share of the next one, and 1 where it is in the frame.
    """
    middle = np.array(times) - 0.5
    pans = np.concatenate([_PANS, np.zeros(len(_ZOOMS))])[:, None, None] * middle[:, None]
    scales = np.concatenate([np.ones(len(_PANS)), _ZOOMS])[:, None, None] ** middle[:, None]
    world = (np.arange(columns) + 0.5) / columns
    position = ((world - 0.5 - pans) * scales + 0.5) * columns - 0.5
    inside = (position >= 0) & (position <= columns - 1)
    left = np.clip(np.floor(position), 0, columns - 2)
    share = np.clip(position - left, 0, 1).astype(np.float32)
    flat = left.astype(np.intp) + columns * np.arange(len(times))[:, None]
    return flat, share, inside.astype(np.float32)
