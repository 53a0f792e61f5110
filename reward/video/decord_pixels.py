"""Pixels from decord, the reader of VideoVerse's own evaluation, for a file that the strict check has passed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reward.errors import VideoError


def read_with_decord(
    path: Path, chosen: NDArray[np.int64], num_source_frames: int, shape: tuple[int, ...], threads: int
) -> NDArray[np.uint8]:
    """Return the chosen frames as decord 0.6 decodes them, uint8 RGB of `shape`.

    Raises VideoError where decord cannot open the file (AV1, ...), or counts or shows it otherwise than it is.
    """
    try:
        import decord
    except ImportError:
        raise VideoError("decord is not installed on this platform; use backend='auto'") from None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path), num_threads=threads)
        if len(reader) != num_source_frames:
            raise VideoError(f"{path}: decord finds {len(reader)} of {num_source_frames} frames; use backend='auto'")
        frames = reader.get_batch(chosen).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise VideoError(f"{path}: decord cannot read it ({reason}); use backend='auto'") from None
    if frames.shape != shape:
        raise VideoError(f"{path}: decord gives {frames.shape} for frames of {shape}; use backend='auto'")
    return frames
