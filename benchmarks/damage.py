"""How often damage to a video goes unnoticed: by decord, by PyAV as it comes, and by `read_video`.

    python benchmarks/damage.py --count 60

Clips of 48 frames, 320x192, in several formats; each damaged copy has one bit or eight bits flipped, 16, 200 or 4,000
bytes zeroed, or 200 replaced at random, anywhere behind the first 600 bytes. "wrong" is a reader that returned, without
an error, other pictures or another number of them than the undamaged file has.
"""

import argparse
import random
import tempfile
from collections import Counter
from pathlib import Path

import av
import decord
import numpy as np

from reward.errors import VideoError
from reward.video import FrameSampling, read_video

ALL = FrameSampling(48)
FORMATS = {
    "H.264, MP4": ("clip.mp4", "libx264", "yuv420p", {"bf": "3"}),
    "H.264, MPEG-TS": ("clip.ts", "libx264", "yuv420p", {"bf": "3"}),
    "H.264, Matroska": ("clip.mkv", "libx264", "yuv420p", {"bf": "3"}),
    "H.265, MP4": ("clip.mp4", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "VP9, WebM": ("clip.webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "AV1, MP4": ("clip.mp4", "libsvtav1", "yuv420p", {"preset": "10"}),
    "MPEG-4, AVI": ("clip.avi", "mpeg4", "yuv420p", {}),
    "GIF": ("clip.gif", "gif", "rgb8", {}),
}
KINDS = ("1 bit flipped", "8 bits flipped", "16 bytes zeroed", "200 bytes zeroed", "4000 bytes zeroed", "200 random")


def write_clip(path: Path, codec: str, pixel_format: str, options: dict[str, str]) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 192, pixel_format
        for i in range(48):
            image = np.ascontiguousarray(texture[2 * i % 80 :, 3 * i % 80 :][:192, :320])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        file.mux(stream.encode())


def damaged(content: bytes, seed: int) -> tuple[str, bytes]:
    dice, rotten = random.Random(seed), bytearray(content)
    kind = KINDS[seed % len(KINDS)]
    place = dice.randrange(600, len(rotten))
    if "flipped" in kind:
        for _ in range(int(kind[0])):
            rotten[dice.randrange(600, len(rotten))] ^= 1 << dice.randrange(8)
    else:
        length = min(int(kind.split()[0]), len(rotten) - place)
        rotten[place : place + length] = dice.randbytes(length) if "random" in kind else bytes(length)
    return kind, bytes(rotten)


def with_decord(path: Path) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(range(len(reader))).asnumpy()


def with_pyav(path: Path) -> np.ndarray:
    with av.open(str(path)) as source:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)])


READERS = {
    "decord": (with_decord, (decord.DECORDError, RuntimeError, IndexError)),
    "PyAV": (with_pyav, (av.error.FFmpegError, ValueError)),
    "read_video": (lambda path: read_video(path, ALL, threads=1).frames, (VideoError,)),
}


def measure(path: Path, readers: list[str], count: int) -> Counter[tuple[str, str]]:
    """Return how often each reader was wrong about each kind of damage."""
    whole, wrong = path.read_bytes(), Counter()
    truths = {reader: READERS[reader][0](path) for reader in readers}
    for seed in range(count):
        kind, rotten = damaged(whole, seed)
        path.write_bytes(rotten)
        for reader in readers:
            read, faults = READERS[reader]
            try:
                wrong[reader, kind] += not np.array_equal(read(path), truths[reader])
            except faults:
                continue
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="damaged copies per format")
    count = parser.parse_args().count
    decord.logging.set_level(decord.logging.QUIET)
    print(f"| format | reader | wrong, of {count} | " + " | ".join(KINDS) + " |\n" + "|---" * (len(KINDS) + 3) + "|")
    for name, recipe in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / recipe[0]
            write_clip(path, *recipe[1:])
            readers = [reader for reader in READERS if reader != "decord" or name.startswith("H.264")]
            wrong = measure(path, readers, count)
        for reader in readers:
            cells = [str(wrong[reader, kind]) for kind in KINDS]
            print(f"| {name} | {reader} | {sum(map(int, cells))} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
