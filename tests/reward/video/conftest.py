"""A zoo of videos whose every frame carries its own number, written by PyAV in moments."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 6


class Zoo:
    """Makes small videos; frame i shows its number as bright and dark squares, so that right frames can be told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def picture(self, number: int, width: int = 96, height: int = 64) -> np.ndarray:
        rows, columns = np.mgrid[0:height, 0:width]
        red = (columns * 2 + number * 5) % 200
        image = np.stack([red, rows * 3 % 200, (rows + columns + number * 3) % 220], axis=-1).astype(np.uint8)
        for bit in range(BITS):
            image[2:14, 2 + 14 * bit : 14 + 14 * bit] = 240 if number >> bit & 1 else 15
        image[-16:, -16:] = (255, 0, 0)
        return image

    def pictures(self, count: int, width: int = 96, height: int = 64) -> np.ndarray:
        return np.stack([self.picture(i, width, height) for i in range(count)])

    def numbers(self, frames: np.ndarray) -> list[int]:
        squares = [frames[:, 5:11, 5 + 14 * bit : 11 + 14 * bit].mean(axis=(1, 2, 3)) > 128 for bit in range(BITS)]
        return [int(sum(int(square[i]) << bit for bit, square in enumerate(squares))) for i in range(len(frames))]

    def encode(
        self,
        name: str,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        *,
        frames: np.ndarray | None = None,
        source_format: str = "rgb24",
        rate: Fraction = Fraction(24),
        times: Iterable[int] | None = None,
        options: Mapping[str, str] | None = None,
        container: Mapping[str, str] | None = None,
        prepare: Callable[["av.VideoStream"], None] = lambda stream: None,
    ) -> Path:
        """Encode `frames` (default: 40 numbered ones) at `times` in units of 1/rate."""
        frames = self.pictures(40) if frames is None else frames
        path = self.folder / name
        with av.open(str(path), "w", options=dict(container or {})) as file:
            stream = file.add_stream(codec, rate=rate, options=dict(options or {}))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixel_format
            prepare(stream)
            for image, time in zip(frames, range(len(frames)) if times is None else times, strict=True):
                frame = av.VideoFrame.from_ndarray(image, format=source_format)
                frame.pts, frame.time_base = time, 1 / rate
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        return path


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path)
