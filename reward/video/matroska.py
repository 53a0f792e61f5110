"""The structure of Matroska and WebM (RFC 8794, RFC 9559), walked element by element down to the single blocks.

libav skips what it cannot parse and goes on behind it, so that damage to one length costs frames and no error. Where
the writer left CRC-32 elements (libav's Matroska muxer does, its WebM muxer does not) they are checked.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from reward.errors import VideoError

SEGMENT, CLUSTER, BLOCK_GROUP, TRACKS, TRACK = 0x18538067, 0x1F43B675, 0xA0, 0x1654AE6B, 0xAE
MASTERS = {SEGMENT, CLUSTER, BLOCK_GROUP, TRACKS, TRACK}
BLOCKS = {0xA1, 0xA3}
TRACK_NUMBER, TRACK_TYPE, CRC_32 = 0xD7, 0x83, 0xBF
VIDEO = 1


class CutShortError(Exception):
    """The file ends inside an element."""


def blocks_per_video_track(file: BinaryIO, size: int, path: Path) -> tuple[int, ...]:
    """Return how many blocks each video track has, in track order.

    Raises CutShortError; VideoError where no element begins, one does not fit its parent, or a checksum is wrong.
    """
    blocks: Counter[int] = Counter()
    video_tracks: list[int] = []
    number = 0
    for identifier, begin, end in _elements(file, size, path):
        if identifier not in BLOCKS and identifier not in (TRACK_NUMBER, TRACK_TYPE):
            continue
        file.seek(begin)
        payload = file.read(min(end - begin, 8))
        if identifier in BLOCKS:
            blocks[_variable_integer(payload)[0] or 0] += 1
        elif identifier == TRACK_NUMBER:
            number = int.from_bytes(payload)
        elif int.from_bytes(payload) == VIDEO:
            video_tracks.append(number)
    return tuple(blocks[track] for track in video_tracks)


def _elements(file: BinaryIO, size: int, path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield (id, first byte of content, end) of all elements, going into MASTERS; an unknown length runs to the end."""
    position = 0
    parents = [(0, size)]
    while position < size:
        while position >= parents[-1][1]:
            parents.pop()
        file.seek(position)
        identifier, width, length = _header(file.read(12), position, path)
        begin = position + width
        end = size if length is None else begin + length
        if end > size:
            raise CutShortError
        if length is None and identifier not in (SEGMENT, CLUSTER):
            raise VideoError(f"{path} is damaged: no element begins at byte {position}")
        if length is not None and end > parents[-1][1]:
            raise VideoError(f"{path} is damaged: the element at byte {position} is longer than what holds it")
        if identifier == CRC_32 and length == 4 and position == parents[-1][0]:
            _check_crc(file, begin, end, parents[-1][1], path)
        yield identifier, begin, end
        if identifier in MASTERS and length is not None:
            parents.append((begin, end))
        position = begin if identifier in MASTERS else end


def _header(data: bytes, position: int, path: Path) -> tuple[int, int, int | None]:
    """Return an element's id, the bytes its header takes, and its length (None: unknown)."""
    width = 9 - data[0].bit_length()
    if width > 4:
        raise VideoError(f"{path} is damaged: no element begins at byte {position}")
    length, more = _variable_integer(data[width:])
    if more == 0:
        raise CutShortError
    return int.from_bytes(data[:width]), width + more, length


def _variable_integer(data: bytes) -> tuple[int | None, int]:
    """Return an EBML integer (None where all its bits are set) and the bytes it takes (0 if it is cut off)."""
    width = 9 - data[0].bit_length() if data else 9
    if width > 8 or len(data) < width:
        return None, 0
    largest = (1 << 7 * width) - 1
    value = int.from_bytes(data[:width]) & largest
    return (None if value == largest else value), width


def _check_crc(file: BinaryIO, begin: int, end: int, parent_end: int, path: Path) -> None:
    file.seek(begin)
    expected = int.from_bytes(file.read(4), "little")
    found, left = 0, parent_end - end
    while left > 0 and (chunk := file.read(min(left, 1 << 20))):
        found, left = zlib.crc32(chunk, found), left - len(chunk)
    if found != expected:
        raise VideoError(f"{path} is damaged: the checksum of bytes {end} to {parent_end} is wrong")
