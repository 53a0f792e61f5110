"""Damaged files: an error, or exactly the frames that were there. What cannot be noticed is bounded and stated."""

import random

import numpy as np
import pytest

from reward.errors import VideoError
from reward.video import FrameSampling, read_video

ALL = FrameSampling(40)

CONTAINERS = {
    "faststart.mp4": {"options": {"bf": "3"}, "container": {"movflags": "+faststart"}},
    "moov_at_end.mp4": {"options": {"bf": "3"}},
    "h264.mkv": {"options": {"bf": "3"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "h264.ts": {"options": {"bf": "3"}},
    "picture.gif": {"codec": "gif", "pixel_format": "rgb8"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_file_cut_anywhere_is_refused(zoo, name):
    path = zoo.encode(name, **CONTAINERS[name])
    whole = path.read_bytes()
    shares = [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999]
    for length in [int(share * len(whole)) for share in shares] + [len(whole) - 1, len(whole) - 5]:
        inside_a_packet = length - (name.endswith(".ts") and length % 188 == 0)
        path.write_bytes(whole[:inside_a_packet])
        with pytest.raises(VideoError) as error:
            read_video(path, ALL)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_live_webm_cut_inside_a_cluster_is_refused(zoo):
    path = zoo.encode("live.webm", "libvpx-vp9", options={"deadline": "realtime"}, container={"live": "1"})
    whole = path.read_bytes()
    for length in (len(whole) // 3, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(VideoError, match="truncated"):
            read_video(path, ALL)


def test_a_transport_stream_that_is_cut_gives_an_error_or_whole_right_frames(zoo):
    """A cut exactly between two frames leaves a whole shorter stream; a frame that is cut is never shown."""
    options = {"bf": "0", "g": "40", "x264-params": "mbtree=0"}
    path = zoo.encode("h264.ts", options=options, frames=zoo.pictures(40, 320, 192))
    truth, whole = read_video(path, ALL), path.read_bytes()
    errors = 0
    for packets in range(40, len(whole) // 188, 7):
        path.write_bytes(whole[: packets * 188])
        try:
            clip = read_video(path, ALL)
        except VideoError:
            errors += 1
            continue
        np.testing.assert_array_equal(clip.frames, truth.frames[clip.indices])
    assert errors >= 5


def test_the_message_counts_the_frames_of_a_cut_file(zoo):
    path = zoo.encode("faststart.mp4", **CONTAINERS["faststart.mp4"])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.8 * len(whole))])
    with pytest.raises(VideoError, match=r"is truncated: \d+ of 40 frames"):
        read_video(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"not a video\n" * 100, "is not a video"),
        (b"<html><body>404</body></html>" * 50, "is not a video"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "is not a video"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n", "is not a video"),
        (bytes(5000), "is not a video"),
        (b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2mp41", "is truncated"),
        (b"\x1a\x45\xdf\xa3", "is truncated"),
        (b"GIF89a", "is truncated"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "decord"])
def test_what_is_no_video_is_said_to_be_none(tmp_path, content, reason, backend):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=reason) as error:
        read_video(path, backend=backend)
    assert "clip.mp4" in str(error.value)


def test_a_folder_a_pipe_and_a_missing_file_are_named(tmp_path):
    import os

    with pytest.raises(VideoError, match="is a folder"):
        read_video(tmp_path)
    with pytest.raises(VideoError, match="does not exist"):
        read_video(tmp_path / "none.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="is not a regular file"):
        read_video(tmp_path / "pipe.mp4")


def damaged(content: bytes, seed: int) -> bytes:
    """Return the content with one bit flipped, 16 or 400 bytes zeroed, or 100 bytes replaced at random."""
    dice, rotten = random.Random(seed), bytearray(content)
    place = dice.randrange(40, len(rotten) - 400)
    kind = seed % 4
    if kind == 0:
        rotten[place] ^= 1 << dice.randrange(8)
    elif kind == 3:
        rotten[place : place + 100] = dice.randbytes(100)
    else:
        length = 16 if kind == 1 else 400
        rotten[place : place + length] = bytes(length)
    return bytes(rotten)


def outcomes_of_damage(zoo, name: str, recipe: dict, count: int) -> dict[str, int]:
    path = zoo.encode(name, frames=zoo.pictures(40, 192, 128), **recipe)
    truth, whole = read_video(path, ALL, threads=1), path.read_bytes()
    outcomes = {"error": 0, "same": 0, "other picture": 0, "other count": 0}
    for seed in range(count):
        path.write_bytes(damaged(whole, seed))
        try:
            clip = read_video(path, ALL, threads=1)
        except VideoError:
            outcomes["error"] += 1
            continue
        if clip.num_source_frames != 40:
            outcomes["other count"] += 1
        else:
            outcomes["same" if np.array_equal(clip.frames, truth.frames) else "other picture"] += 1
    return outcomes


@pytest.mark.parametrize(
    ("name", "recipe", "unnoticed"),
    [
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}, 0.05),
        ("av1.mp4", {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}}, 0.05),
        ("h264.mkv", {"options": {"bf": "3"}}, 0.0),
        ("ffv1.mkv", {"codec": "ffv1", "pixel_format": "bgr0"}, 0.0),
        ("h264.mp4", {"options": {"bf": "3", "x264-params": "mbtree=0"}}, 0.25),
        ("h264.ts", {"options": {"bf": "3", "x264-params": "mbtree=0"}}, 0.25),
    ],
)
def test_rot_is_noticed(zoo, name, recipe, unnoticed):
    """Checksums find all; of H.264 in MP4 a part of flipped bits and random runs decodes, or is other timing."""
    count = 60
    outcomes = outcomes_of_damage(zoo, name, recipe, count)
    assert outcomes["other picture"] + outcomes["other count"] <= unnoticed * count
    assert outcomes["other count"] <= 1
    assert outcomes["error"] >= 0.7 * count


def test_zeroed_holes_in_h264_are_always_noticed(zoo):
    path = zoo.encode("h264.mp4", frames=zoo.pictures(40, 192, 128), options={"bf": "3"})
    whole = path.read_bytes()
    begin, end = whole.index(b"mdat") + 4, whole.rindex(b"moov")
    dice = random.Random(7)
    for _ in range(60):
        length = dice.choice([8, 64, 512])
        place = dice.randrange(begin, end - length)
        if whole[place : place + length].strip(b"\0"):
            path.write_bytes(whole[:place] + bytes(length) + whole[place + length :])
            with pytest.raises(VideoError, match="damaged"):
                read_video(path, ALL, threads=1)


def test_decord_does_not_conceal_what_the_check_finds(zoo):
    decord = pytest.importorskip("decord")
    decord.logging.set_level(decord.logging.QUIET)
    path = zoo.encode("h264.mp4", frames=zoo.pictures(40, 192, 128), options={"bf": "3"})
    whole = path.read_bytes()
    begin, end = whole.index(b"mdat") + 1000, whole.rindex(b"moov") - 8
    silent = 0
    for place in range(begin, end, (end - begin) // 12):
        path.write_bytes(whole[:place] + bytes(8) + whole[place + 8 :])
        try:
            alone = decord.VideoReader(str(path), num_threads=1).get_batch(list(range(40)))
            silent += alone.shape[0] == 40
        except decord.DECORDError:
            pass
        with pytest.raises(VideoError, match="damaged"):
            read_video(path, backend="decord")
    assert silent > 0  # decord by itself gives pictures of what the check refuses
