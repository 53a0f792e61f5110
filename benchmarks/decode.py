"""How long 16 uniform frames of a clip take, by reader, interleaved in one run; and whether the frames agree.

    python benchmarks/decode.py --videos DIR --repeats 5 --out decode.json
    python benchmarks/decode.py                     # on clips that it makes

decord and PyAV seeking are what a user would do instead; both return concealed frames from damaged files.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import decord
import numpy as np

from reward.video import FrameSampling, VideoReaders, read_video, write_video

FRAMES = FrameSampling(16)
Reader = Callable[[list[Path]], list[np.ndarray]]


def each(read: Callable[[Path], np.ndarray]) -> Reader:
    return lambda paths: [read(path) for path in paths]


def decord_alone(threads: int) -> Reader:
    def read(path: Path) -> np.ndarray:
        reader = decord.VideoReader(str(path), num_threads=threads)
        return reader.get_batch(np.linspace(0, len(reader) - 1, FRAMES.num_frames).astype(int)).asnumpy()

    return each(read)


def pyav_seeking(path: Path) -> np.ndarray:
    """Seek to each frame's time and decode from the key frame before it."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        times = sorted(packet.pts for packet in source.demux(stream) if packet.pts is not None)
        frames = []
        for number in np.linspace(0, len(times) - 1, FRAMES.num_frames).astype(int):
            source.seek(times[number], stream=stream)
            frame = next(frame for frame in source.decode(stream) if frame.pts >= times[number])
            frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


def readers_in_children(readers: VideoReaders) -> Reader:
    return lambda paths: [clip.frames for _, clip in readers.stream(paths, FRAMES)]


def textured_clip(frames: int, height: int, width: int) -> np.ndarray:
    """Noise of several grains that moves across the picture, uint8 (T, H, W, 3)."""
    random = np.random.default_rng(0)
    layers = [
        random.integers(0, 128, (height // grain + 99, width // grain + 99, 3), np.uint8)
        .repeat(grain, 0)
        .repeat(grain, 1)
        for grain in (8, 32)
    ]
    fine, coarse = layers
    return np.stack(
        [
            fine[i : i + height, 2 * i % 300 : 2 * i % 300 + width] // 2
            + coarse[2 * i : 2 * i + height, 3 * i : 3 * i + width]
            for i in range(frames)
        ]
    )


def make_clips(folder: Path) -> list[Path]:
    paths = []
    for frames, height, width in ((33, 256, 384), (49, 480, 720), (81, 480, 832)):
        paths.append(folder / f"{width}x{height}x{frames}.mp4")
        write_video(paths[-1], textured_clip(frames, height, width), 24, crf=23)
    return paths


def measure(readers: dict[str, Reader], paths: list[Path], repeats: int) -> tuple[dict[str, list[float]], dict]:
    """Return ms per clip of every repeat, and whether each reader's frames equal those of the first, by reader."""
    truth = [frames.copy() for frames in next(iter(readers.values()))(paths)]
    equal, times = {}, {name: [] for name in readers}
    for name, read in readers.items():  # also the warm-up
        equal[name] = all(np.array_equal(a, b) for a, b in zip(truth, read(paths), strict=True))
    for _ in range(repeats):
        for name, read in readers.items():
            started = time.perf_counter()
            read(paths)
            times[name].append(1000 * (time.perf_counter() - started) / len(paths))
    return times, equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of mp4 files, searched with its subfolders")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    decord.logging.set_level(decord.logging.QUIET)
    with tempfile.TemporaryDirectory() as folder, VideoReaders(workers=2) as pool:
        paths = sorted(arguments.videos.rglob("*.mp4")) if arguments.videos else make_clips(Path(folder))
        if not paths:
            parser.error(f"no mp4 file under {arguments.videos}")
        readers = {
            "decord, 1 thread": decord_alone(1),
            "decord": decord_alone(0),
            "PyAV, seek per frame": each(pyav_seeking),
            "read_video": each(lambda path: read_video(path, FRAMES).frames),
            "read_video, 1 thread": each(lambda path: read_video(path, FRAMES, threads=1).frames),
            "read_video, backend decord": each(lambda path: read_video(path, FRAMES, backend="decord").frames),
            "VideoReaders, 2 workers": readers_in_children(pool),
        }
        times, equal = measure(readers, paths, arguments.repeats)
    print(f"\n{len(paths)} clips, 16 frames each, {arguments.repeats} repeats, {os.cpu_count()} cores\n")
    print("| reader | ms per clip, median | least to most | x decord | same frames |\n|---|---|---|---|---|")
    base = statistics.median(times["decord"])
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"| {name} | {median:.0f} | {spread} | {median / base:.2f} | {'yes' if equal[name] else 'NO'} |")
    if arguments.out:
        facts = {"clips": [path.name for path in paths], "machine": platform.platform(), "cores": os.cpu_count()}
        arguments.out.write_text(json.dumps(facts | {"ms_per_clip": times, "same_frames": equal}, indent=2) + "\n")


if __name__ == "__main__":
    main()
