"""Write frames as H.264 in MP4."""

import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reward.errors import InputError

REPEATABLE = {"x264-params": "mbtree=0"}
"""With mbtree, x264's assembly gives other bytes each time for the same frames; files are compared by hash here."""

_NTSC = {Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)}


def write_video(
    path: str | os.PathLike[str], frames: NDArray[np.uint8], fps: int | float | Fraction, crf: int = 18
) -> None:
    """Write uint8 RGB frames (T, H, W, 3) as an H.264 MP4 of T frames at exactly `fps` frames per second.

    Pixels are taken as they are: no scaling of values. `crf` is libx264's quality, 0 (lossless luma) to 51. 4:2:0 is
    what every player shows and it needs even sizes, so that an odd width or height repeats its last column or row,
    and reads back one pixel larger. A float such as 29.97 means the broadcast rate 30000/1001. The colours are BT.601,
    limited range, and say so. The file appears whole or not at all.

    Raises InputError for anything but uint8 (T, H, W, 3) with T, H, W >= 1, for a bad rate, or an unwritable folder.
    """
    _check_frames(frames, path)
    rate = frame_rate(fps)
    if not isinstance(crf, int) or not 0 <= crf <= 51:
        raise InputError(f"crf must be a whole number from 0 to 51, got {crf!r}")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a video file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _encode(temporary, frames, rate, crf)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def frame_rate(fps: int | float | Fraction) -> Fraction:
    """Return a frame rate as an exact fraction: 29.97 and 23.976 are the NTSC rates 30000/1001 and 24000/1001.

    Raises InputError unless it is a finite number above 0 (and at most 1000).
    """
    if isinstance(fps, bool) or not isinstance(fps, int | float | Fraction) or not math.isfinite(fps):
        raise InputError(f"fps must be a number, got {fps!r}")
    if not 0 < fps <= 1000:
        raise InputError(f"fps must be above 0 and at most 1000, got {fps}")
    if isinstance(fps, float):
        nearest = min(_NTSC, key=lambda rate: abs(rate - Fraction(fps)))
        if abs(nearest - Fraction(fps)) < Fraction(5, 1000):
            return nearest
        return Fraction(fps).limit_denominator(100_000)
    return Fraction(fps)


def _check_frames(frames: NDArray[np.uint8], path: str | os.PathLike[str]) -> None:
    if not isinstance(frames, np.ndarray):
        raise InputError(f"{path}: frames must be a numpy array, got {type(frames).__name__}")
    if frames.dtype != np.uint8:
        raise InputError(
            f"{path}: frames must be uint8 from 0 to 255, got {frames.dtype}; convert them yourself, for frames in "
            "[0, 1] by (frames * 255).round().astype('uint8')"
        )
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise InputError(f"{path}: frames must be (T, H, W, 3) with at least one frame and pixel, got {frames.shape}")


def _encode(path: Path, frames: NDArray[np.uint8], rate: Fraction, crf: int) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    height, width = frames.shape[1:3]
    options = {"movflags": "+faststart", "video_track_timescale": str(_timescale(rate))}
    with av.open(f"file:{os.fspath(path)}", "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)} | REPEATABLE)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / rate
        stream.codec_context.colorspace = Colorspace.SMPTE170M
        stream.codec_context.color_range = ColorRange.MPEG
        for number, pixels in enumerate(frames):
            padded = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _timescale(rate: Fraction) -> int:
    """Return MP4 ticks per second in which every frame lasts a whole number of ticks."""
    return rate.numerator * max(1, 10_000 // rate.numerator)
