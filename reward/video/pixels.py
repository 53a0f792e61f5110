"""From a decoder's frame to upright 8-bit RGB without transparency."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reward.errors import VideoError

if TYPE_CHECKING:
    import av


def to_rgb(frame: "av.VideoFrame", path: Path) -> NDArray[np.uint8]:
    """Return a frame as uint8 RGB (H, W, 3), shown as a player would show it.

    The YUV matrix and range are those that the file states (BT.601, limited, where it states none). Transparency is
    laid over black. More than 8 bits are rounded to 8; HDR transfer curves are not tone mapped, interlaced fields not
    separated. A display matrix that turns or mirrors by right angles is applied; any other is a VideoError.
    """
    components = frame.format.components
    if frame.format.name == "pal8" or any(component.is_alpha for component in components):
        pixels = _over_black(frame.to_ndarray(format="rgba"))
    elif max(component.bits for component in components) > 8:
        deep = frame.to_ndarray(format="rgb48le")  # libswscale's direct way down is twice as far off
        pixels = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    matrix = _display_matrix(frame)
    return pixels if matrix is None else _turn(pixels, matrix, path)


def _over_black(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return ((colour * alpha + 127) // 255).astype(np.uint8)


def _display_matrix(frame: "av.VideoFrame") -> tuple[int, int, int, int] | None:
    """Return the signs (a, b, c, d) of the display matrix (ISO/IEC 14496-12, 6.2.2); its scale is not applied."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    values = np.frombuffer(bytes(data), np.int32)[[0, 1, 3, 4]].astype(np.float64)
    values[np.abs(values) < 1e-3 * np.abs(values).max()] = 0
    a, b, c, d = np.sign(values).astype(int).tolist()
    return a, b, c, d


def _turn(pixels: NDArray[np.uint8], matrix: tuple[int, int, int, int], path: Path) -> NDArray[np.uint8]:
    """Map pixel (x, y) to (a x + c y, b x + d y), y pointing down, moved back to the origin."""
    a, b, c, d = matrix
    if not (a * d != 0 and b == c == 0) and not (b * c != 0 and a == d == 0):
        raise VideoError(f"{path} is to be shown turned by an angle that is no right angle; re-encode it upright")
    if a == 0:
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1])
