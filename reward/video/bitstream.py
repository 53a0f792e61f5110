"""Damage that H.264 and H.265 packets show by themselves.

Their arithmetic coding gives a decoder little chance to notice rot: a hole of 4,000 zero bytes can decode to a wrong
picture without any error. But the standards forbid three zero bytes inside a NAL unit (H.264 7.4.1, H.265 7.4.2), and
lengths in front of the units must add up to the packet.
"""

import re

_FORBIDDEN_IN_UNIT = re.compile(rb"\x00\x00[\x00-\x02]")
_FORBIDDEN_IN_STREAM = re.compile(rb"\x00\x00(?:\x02|\x00+[^\x00\x01])")


def length_of_lengths(codec: str, extradata: bytes | None) -> int | None:
    """Return the bytes in front of each NAL unit (avcC, hvcC), 0 for start codes, None for other codecs."""
    if codec not in ("h264", "hevc"):
        return None
    place = 4 if codec == "h264" else 21
    if extradata is None or extradata[:1] != b"\x01" or len(extradata) <= place:
        return 0
    return (extradata[place] & 3) + 1


def units_are_sound(packet: bytes, length_bytes: int) -> bool:
    """Return whether a packet's NAL units fill it exactly and hold no byte sequence that the standards forbid.

    `length_bytes` comes from `length_of_lengths`.
    """
    if length_bytes == 0:
        return _FORBIDDEN_IN_STREAM.search(packet) is None
    position = 0
    while position < len(packet):
        begin = position + length_bytes
        position = begin + int.from_bytes(packet[begin - length_bytes : begin])
        if position <= begin or position > len(packet) or packet[begin] & 0x80 or packet[position - 1] == 0:
            return False
        if _FORBIDDEN_IN_UNIT.search(packet, begin, position):
            return False
    return True
