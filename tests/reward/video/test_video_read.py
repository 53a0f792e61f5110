from fractions import Fraction

import av
import numpy as np
import pytest

from reward.errors import VideoError
from reward.video import FrameSampling, VideoLimits, read_video

ALL = FrameSampling(40)

WHOLE = {
    "b_frames.mp4": {"options": {"bf": "3"}},
    "faststart.mp4": {"options": {"bf": "3"}, "container": {"movflags": "+faststart"}},
    "fragmented.mp4": {"options": {"g": "8"}, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "four_four_four.mp4": {"pixel_format": "yuv444p"},
    "ten_bit.mp4": {"pixel_format": "yuv420p10le"},
    "h264.mkv": {"options": {"bf": "3"}},
    "h264.ts": {"options": {"bf": "3"}},
    "h264.avi": {"options": {"bf": "0"}},
    "h264_b.avi": {"options": {"bf": "2"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}},
    "vp9_live.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}, "container": {"live": "1"}},
    "vp8.webm": {"codec": "libvpx", "options": {"deadline": "realtime"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"qscale": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "ffv1.mkv": {"codec": "ffv1", "pixel_format": "bgr0"},
    "picture.gif": {"codec": "gif", "pixel_format": "rgb8", "rate": Fraction(25)},
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_frame_of_every_format_is_read_in_order_at_its_time(zoo, name):
    path = zoo.encode(name, **WHOLE[name])
    clip = read_video(path, ALL)
    assert zoo.numbers(clip.frames) == list(range(40))
    assert clip.frames.shape == (40, 64, 96, 3)
    assert clip.frames.dtype == np.uint8
    rate = float(WHOLE[name].get("rate", 24))
    np.testing.assert_allclose(clip.timestamps, np.arange(40) / rate, atol=1.1e-3)
    assert clip.num_source_frames == 40
    assert clip.duration == pytest.approx(40 / rate, abs=0.05)
    assert clip.fps == pytest.approx(rate, rel=0.03)
    tolerance = 45 if name.endswith(".gif") else 12
    assert np.abs(clip.frames.astype(int) - zoo.pictures(40)).mean() < tolerance


@pytest.mark.parametrize("name", ["b_frames.mp4", "four_four_four.mp4", "h264.mkv", "mpeg4.avi"])
def test_decord_and_pyav_give_the_same_bytes(zoo, name):
    pytest.importorskip("decord")
    path = zoo.encode(name, **WHOLE[name])
    ours, theirs = (read_video(path, FrameSampling(7), backend=backend) for backend in ("pyav", "decord"))
    np.testing.assert_array_equal(ours.frames, theirs.frames)


@pytest.mark.parametrize("matrix", [1, 5])
def test_the_stated_colour_matrix_is_used_by_both_backends(zoo, matrix):
    pytest.importorskip("decord")

    def state(stream):
        stream.codec_context.colorspace = matrix

    path = zoo.encode("tagged.mp4", prepare=state)
    ours, theirs = (read_video(path, FrameSampling(3), backend=backend) for backend in ("pyav", "decord"))
    np.testing.assert_array_equal(ours.frames, theirs.frames)
    with av.open(str(path)) as source:
        frame = next(source.decode(video=0))
        assert frame.colorspace == matrix


def test_ten_bit_colours_are_right(zoo):
    flat = np.full((3, 64, 96, 3), (200, 90, 40), np.uint8)
    path = zoo.encode("flat.mp4", pixel_format="yuv420p10le", frames=flat, options={"crf": "1"})
    assert np.abs(read_video(path, FrameSampling(3)).frames.astype(int) - flat).max() <= 3


def test_decord_says_what_it_cannot_read(zoo):
    pytest.importorskip("decord")
    path = zoo.encode("av1.mp4", **WHOLE["av1.mp4"])
    with pytest.raises(VideoError, match=r"av1\.mp4.*use backend='auto'"):
        read_video(path, backend="decord")


@pytest.mark.parametrize("codec", ["libvpx-vp9", "ffv1"])
def test_odd_sizes_stay_odd(zoo, codec):
    path = zoo.encode("odd.mkv", codec, frames=zoo.pictures(5, 95, 63))
    clip = read_video(path, FrameSampling(5))
    assert clip.frames.shape == (5, 63, 95, 3)
    assert zoo.numbers(clip.frames) == list(range(5))


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_variable_rate_is_sampled_by_time_on_screen(zoo, name):
    times = [0, 1, 2, 3, 30, 60]
    path = zoo.encode(name, frames=zoo.pictures(6), times=times, rate=Fraction(30))
    clip = read_video(path, FrameSampling(5))  # wanted at 0, 0.5, 1, 1.5 and 2 s
    assert zoo.numbers(clip.frames) == [0, 3, 4, 4, 5]
    np.testing.assert_allclose(clip.timestamps, np.array([0, 3, 30, 30, 60]) / 30, atol=1e-3)
    assert clip.indices.tolist() == [0, 3, 4, 4, 5]
    by_rate = read_video(path, FrameSampling(num_frames=None, fps=2.0))
    assert zoo.numbers(by_rate.frames) == [0, 3, 4, 4, 5]


def test_webm_and_mp4_of_the_same_video_give_the_same_frames(zoo):
    rate = Fraction(30000, 1001)
    clips = [
        read_video(zoo.encode(name, codec, rate=rate, options=options), FrameSampling(16))
        for name, codec, options in (
            ("a.mp4", "libx264", {}),
            ("a.webm", "libvpx-vp9", {"deadline": "realtime"}),
        )
    ]
    assert clips[0].indices.tolist() == clips[1].indices.tolist()


def test_a_single_frame_is_repeated(zoo):
    clip = read_video(zoo.encode("one.mp4", frames=zoo.pictures(1)), FrameSampling(4))
    assert clip.frames.shape == (4, 64, 96, 3)
    assert clip.timestamps.tolist() == [0, 0, 0, 0]
    assert clip.num_source_frames == 1
    assert clip.duration == pytest.approx(1 / 24, abs=0.01)


@pytest.mark.parametrize("name", ["late.mkv", "late.ts", "late.mp4"])
def test_a_first_time_that_is_not_zero_is_taken_off(zoo, name):
    path = zoo.encode(name, times=range(24, 64), options={"bf": "2"})
    clip = read_video(path, ALL)
    assert zoo.numbers(clip.frames) == list(range(40))
    np.testing.assert_allclose(clip.timestamps, np.arange(40) / 24, atol=1.1e-3)


def test_frames_that_an_edit_list_cuts_off_are_not_shown(zoo):
    path = zoo.encode(
        "edited.mp4", times=range(-4, 36), options={"bf": "0"}, container={"avoid_negative_ts": "disabled"}
    )
    with av.open(str(path)) as source:
        shown = sum(1 for _ in source.decode(video=0))
    assert shown == 36
    assert zoo.numbers(read_video(path, FrameSampling(36)).frames) == list(range(4, 40))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_videos_come_upright(zoo, degrees):
    def turn(stream):
        stream.set_display_rotation(degrees)

    repeatable = {"x264-params": "mbtree=0"}
    plain = read_video(zoo.encode("plain.mp4", options=repeatable), FrameSampling(3)).frames
    path = zoo.encode("turned.mp4", prepare=turn, options=repeatable)
    clip = read_video(path, FrameSampling(3))
    with av.open(str(path)) as source:
        rotation = next(source.decode(video=0)).rotation
    assert rotation % 360 == degrees % 360
    np.testing.assert_array_equal(clip.frames, np.rot90(plain, k=degrees // 90, axes=(1, 2)))


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("alpha.mov", "png", "rgba"),
        ("alpha.mov", "qtrle", "argb"),
        ("alpha.mkv", "ffv1", "bgra"),
        ("alpha.webm", "libvpx-vp9", "yuva420p"),
        ("alpha.webm", "libvpx", "yuva420p"),
    ],
)
def test_transparency_is_laid_over_black(zoo, name, codec, pixel_format):
    image = np.zeros((6, 64, 96, 4), np.uint8)
    image[:] = (200, 200, 200, 255)
    image[:, :, 48:, 3] = 0
    image[:, 32:, :48, 3] = 128
    path = zoo.encode(
        name,
        codec,
        pixel_format,
        frames=image,
        source_format="rgba",
        options={"auto-alt-ref": "0"} if "vpx" in codec else {},
    )
    frame = read_video(path, FrameSampling(2)).frames[1].astype(int)
    assert np.abs(frame[4:28, 4:44] - 200).max() < 12
    assert np.abs(frame[36:60, 4:44] - 100).max() < 12
    assert frame[4:60, 52:92].max() < 12


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (VideoLimits(max_bytes=100), "bytes is over the limit"),
        (VideoLimits(max_pixels=96 * 63), "96x64 is over the limit"),
        (VideoLimits(max_seconds=1.0), "over the limit of 1 s"),
        (VideoLimits(max_frames=39), "frames"),
        (VideoLimits(max_sampled_bytes=96 * 64 * 3 * 16 - 1), "sample fewer frames"),
    ],
)
@pytest.mark.parametrize("name", ["b_frames.mp4", "vp9_live.webm"])
def test_limits_are_kept(zoo, name, limits, reason):
    path = zoo.encode(name, **WHOLE[name])
    read_video(path, limits=VideoLimits(max_bytes=10**6, max_pixels=96 * 64, max_seconds=2, max_frames=40))
    with pytest.raises(VideoError, match=reason):
        read_video(path, limits=limits)


def test_sound_alone_is_no_video(zoo, tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        file.mux(stream.encode(sound))
        file.mux(stream.encode())
    with pytest.raises(VideoError, match="has no video stream"):
        read_video(path)


@pytest.mark.parametrize("name", ["a b.mp4", "clip:1.mp4", "100%d.mp4", "Ünï文.mp4", "-i.mp4", "%03d.mp4"])
def test_file_names_are_only_names(zoo, tmp_path, monkeypatch, name):
    zoo.encode("plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert zoo.numbers(read_video(name, FrameSampling(2)).frames) == [0, 39]


def test_a_frame_that_changes_size_inside_a_file_is_refused_by_name(zoo, tmp_path):
    small, large = zoo.encode("a.ts"), zoo.encode("b.ts", frames=zoo.pictures(40, 128, 80))
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(VideoError, match=r"both\.ts"):
        read_video(tmp_path / "both.ts")
