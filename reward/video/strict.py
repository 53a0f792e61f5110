"""Strict reading by PyAV: every packet and every frame of the file is checked, a few frames become pixels.

Two passes. The first only takes the file apart: it gives all frame times, and all limits are checked on them before
anything is decoded. The second decodes the whole file with libav's error detection on, and must meet the frames of
the first one by one; libav by itself conceals damage and goes on.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from reward.errors import VideoError
from reward.video.bitstream import length_of_lengths, units_are_sound
from reward.video.clip import VideoLimits
from reward.video.containers import Container, inspect_container
from reward.video.pixels import to_rgb

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""libav's error detection."""

STRICT_BY_CODEC = {"av1": {"strict": "very"}, "libdav1d": {"strict": "very"}}
"""Makes dav1d check the padding behind its arithmetic coded data."""

DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Where libav's first choice will not do: its own VP8 and VP9 decoders leave transparency out, and VP9 data that was
damaged decodes without an error, where libvpx finds what is left over at the end of a frame."""


@dataclass(frozen=True)
class Index:
    """What the packets of a file say, nothing decoded: all times in seconds, ascending, relative to the first frame.

    `ticks` are the frames' own presentation times in the container's unit, None where it keeps none (AVI).
    """

    times: NDArray[np.float64]
    ticks: NDArray[np.int64] | None
    tick: float
    duration: float
    width: int
    height: int
    container: Container

    @property
    def fps(self) -> float:
        """The average frame rate."""
        return len(self.times) / self.duration


def read_index(path: Path, limits: VideoLimits) -> Index:
    """Check a file's structure and limits and return its index.

    Raises VideoError for what is no video, is cut short, has lost packets, or passes a limit.
    """
    container = inspect_container(path)
    with _opened(path, container) as (source, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        _check_header(path, source, stream, limits)
        unit = stream.time_base
        if not container.complete:
            _explain_cut(path, source, stream)
        presented, decoded, length = _packet_times(path, source, stream, limits)
        expected = _expected_packets(source, stream, container)
    if expected is not None and len(decoded) != expected:
        _explain_missing(path, container, len(decoded), expected)
    times = sorted(decoded if None in presented else [time for time in presented if time is not None])
    if not times:
        raise VideoError(f"{path} holds no frame")
    ticks = np.array(times, dtype=np.int64)
    seconds = (ticks - ticks[0]) * float(unit)
    duration = float(seconds[-1]) + _last_frame_seconds(seconds, length * float(unit))
    return Index(seconds, None if None in presented else ticks, float(unit), duration, width, height, container)


def read_frames(
    path: Path, index: Index, chosen: NDArray[np.int64], limits: VideoLimits, threads: int
) -> NDArray[np.uint8]:
    """Decode the whole file, checking all of it, and return the chosen frames as uint8 RGB (len(chosen), H, W, 3).

    `chosen` are ascending frame numbers and may repeat. Raises VideoError at the first sign of damage.
    """
    out = np.empty((0, 0, 0, 3), np.uint8)
    count = 0
    with _opened(path, index.container) as (source, stream):
        for frame in _decoded(path, source, stream, _decoder(path, stream, limits, threads)):
            if count >= len(index.times):
                raise VideoError(f"{path} is damaged: it decodes to more frames than its index has ({count})")
            if index.ticks is not None and frame.pts != index.ticks[count]:
                raise VideoError(f"{path} is damaged: frame {count} is missing or not at its time")
            if (frame.width, frame.height) != (index.width, index.height):
                raise VideoError(
                    f"{path}: frame {count} is {frame.width}x{frame.height} in a video of "
                    f"{index.width}x{index.height}; re-encode it at one size"
                )
            first, behind = np.searchsorted(chosen, [count, count + 1])
            if behind > first:
                pixels = to_rgb(frame, path)
                if first == 0:
                    out = np.empty((len(chosen), *pixels.shape), np.uint8)
                if pixels.shape != out.shape[1:]:
                    raise VideoError(f"{path} turns its picture at frame {count}; re-encode it upright")
                out[first:behind] = pixels
            count += 1
    if count != len(index.times):
        raise VideoError(f"{path} is damaged or truncated: {count} of {len(index.times)} frames can be decoded")
    return out


@contextmanager
def _opened(
    path: Path, container: Container, options: Mapping[str, str] | None = None
) -> Iterator[tuple["av.container.InputContainer", "av.video.stream.VideoStream"]]:
    """Open a file with the demuxer that its structure calls for; a fault of libav's becomes a VideoError."""
    try:
        with av.open(f"file:{os.fspath(path)}", format=container.format, options=dict(options or {})) as source:
            streams = [s for s in source.streams.video if not s.disposition & Disposition.attached_pic]
            if not streams:
                raise VideoError(f"{path} has no video stream")
            if streams[0].codec_context is None:
                raise VideoError(f"{path} has a video stream in a format that cannot be decoded")
            yield source, streams[0]
    except av.error.FFmpegError as error:
        if not container.complete:
            raise VideoError(f"{path} is truncated: its index is missing") from None
        raise VideoError(f"{path} cannot be read: {error.strerror or error}") from None


def _check_header(
    path: Path, source: "av.container.InputContainer", stream: "av.video.stream.VideoStream", limits: VideoLimits
) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width < 1 or height < 1:
        raise VideoError(f"{path} is damaged: its header gives no frame size")
    if width * height > limits.max_pixels:
        raise VideoError(f"{path} is too large: {width}x{height} is over the limit of {limits.max_pixels} pixels")
    if stream.frames > limits.max_frames:
        raise VideoError(f"{path} is too long: {stream.frames} frames are over the limit of {limits.max_frames}")
    if stream.duration is not None:
        _check_seconds(path, float(stream.duration * stream.time_base), limits)


def _check_seconds(path: Path, seconds: float, limits: VideoLimits) -> None:
    if seconds > limits.max_seconds:
        raise VideoError(f"{path} is too long: {seconds:.1f} s is over the limit of {limits.max_seconds:g} s")


def _packet_times(
    path: Path, source: "av.container.InputContainer", stream: "av.video.stream.VideoStream", limits: VideoLimits
) -> tuple[list[int | None], list[int], int]:
    """Return presentation times, decoding times and the last frame's duration, in ticks, of packets that are shown."""
    presented: list[int | None] = []
    decoded: list[int] = []
    last, length, unit = -math.inf, 0, float(stream.time_base)
    for packet in source.demux(stream):
        time = packet.dts if packet.pts is None else packet.pts
        if packet.size == 0 and time is None:
            continue  # PyAV's flush packet at the end
        if packet.is_corrupt or time is None or (packet.size == 0 and source.format.name != "avi"):
            raise VideoError(f"{path} is damaged: packet {len(decoded)} is broken")
        if packet.is_discard or packet.size == 0:
            continue
        presented.append(None if source.format.name == "avi" else packet.pts)  # AVI keeps none, libav makes some up
        decoded.append(time if packet.dts is None else packet.dts)
        if time >= last:
            last, length = time, packet.duration or 0
        if len(decoded) > limits.max_frames:
            raise VideoError(f"{path} is too long: it has more than {limits.max_frames} frames")
        _check_seconds(path, abs(time - (presented[0] or decoded[0])) * unit, limits)
    return presented, decoded, length


def _expected_packets(
    source: "av.container.InputContainer", stream: "av.video.stream.VideoStream", container: Container
) -> int | None:
    """Return how many packets the container's own structure promises, None where it does not say."""
    if container.blocks is not None:
        place = [s.index for s in source.streams.video].index(stream.index)
        return container.blocks[place] if place < len(container.blocks) else None
    return stream.frames or None if container.format in ("mov,mp4", "avi") else None


def _explain_cut(path: Path, source: "av.container.InputContainer", stream: "av.video.stream.VideoStream") -> None:
    """Raise VideoError, with the number of whole frames where the header gives their total."""
    found = 0
    for packet in source.demux(stream):
        if packet.is_corrupt:
            break
        found += packet.size > 0
    total = stream.frames
    raise VideoError(f"{path} is truncated: {f'{found} of {total} frames' if found < total else 'its end is missing'}")


def _explain_missing(path: Path, container: Container, found: int, expected: int) -> None:
    """Raise VideoError, unless the missing packets are those that an edit list cuts off."""
    if container.format == "mov,mp4":
        with _opened(path, container, {"ignore_editlist": "1"}) as (source, stream):
            if sum(packet.size > 0 for packet in source.demux(stream)) == expected:
                return
    raise VideoError(f"{path} is damaged or truncated: {found} of {expected} frames are there")


def _last_frame_seconds(seconds: NDArray[np.float64], stated: float) -> float:
    """Return how long the last frame stays: as stated, else as long as the frames before it, else 1/25 s."""
    if stated > 0:
        return stated
    return float(seconds[-1]) / (len(seconds) - 1) if seconds[-1] > 0 else 0.04


def _decoder(
    path: Path, stream: "av.video.stream.VideoStream", limits: VideoLimits, threads: int
) -> "av.VideoCodecContext":
    decoder = stream.codec_context
    if decoder.name in DECODERS:
        name = DECODERS[decoder.name]
        if name not in av.codecs_available:
            raise VideoError(f"{path} cannot be checked: PyAV was built without {name}; install PyAV's own wheel")
        decoder = av.CodecContext.create(name, "r")
        decoder.extradata = stream.codec_context.extradata
    # against damaged headers inside the stream; libav counts the padding of its buffers, hence twice
    decoder.options = (
        STRICT | STRICT_BY_CODEC.get(decoder.name, {}) | {"max_pixels": str(2 * limits.max_pixels + 2**20)}
    )
    decoder.thread_type = "AUTO" if threads != 1 else "NONE"
    decoder.thread_count = threads
    return decoder


def _decoded(
    path: Path,
    source: "av.container.InputContainer",
    stream: "av.video.stream.VideoStream",
    decoder: "av.VideoCodecContext",
) -> Iterator["av.VideoFrame"]:
    length_bytes = length_of_lengths(stream.codec_context.name, stream.codec_context.extradata)
    count = packets = 0
    try:
        for packet in source.demux(stream):
            if length_bytes is not None and not units_are_sound(bytes(packet), length_bytes):
                raise VideoError(f"{path} is damaged: packet {packets} is not sound")
            packets += 1
            for frame in decoder.decode(packet):
                if frame.is_corrupt:
                    raise VideoError(f"{path}: frame {count} is damaged")
                yield frame
                count += 1
    except av.error.FFmpegError as error:
        raise VideoError(f"{path} is damaged at frame {count} or close behind: {error.strerror or error}") from None
