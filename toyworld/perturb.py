"""Harmless changes of a clip under which no answer changes: what a small autoencoder or a codec does to it.

All take and return uint8 RGB frames (T, H, W, 3).
"""

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]

_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def blur(frames: Frames, sigma: float) -> Frames:
    """Blur each frame with a Gaussian of `sigma` pixels."""
    from scipy import ndimage

    return _bytes(ndimage.gaussian_filter(frames.astype(np.float32), (0, sigma, sigma, 0)))


def shift_hue(frames: Frames, degrees: float) -> Frames:
    """Turn all hues by `degrees` in the YIQ colour space."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.linalg.inv(_YIQ) @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ _YIQ
    return _bytes(frames @ turn.T.astype(np.float32))


def halve(frames: Frames) -> Frames:
    """Scale to half the size, by averaging, and back."""
    count, height, width, _ = frames.shape
    small = frames.reshape(count, height // 2, 2, width // 2, 2, 3).mean(axis=(2, 4))
    return _bytes(small.repeat(2, axis=1).repeat(2, axis=2))


def add_noise(frames: Frames, sigma: float, rng: np.random.Generator) -> Frames:
    """Add Gaussian noise of standard deviation `sigma` (of 255) to every value."""
    return _bytes(frames + rng.normal(0, sigma, frames.shape))


def _bytes(values: npt.NDArray[np.floating]) -> Frames:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
