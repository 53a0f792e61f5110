"""How often the toy world's pixel oracle is right, per dimension and under harmless changes, and how long it takes.

    python benchmarks/oracle.py --num 400 --seed 1000 --size 64 --frames 16

Every row is the same fresh clips under another change; every number a share of right answers ("events": of exactly
right orders). An answer that cannot be measured counts as wrong. "ms" is the median time for all questions of a clip,
decoding apart.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from reward.dimensions import NAMES
from reward.video import FrameSampling, read_video, write_video
from toyworld.draw import draw
from toyworld.oracle import judge
from toyworld.perturb import Frames, add_noise, blur, halve, shift_hue
from toyworld.world import World

SHORT = dict(
    zip(NAMES, ("events", "mech", "inter", "mater", "camera", "natur", "sense", "attrib", "2d", "3d"), strict=True)
)


def reencode(crf: int, folder: Path, world: World) -> Callable[[Frames], Frames]:
    def change(frames: Frames) -> Frames:
        write_video(folder / "clip.mp4", frames, world.fps, crf=crf)
        return read_video(folder / "clip.mp4", FrameSampling(num_frames=world.frames)).frames

    return change


def changes(folder: Path, world: World) -> dict[str, Callable[[Frames], Frames]]:
    rng = np.random.default_rng(0)
    mp4 = reencode(18, folder, world)
    poor = reencode(26, folder, world)
    return {
        "as drawn": lambda frames: frames,
        "mp4, crf 18": mp4,
        "mp4, blur 0.7": lambda frames: blur(mp4(frames), 0.7),
        "mp4, blur 1.0": lambda frames: blur(mp4(frames), 1.0),
        "mp4, blur 2.0": lambda frames: blur(mp4(frames), 2.0),
        "mp4, hue +8": lambda frames: shift_hue(mp4(frames), 8),
        "mp4, hue -8": lambda frames: shift_hue(mp4(frames), -8),
        "mp4, hue +20": lambda frames: shift_hue(mp4(frames), 20),
        "mp4, half and back": lambda frames: halve(mp4(frames)),
        "mp4, crf 30": reencode(30, folder, world),
        "mp4, noise 6": lambda frames: add_noise(mp4(frames), 6, rng),
        "blur .8 hue 6 noise 5 crf 26": lambda frames: poor(add_noise(shift_hue(blur(frames, 0.8), 6), 5, rng)),
    }


def row(prompts, clips, change, world):
    right = defaultdict(list)
    seconds = []
    for toy, clip in zip(prompts, clips, strict=True):
        frames = change(world.render(clip.scene))
        started = time.perf_counter()
        verdict = judge(toy.prompt, frames, world.seconds)
        seconds.append(time.perf_counter() - started)
        right["event_following"].append(verdict.order == clip.order)
        for check, truth, answer in zip(toy.prompt.checks, clip.checks, verdict.answers, strict=True):
            right[check.dimension].append(answer.yes == truth)
    return right, 1000 * float(np.median(seconds)), 1000 * float(np.quantile(seconds, 0.95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("num", 400), ("seed", 1000), ("size", 64), ("frames", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    world = World(options.size, options.frames)
    drawn = list(draw(options.num, options.seed))
    prompts, clips = [each.toy_prompt for each in drawn], [each.clip for each in drawn]
    print("| change | all | " + " | ".join(SHORT.values()) + " | ms | ms p95 |")
    print("|---" * (len(SHORT) + 4) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name, change in changes(Path(folder), world).items():
            right, median, high = row(prompts, clips, change, world)
            everything = np.mean([answer for answers in right.values() for answer in answers])
            cells = [f"{everything:.4f}", *(f"{np.mean(right[dimension]):.3f}" for dimension in NAMES)]
            print(f"| {name} | {' | '.join(cells)} | {median:.1f} | {high:.1f} |", flush=True)
    print(
        "| n | "
        + " | ".join(str(n) for n in [sum(map(len, right.values())), *(len(right[d]) for d in NAMES)])
        + " | | |"
    )


if __name__ == "__main__":
    main()
