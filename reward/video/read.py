"""Read sampled frames of one video, or say in one line why they cannot be had."""

import os
from pathlib import Path
from typing import Literal

from reward.errors import VideoError
from reward.video.clip import Clip, FrameSampling, VideoLimits

Backend = Literal["auto", "pyav", "decord"]


def read_video(
    path: str | os.PathLike[str],
    sampling: FrameSampling = FrameSampling(),  # noqa: B008  (frozen)
    limits: VideoLimits = VideoLimits(),  # noqa: B008  (frozen)
    backend: Backend = "auto",
    threads: int = 0,
) -> Clip:
    """Return the sampled frames of a video, upright uint8 RGB, with their true times.

    The whole file is checked, also behind the last sampled frame: a video that is damaged, cut short or over a limit
    raises VideoError and gives no frames. No check can find all rot in formats without checksums: a part of single
    flipped bits in H.264, more in H.265, MPEG-4 and GIF, decodes as another valid picture, and a bit in an MP4's
    tables of times can be another valid timing (benchmarks/RESULTS.md has the shares). "auto" is "pyav"; "decord"
    takes the pixels from decord after the same check. `threads` are decoder threads, 0 leaves them to the decoder.

    A video with fewer frames than asked for repeats frames: a single frame comes back `num_frames` times. Odd sizes,
    4:4:4, more than 8 bits, variable frame rates and edit lists are read as they are; the shape of pixels is not.
    """
    path = Path(path)
    _check_file(path, limits)
    from reward.video.strict import read_frames, read_index

    index = read_index(path, limits)
    chosen = sampling.choose(index.times, index.tick)
    size = 3 * len(chosen) * index.width * index.height
    if size > limits.max_sampled_bytes:
        raise VideoError(
            f"{path}: {len(chosen)} frames of {index.width}x{index.height} take {size} bytes, over the limit of "
            f"{limits.max_sampled_bytes}; sample fewer frames"
        )
    frames = read_frames(path, index, chosen, limits, threads)
    if backend == "decord":
        from reward.video.decord_pixels import read_with_decord

        frames = read_with_decord(path, chosen, len(index.times), frames.shape, threads)
    return Clip(frames, index.times[chosen], chosen, index.duration, index.fps, len(index.times))


def _check_file(path: Path, limits: VideoLimits) -> None:
    if "\0" in str(path):
        raise VideoError(f"{str(path)!r} is no file name")
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise VideoError(f"{path} does not exist") from None
    except OSError as error:
        raise VideoError(f"{path} cannot be opened: {error.strerror}") from None
    if path.is_dir():
        raise VideoError(f"{path} is a folder, not a video")
    if not path.is_file():
        raise VideoError(f"{path} is not a regular file")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{path} cannot be opened: permission denied")
    if size == 0:
        raise VideoError(f"{path} is empty")
    if size > limits.max_bytes:
        raise VideoError(f"{path} is too large: {size} bytes is over the limit of {limits.max_bytes}")
