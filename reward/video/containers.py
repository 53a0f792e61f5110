"""Which container a file is and whether it is whole, from its own structure and before any decoder sees it.

libav guesses formats (a text file may be a playlist that opens other files), and it reads a file that was cut short up
to the cut without an error. So only formats whose end can be told from their structure are read: MP4 and MOV (boxes),
Matroska and WebM (EBML elements), AVI (RIFF chunks), MPEG-TS (188-byte packets) and GIF (blocks, trailer).
A stream cut exactly between two packets of MPEG-TS, between two fragments of a fragmented MP4 or between two clusters
of a live WebM (no length in its header) is a whole shorter stream; no reader can tell.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reward.errors import VideoError
from reward.video.matroska import CutShortError, blocks_per_video_track


@dataclass(frozen=True)
class Container:
    """A recognised container: libav's name of its format, whether it ends where it says, and frames it must hold.

    `blocks` counts the data blocks of each video track, where the structure tells (Matroska, GIF), in track order.
    """

    format: str
    complete: bool
    blocks: tuple[int, ...] | None = None


def inspect_container(path: Path) -> Container:
    """Return what a file is; VideoError if it is of no known container or its structure makes no sense."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(580)
        file.seek(0)
        if head[4:8] in _FIRST_BOXES:
            return _iso_media(file, size, path)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return _matroska(file, size, path)
        if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
            return _avi(file, size)
        if head.startswith((b"GIF87a", b"GIF89a")):
            return _gif(file, size)
        for length, offset in _TRANSPORT_PACKETS:
            if len(head) > 2 * length and all(head[offset + i * length] == 0x47 for i in range(3)):
                return _transport_stream(file, size, length, offset, path)
    raise VideoError(f"{path} is not a video (MP4, MOV, Matroska, WebM, AVI, MPEG-TS and GIF are read)")


_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"}
_TRANSPORT_PACKETS = ((188, 0), (192, 4), (204, 0))


def _iso_media(file: BinaryIO, size: int, path: Path) -> Container:
    """Walk the top-level boxes (ISO/IEC 14496-12, section 4.2)."""
    position, kinds = 0, set()
    while position < size:
        file.seek(position)
        header = file.read(16)
        if not header.strip(b"\0"):
            break  # zero padding behind the last box
        length, kind = int.from_bytes(header[:4]), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16])
        elif length == 0:
            length = size - position
        if len(header) < 8 or length < 8 or position + length > size:
            return Container("mov,mp4", complete=False)
        if not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind):
            raise VideoError(f"{path} is damaged: no box begins at byte {position}")
        kinds.add(kind)
        position += length
    return Container("mov,mp4", complete=b"moov" in kinds)


def _matroska(file: BinaryIO, size: int, path: Path) -> Container:
    try:
        return Container("matroska,webm", True, blocks_per_video_track(file, size, path))
    except CutShortError:
        return Container("matroska,webm", complete=False)


def _avi(file: BinaryIO, size: int) -> Container:
    position = end = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        if header[:4] != b"RIFF":
            break  # what follows the RIFF chunks is not part of the video
        length = int.from_bytes(header[4:], "little")
        end = position + 8 + length
        position = end + length % 2
    return Container("avi", complete=end <= size)


def _transport_stream(file: BinaryIO, size: int, length: int, offset: int, path: Path) -> Container:
    packets_at_once = 5000
    for number in range(0, size // length, packets_at_once):
        data = file.read(length * packets_at_once)
        count = len(data) // length
        if data[offset : count * length : length] != b"\x47" * count:
            raise VideoError(f"{path} is damaged: a transport packet from number {number} on has lost its sync byte")
    return Container("mpegts", complete=size % length == 0)


def _gif(file: BinaryIO, size: int) -> Container:
    """Walk the blocks to the trailer (GIF89a specification, appendix B), counting images."""
    file.seek(10)
    flags = file.read(3)[:1]
    file.seek(_colour_table(flags), 1)
    images = 0
    while kind := file.read(1):
        if kind == b";":
            return Container("gif", True, (images,))
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            images += 1
            file.seek(_colour_table(file.read(9)[8:]) + 1, 1)
        else:
            break
        while length := file.read(1):
            if length == b"\0":
                break
            file.seek(length[0], 1)
    return Container("gif", False, (images,))


def _colour_table(flags: bytes) -> int:
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
