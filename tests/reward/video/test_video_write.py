from fractions import Fraction

import av
import numpy as np
import pytest

from reward.errors import InputError
from reward.video import FrameSampling, read_video, write_video


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (24, Fraction(24)),
        (8.0, Fraction(8)),
        (12.5, Fraction(25, 2)),
        (29.97, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_the_rate_and_every_frame_are_kept(zoo, tmp_path, fps, exact):
    path = tmp_path / "clip.mp4"
    write_video(path, zoo.pictures(30), fps)
    clip = read_video(path, FrameSampling(30))
    assert zoo.numbers(clip.frames) == list(range(30))
    assert Fraction(clip.fps).limit_denominator(2000) == exact
    np.testing.assert_allclose(clip.timestamps, np.arange(30) / float(exact), rtol=1e-9)
    with av.open(str(path)) as source:
        assert source.streams.video[0].average_rate == exact
        assert source.streams.video[0].frames == 30
        assert source.streams.video[0].codec_context.name == "h264"


def test_bytes_are_the_same_each_time(zoo, tmp_path):
    contents = set()
    for _ in range(6):
        write_video(tmp_path / "clip.mp4", zoo.pictures(20), 24)
        contents.add((tmp_path / "clip.mp4").read_bytes())
    assert len(contents) == 1


def test_values_are_not_scaled(tmp_path):
    levels = np.repeat(np.arange(0, 256, 16, dtype=np.uint8), 16)
    frames = np.broadcast_to(levels[None, None, :, None], (4, 64, 256, 3)).copy()
    write_video(tmp_path / "clip.mp4", frames, 8, crf=4)
    back = read_video(tmp_path / "clip.mp4", FrameSampling(4)).frames.astype(int)
    assert np.abs(back - frames).max() <= 6


def test_odd_sizes_repeat_their_last_row_and_column(zoo, tmp_path):
    frames = zoo.pictures(4, 95, 63)
    write_video(tmp_path / "clip.mp4", frames, 8, crf=1)
    back = read_video(tmp_path / "clip.mp4", FrameSampling(4)).frames
    assert back.shape == (4, 64, 96, 3)
    assert np.abs(back[:, :63, :95].astype(int) - frames).mean() < 5
    assert np.abs(back[:, 63].astype(int) - back[:, 62]).mean() < 8


def test_one_pixel_is_enough(tmp_path):
    write_video(tmp_path / "clip.mp4", np.full((1, 1, 1, 3), 99, np.uint8), 1)
    assert read_video(tmp_path / "clip.mp4", FrameSampling(1)).frames.shape == (1, 2, 2, 3)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), "uint8"),
        (np.zeros((4, 8, 8, 3), np.int64), "uint8"),
        (np.zeros((8, 8, 3), np.uint8), r"\(T, H, W, 3\)"),
        (np.zeros((4, 3, 8, 8), np.uint8), r"\(T, H, W, 3\)"),
        (np.zeros((4, 8, 8, 4), np.uint8), r"\(T, H, W, 3\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"\(T, H, W, 3\)"),
        ([[1, 2]], "numpy array"),
    ],
)
def test_other_frames_are_refused_and_nothing_is_written(tmp_path, frames, reason):
    with pytest.raises(InputError, match=reason):
        write_video(tmp_path / "clip.mp4", frames, 24)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "24", True, None, 5000])
def test_bad_rates_are_refused(tmp_path, zoo, fps):
    with pytest.raises(InputError, match="fps"):
        write_video(tmp_path / "clip.mp4", zoo.pictures(2), fps)


def test_a_failed_write_keeps_the_old_file(zoo, tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, zoo.pictures(5), 24)
    before = path.read_bytes()
    with pytest.raises(InputError):
        write_video(path, zoo.pictures(5).astype(float), 24)
    with pytest.raises(InputError, match="crf"):
        write_video(path, zoo.pictures(5), 24, crf=99)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="folder"):
        write_video(tmp_path, zoo.pictures(5), 24)
    with pytest.raises(InputError, match="cannot be written"):
        write_video(path / "below_a_file.mp4", zoo.pictures(5), 24)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]
