"""What is asked of a video and what comes back: sampling by time, limits, and the sampled clip."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pydantic
from numpy.typing import NDArray

from reward.errors import InputError

GIB = 2**30

_LARGEST_SLACK = 1e-3
"""Seconds. A container with millisecond ticks (WebM) moves every time by up to half a tick."""


@dataclass(frozen=True)
class FrameSampling:
    """Which frames to take: `num_frames` spread evenly over time, or `fps` frames per second.

    With `fps`, `num_frames` is the cap (`max_frames` where it is None); a video that would give more gives that many
    frames spread evenly over its whole time instead. Raises InputError for values that name no frames.
    """

    num_frames: Annotated[int, pydantic.Field(ge=1)] | None = 16
    """Frames per video, evenly spaced in time from the first to the last; the cap if fps is given."""
    fps: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Frames per second of video, from its first frame on; None takes num_frames whatever the length."""
    max_frames: Annotated[int, pydantic.Field(ge=1)] = 768
    """The most frames that any video may give."""

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.num_frames is None and self.fps is None:
            raise InputError("frame sampling: give num_frames or fps")
        if self.max_frames < 1 or (self.num_frames is not None and not 1 <= self.num_frames <= self.max_frames):
            raise InputError(
                f"frame sampling: num_frames must be from 1 to max_frames, got {self.num_frames} and {self.max_frames}"
            )
        if self.fps is not None and not (self.fps > 0 and math.isfinite(self.fps)):
            raise InputError(f"frame sampling: fps must be a number above 0, got {self.fps}")

    def choose(self, times: NDArray[np.float64], tick: float) -> NDArray[np.int64]:
        """Return the indices of the frames on screen at the times asked for.

        `times` (T,) are the frames' times in seconds, ascending; `tick` is the container's time unit in seconds, the
        rounding that is allowed for. A frame is on screen from its time to the next frame's. Asked for more frames
        than there are, the even spacing repeats frames: one frame comes back `num_frames` times.
        """
        first, last = float(times[0]), float(times[-1])
        slack = min(tick, _LARGEST_SLACK) + 1e-9
        wanted = np.linspace(first, last, self._count(last - first + slack))
        if self.fps is not None and self._count(last - first + slack) == self._uncapped(last - first + slack):
            wanted = first + np.arange(len(wanted)) / self.fps
        return np.searchsorted(times, wanted + slack, side="right") - 1

    def _uncapped(self, span: float) -> int:
        assert self.fps is not None
        return math.floor(span * self.fps) + 1

    def _count(self, span: float) -> int:
        if self.fps is None:
            assert self.num_frames is not None
            return self.num_frames
        return min(self._uncapped(span), self.num_frames or self.max_frames, self.max_frames)


@dataclass(frozen=True)
class VideoLimits:
    """What a video may cost. All are checked before anything is decoded, on the packets and not on the header alone."""

    max_bytes: Annotated[int, pydantic.Field(ge=1)] = 2 * GIB
    """Size of the file in bytes."""
    max_pixels: Annotated[int, pydantic.Field(ge=1)] = 8192 * 4320
    """Width times height of one frame."""
    max_seconds: Annotated[float, pydantic.Field(gt=0)] = 600.0
    """Length of the video."""
    max_frames: Annotated[int, pydantic.Field(ge=1)] = 100_000
    """Number of frames in the file."""
    max_sampled_bytes: Annotated[int, pydantic.Field(ge=1)] = GIB
    """Size of the frames handed back, three bytes a pixel."""

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames sampled from one video.

    `frames` are uint8 RGB (T, H, W, 3) as a player shows them, with square pixels assumed (the coded size is kept
    where a file asks for a stretched display); `timestamps` (T,) float64 are the true times of these frames in
    seconds from the video's first frame; `indices` (T,) their numbers in the video, from 0. `duration` is the length
    of the whole video in seconds, the last frame's time on screen included; `fps` its average frame rate.
    """

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    indices: NDArray[np.int64]
    duration: float
    fps: float
    num_source_frames: int
