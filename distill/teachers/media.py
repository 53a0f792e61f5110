"""Videos as a server takes them: the file, or JPEG frames with their times, both as data URLs."""

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.teachers.options import TeacherOptions
from reward.errors import VideoError
from reward.video import Clip, FrameSampling

MIME_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".gif": "image/gif",
    ".ts": "video/mp2t",
}
DEFAULT_FRAMES = 16
_JPEG_QUALITY = 90

GLANCE = FrameSampling(num_frames=1)
"""Reads one frame; the reader checks the whole file on the way, so that nothing damaged is sent to a teacher."""


@dataclass(frozen=True)
class Timed:
    """A JPEG frame as a data URL, and its time in seconds from the video's first frame."""

    seconds: float
    url: str


def sampling(options: TeacherOptions) -> FrameSampling:
    """Return how frames are taken for a frame list."""
    if options.num_frames is None and options.video_fps is None:
        return FrameSampling(num_frames=DEFAULT_FRAMES)
    return FrameSampling(num_frames=options.num_frames, fps=options.video_fps)


def file_bytes(path: Path, max_megabytes: float) -> bytes:
    """Return a video's bytes; VideoError if it is too large to be sent."""
    size = path.stat().st_size
    if size > max_megabytes * 1e6:
        raise VideoError(f"{path} has {size / 1e6:.1f} MB, over --max_megabytes {max_megabytes:g}")
    return path.read_bytes()


def mime_type(path: Path) -> str:
    """Return a video file's MIME type by its suffix."""
    return MIME_TYPES.get(path.suffix.lower(), "video/mp4")


def data_url(content: bytes, kind: str) -> str:
    """Return bytes as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def frame_list(clip: Clip, max_pixels: int | None) -> list[Timed]:
    """Return a clip's frames as JPEGs of at most `max_pixels` each, with their times."""
    return [
        Timed(float(seconds), data_url(_jpeg(frame, max_pixels), "image/jpeg"))
        for frame, seconds in zip(clip.frames, clip.timestamps, strict=True)
    ]


def frame_rate(clip: Clip) -> float | None:
    """Return the frames per second that a sampled clip shows, None for a single moment."""
    span = float(clip.timestamps[-1] - clip.timestamps[0])
    return (len(clip.timestamps) - 1) / span if span > 0 else None


def content(media: Any) -> list[dict[str, Any]]:
    """Return the chat content of a video: one `video_url`, or text with the time before each `image_url`."""
    if isinstance(media, str):
        return [{"type": "video_url", "video_url": {"url": media}}]
    parts: list[dict[str, Any]] = []
    for frame in media:
        parts.append({"type": "text", "text": f"<{frame.seconds:.1f} seconds>"})
        parts.append({"type": "image_url", "image_url": {"url": frame.url}})
    return parts


def _jpeg(frame: NDArray[np.uint8], max_pixels: int | None) -> bytes:
    from PIL import Image

    image = Image.fromarray(frame)
    if max_pixels is not None and image.width * image.height > max_pixels:
        scale = math.sqrt(max_pixels / (image.width * image.height))
        image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
