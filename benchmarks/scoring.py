"""What it costs to ask K questions of a video: a pass per question as everyone does, against one shared prefix.

A Qwen2.5-VL of about 36 million random parameters, 16 frames of up to 196 x 252 pixels, real clips given by --videos
or made here. Every way is timed on every clip in the same run, interleaved, so that other work on the machine hits
all alike; ratios are per clip and repeat, then medians with the 10th and 90th percentile.

    python benchmarks/scoring.py --videos DIR --out scoring.json
"""

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import decord
import numpy as np
import torch
import tyro

from reward.critic import VideoCritic
from reward.frontend import Prefix
from reward.loading import zero_shot_manifest
from reward.options import LoadOptions
from reward.prefix import SharedPrefix
from reward.suffixes import Suffix, chain
from reward.tiny import Size, tiny_model, tiny_tokenizer
from reward.video import Clip, FrameSampling, read_video, write_video
from reward.wording import check_text

QUESTIONS = (
    "Does the camera stay still?",
    "Is the girl's dress pink?",
    "Does the chair carry the weight of the person who sits on it?",
    "Does the person move without sliding or floating above the floor?",
    "Is the person correctly hidden by, or in front of, the furniture?",
    "Do light and shadow fall in directions that fit the light sources?",
    "Do walls and floor look like solid, weathered material?",
    "Is the explorer inside the picture during the whole video?",
)
SIZE = Size(hidden=512, layers=8, heads=8, key_heads=2, mlp=1792, vision_hidden=320, vision_layers=8, patch=14)
FRAMES, MAX_PIXELS = 16, 196 * 252


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    videos: Path | None = None
    """Folder of clips, searched with its subfolders; without it, clips are made."""
    questions: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of questions K."""
    repeats: int = 3
    """Times that each clip is timed each way."""
    out: Path | None = None
    """JSON file for the figures."""


class Bench:
    """One model and the ways of asking it."""

    def __init__(self) -> None:
        tokenizer = tiny_tokenizer(QUESTIONS)
        self.model = tiny_model("qwen2_5_vl", tokenizer, SIZE, gain=2.0)
        manifest = zero_shot_manifest("benchmark", self.model.config, tokenizer)
        pixels = dataclasses.replace(manifest.pixels, max_pixels=MAX_PIXELS)
        self.critic = VideoCritic(self.model, tokenizer, dataclasses.replace(manifest, pixels=pixels), LoadOptions())
        self.sampling = FrameSampling(num_frames=FRAMES)

    def prefix(self, path: Path) -> Prefix:
        return self.critic.front_end.prefix(read_video(path, self.sampling))

    def suffixes(self, count: int) -> list[Suffix]:
        asked = (QUESTIONS[i % len(QUESTIONS)] + " " * (i // len(QUESTIONS)) for i in range(count))
        return [chain(self.critic.front_end.question(check_text(question))) for question in asked]

    def official(self, path: Path, count: int) -> list[float]:
        """Decode with decord, encode, prefill and generate an answer and its end, once per question."""
        return [self.generate(self.decord_prefix(path), suffix) for suffix in self.suffixes(count)]

    def decord_prefix(self, path: Path) -> Prefix:
        """The frames as VideoVerse's evaluation reads them: unchecked, by number."""
        reader = decord.VideoReader(str(path))
        indices = np.linspace(0, len(reader) - 1, FRAMES).round().astype(int)
        fps, length = float(reader.get_avg_fps()), len(reader)
        frames = reader.get_batch(indices).asnumpy()
        return self.critic.front_end.prefix(Clip(frames, indices / fps, indices, length / fps, fps, length))

    @torch.inference_mode()
    def generate(self, prefix: Prefix, suffix: Suffix) -> float:
        ids = torch.tensor([[*prefix.ids.tolist(), *suffix.ids]])
        out = self.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values_videos=prefix.patches,
            video_grid_thw=torch.tensor([prefix.grid]), max_new_tokens=2, min_new_tokens=2, do_sample=False,
            mm_token_type_ids=(ids == self.model.config.video_token_id).int() * 2,
        )  # fmt: skip
        return float(out[0, -2])

    def once(self, sharing: str) -> Callable[[Path, int], list[float]]:
        """Decode once, then ask in one of the critic's ways."""

        def ask(path: Path, count: int) -> list[float]:
            shared = SharedPrefix(self.model, self.critic.tokens.all, sharing)  # type: ignore[arg-type]
            scores = shared.read(shared.prefill([self.prefix(path)]), [self.suffixes(count)], 10**6)[0]
            return [float(each.exp()[0, 0]) for each in scores]

        return ask

    @torch.inference_mode()
    def least(self, path: Path, count: int) -> list[float]:
        """One decode, one prefill, and the questions' tokens behind it as if they were one text: the lower bound."""
        from transformers import DynamicCache

        prefix = self.prefix(path)
        shared = SharedPrefix(self.model, self.critic.tokens.all, "packed")
        cache = DynamicCache(ddp_cache_data=shared.prefill([prefix]).layers)
        ids = torch.tensor([[token for suffix in self.suffixes(count) for token in suffix.ids]])
        positions = (torch.arange(ids.shape[1]) + prefix.next_position).expand(3, 1, -1)
        hidden = self.model.model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
        return self.model.lm_head(hidden.last_hidden_state[:, -count:]).flatten()[:1].tolist()


def make_clips(folder: Path) -> None:
    """Write moving textures of the lengths and sizes of real generators' clips."""
    for name, (frames, height, width) in {"a": (60, 384, 672), "b": (97, 512, 768), "c": (121, 720, 1280)}.items():
        t, y, x = np.ogrid[:frames, :height, :width]
        waves = [np.sin(x / (17 + 5 * c) + t / 7) * np.cos(y / (23 - 4 * c) - t / 11) for c in range(3)]
        write_video(folder / f"{name}.mp4", (np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8), fps=24)


def percentiles(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "p10": float(np.quantile(values, 0.1)),
            "p90": float(np.quantile(values, 0.9))}  # fmt: skip


def main(options: Options) -> None:
    bench = Bench()
    parameters = sum(p.numel() for p in bench.model.parameters())
    ways = {
        "official": bench.official,
        "decode once": bench.once("separate"),
        "expanded": bench.once("expanded"),
        "packed": bench.once("packed"),
        "lower bound": bench.least,
    }
    with tempfile.TemporaryDirectory() as temporary:
        if options.videos is None:
            make_clips(Path(temporary))
        clips = sorted((options.videos or Path(temporary)).rglob("*.mp4"))
        for path in clips[:1]:
            for way in ways.values():
                way(path, 2)
        report = {str(k): time_ways(ways, clips, k, options.repeats) for k in options.questions}
    print(f"{parameters / 1e6:.1f} M parameters, {len(clips)} clips, {options.repeats} repeats, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    show(report)
    if options.out:
        options.out.write_text(json.dumps({"parameters": parameters, "clips": len(clips), "ways": report}, indent=1))


def time_ways(ways: dict, clips: list[Path], count: int, repeats: int) -> dict:
    """Return seconds of each way, and ratios official / packed and packed / lower bound, per clip and repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for path in clips:
            for name, way in ways.items():
                started = time.perf_counter()
                way(path, count)
                seconds[name].append(time.perf_counter() - started)
    ratio = {
        f"{a} / {b}": percentiles([x / y for x, y in zip(seconds[a], seconds[b], strict=True)])
        for a, b in (
            ("official", "packed"),
            ("decode once", "packed"),
            ("expanded", "packed"),
            ("packed", "lower bound"),
        )
    }
    return {"seconds": {name: percentiles(each) for name, each in seconds.items()}, "ratios": ratio}


def show(report: dict) -> None:
    first = next(iter(report.values()))
    names = [*first["seconds"], *first["ratios"]]
    print("| K | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for count, figures in report.items():
        cells = [f"{each['median']:.2f} s" for each in figures["seconds"].values()]
        cells += [f"{each['median']:.2f} [{each['p10']:.2f}, {each['p90']:.2f}]" for each in figures["ratios"].values()]
        print(f"| {count} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
