"""Videos in memory: checked frames of an array or a tensor, and the clip that a critic takes from them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reward.errors import InputError

if TYPE_CHECKING:
    from reward.video import Clip, FrameSampling

Frames = npt.NDArray[np.uint8]


def clip_from_frames(frames: Frames, fps: float, sampling: "FrameSampling | None" = None) -> "Clip":
    """Return the clip that a critic with this sampling takes of frames (T, H, W, 3), as of a file at `fps`.

    Without a sampling it is all frames.
    """
    from reward.video import Clip

    times = np.arange(len(frames)) / fps
    indices = np.arange(len(frames)) if sampling is None else sampling.choose(times, 0.0)
    return Clip(frames[indices], times[indices], indices, len(frames) / fps, fps, len(frames))


def frames(video: Any, where: str) -> Frames:
    """Return frames (T, H, W, 3) uint8 of an array or a tensor; InputError naming `where` for anything else."""
    array = _array(video, where)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or not array.size:
        raise InputError(f"{where}: frames are uint8 (T, H, W, 3) with T of 1 or more, got {array.dtype} {array.shape}")
    return array


def uint8_videos(images: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return videos as uint8 (B, T, H, W, 3), and for each (B,) whether all its values were finite.

    Takes floats in [0, 1] of (B, T, 3, H, W), as diffusion pipelines give them, or uint8 of (B, T, H, W, 3).
    """
    array = _array(images, "images")
    if array.ndim == 5 and array.dtype == np.uint8 and array.shape[4] == 3:
        return array, np.ones(len(array), bool)
    if array.ndim != 5 or not np.issubdtype(array.dtype, np.floating) or array.shape[2] != 3:
        raise InputError(
            "images: videos are floats (B, T, 3, H, W) in [0, 1] or uint8 (B, T, H, W, 3), "
            f"got {array.dtype} {array.shape}; single images have no events to judge"
        )
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    levels = (np.nan_to_num(array.transpose(0, 1, 3, 4, 2)) * 255).round().clip(0, 255)
    return levels.astype(np.uint8), finite


def _array(value: Any, where: str) -> npt.NDArray[Any]:
    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    if not isinstance(value, np.ndarray):
        raise InputError(f"{where}: a video is a path, a Clip, an array or a tensor, got {type(value).__name__}")
    return value
