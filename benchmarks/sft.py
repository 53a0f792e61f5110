"""What training a critic costs: one row per question with plain TRL, against all questions of a video in one sequence.

VideoVerse asks 3.64 questions a video: 300 event orders and 793 checks about 300 prompts. Here 11 clips made for the
purpose get 11 orders (30 events) and 29 checks. All ways train the same Qwen2.5-VL (about 38 million random parameters,
16 frames of up to 196 x 252 pixels) on the same rows, from the same weights, with AdamW in float32, through trl's
SFTTrainer:

- plain: stock loss, a row per question, its video decoded and encoded with it, one row a step;
- plain, batched: the same with all rows of a video in one step, padded;
- packed: `worldcritic sft`'s trainer, one video a step with all its rows.

The ways take turns video by video, so that other work on the machine hits all alike. A turn is timed from its first
step to its last, decoding included and model loading not, by the clock and in CPU seconds of the process; ratios are
per turn, medians with the 10th and 90th percentile, and of the sums.

    python benchmarks/sft.py --repeats 1
"""

import copy
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from distill.examples import Collator, group_by_video
from distill.formats import asked_text
from distill.rows import Row, parse_row
from distill.trainer import PackedTrainer
from reward.critic import VideoCritic
from reward.frontend import VIDEO_TOKEN_TYPE
from reward.loading import zero_shot_manifest
from reward.packed import PackedBatch, packed_loss
from reward.tiny import Size, tiny_model, tiny_tokenizer
from reward.video import FrameSampling, read_video, write_video
from reward.wording import order_text

SIZE = Size(hidden=512, layers=8, heads=8, key_heads=2, mlp=1792, vision_hidden=320, vision_layers=8, patch=14)
FRAMES, MAX_PIXELS = 16, 196 * 252
CHECKS = (3, 2, 3, 3, 2, 3, 3, 2, 3, 4, 1)
EVENTS = (3, 2, 3, 3, 3, 2, 3, 3, 3, 4, 1)
TEXTS = (
    "Does the camera stay still?",
    "Does the chair carry the weight of the person who sits on it?",
    "Is the person correctly hidden by, or in front of, the furniture?",
    "Do light and shadow fall in directions that fit the light sources?",
)
STORY = (
    "The girl walks to the chair and pulls it out.",
    "She sits down and puts the glass on the table.",
    "The cat jumps onto the table.",
    "The glass tips over and the water runs out.",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    videos: int = len(CHECKS)
    """Use the first so many clips."""
    repeats: int = 1
    """Times that each way trains on each clip."""
    batched: bool = True
    """Time plain training with all rows of a video in one step too."""
    out: Path | None = None
    """JSON file for the figures."""


class Timer(TrainerCallback):
    """Seconds by the clock and CPU seconds from the beginning of the first step to the end of the last."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter(), time.process_time()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self.started[0], time.process_time() - self.started[1]


@dataclasses.dataclass(frozen=True)
class PlainCollator:
    """A row per question: decodes, patchifies, tokenises, right-pads; labels are -100 but on what packed rows learn."""

    rows: Sequence[Row]
    folder: Path
    critic: VideoCritic

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        end, pad = self.critic.front_end, self.critic.tokenizer.pad_token_id
        prefixes, asked, answers, steps = [], [], [], []
        for row in (self.rows[example["row"]] for example in examples):
            clip = read_video(self.folder / row.video_path, self.critic.sampling)
            prefixes.append(end.prefix(clip))
            steps.append(end.temporal_patch * float(np.diff(clip.timestamps).mean()))
            asked.append(end.question(asked_text(row)))
            ending = [self.critic.tokens.stop] if row.kind == "order" else []
            answers.append([*end.data(row.target), *ending])
        lengths = [len(p.ids) + len(q) + len(a) for p, q, a in zip(prefixes, asked, answers, strict=True)]
        ids = torch.full((len(lengths), max(lengths)), pad)
        labels, seen = torch.full_like(ids, -100), torch.zeros_like(ids)
        for i, (prefix, question, answer) in enumerate(zip(prefixes, asked, answers, strict=True)):
            ids[i, : lengths[i]] = torch.cat([prefix.ids, torch.tensor([*question, *answer])])
            labels[i, lengths[i] - len(answer) : lengths[i]] = torch.tensor(answer)
            seen[i, : lengths[i]] = 1
        return {
            "input_ids": ids,
            "attention_mask": seen,
            "labels": labels,
            "mm_token_type_ids": (ids == end.config.video_token_id).int() * VIDEO_TOKEN_TYPE,
            "pixel_values_videos": torch.cat([prefix.patches for prefix in prefixes]),
            "video_grid_thw": torch.tensor([prefix.grid for prefix in prefixes]),
            "second_per_grid_ts": torch.tensor(steps),
        }


class Bench:
    """One model, one set of rows, and the ways of training on them."""

    def __init__(self, folder: Path, videos: int) -> None:
        self.folder, self.rows = folder, make_rows(folder, videos)
        self.tokenizer = tiny_tokenizer([*TEXTS, *STORY])
        self.model = tiny_model("qwen2_5_vl", self.tokenizer, SIZE)
        manifest = zero_shot_manifest("benchmark", self.model.config, self.tokenizer)
        pixels = dataclasses.replace(manifest.pixels, max_pixels=MAX_PIXELS)
        self.manifest = dataclasses.replace(manifest, pixels=pixels)
        self.sampling = FrameSampling(num_frames=FRAMES)

    def plain(self, rows: Sequence[Row], batched: bool) -> tuple[float, float]:
        """Return the seconds that stock TRL takes for some rows."""
        critic = self.critic()
        return self.timed(
            SFTTrainer,
            critic,
            len(rows) if batched else 1,
            data_collator=PlainCollator(rows, self.folder, critic),
            train_dataset=Dataset.from_dict({"row": list(range(len(rows)))}),
        )

    def packed(self, rows: Sequence[Row]) -> tuple[float, float]:
        """Return the seconds that `worldcritic sft`'s trainer takes for them."""
        critic, groups = self.critic(), group_by_video(rows, self.folder)
        return self.timed(
            PackedTrainer,
            critic,
            1,
            data_collator=Collator(groups, critic.front_end, critic.tokens, self.sampling, "hard"),
            train_dataset=Dataset.from_dict({"video": list(range(len(groups)))}),
            groups=groups,
            eval_groups=[],
        )

    def timed(self, trainer: type[SFTTrainer], critic: VideoCritic, batch: int, **more: Any) -> tuple[float, float]:
        timer = Timer()
        args = self.arguments(batch)
        trainer(model=critic.model, args=args, processing_class=self.tokenizer, callbacks=[timer], **more).train()
        return timer.seconds

    @torch.inference_mode()
    def check(self) -> float:
        """Return by how much the two losses of the first video differ, as a share: both ways learn the same thing."""
        critic, groups = self.critic(), group_by_video(self.rows, self.folder)
        plain = PlainCollator(groups[0].rows, self.folder, critic)([{"row": i} for i in range(len(groups[0].rows))])
        one = critic.model(**plain).loss
        packed = Collator(groups, critic.front_end, critic.tokens, self.sampling, "hard")([{"video": 0}])
        packed.pop("owners")
        other, _ = packed_loss(critic.model, PackedBatch(**packed))
        return float(abs(one - other) / other)

    def critic(self) -> VideoCritic:
        """A critic of fresh weights."""
        return VideoCritic(copy.deepcopy(self.model).train(), self.tokenizer, self.manifest)

    def arguments(self, batch: int) -> SFTConfig:
        return SFTConfig(
            output_dir=str(self.folder / "run"),
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=1e-5,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            activation_checkpointing=False,
            max_length=None,
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )


def make_rows(folder: Path, videos: int) -> list[Row]:
    """Write moving textures of a real generator's length and size, and return VideoVerse's mix of rows about them."""
    rows = []
    for i, (checks, events) in enumerate(list(zip(CHECKS, EVENTS, strict=True))[:videos]):
        t, y, x = np.ogrid[:60, :384, :672]
        waves = [np.sin(x / (17 + 5 * c + i) + t / 7) * np.cos(y / (23 - 4 * c) - t / 11) for c in range(3)]
        write_video(folder / f"{i}.mp4", (np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8), fps=24)
        common = {"video_path": f"{i}.mp4", "t2v_prompt": "A girl in a pink dress sits down on a chair."}
        for question in TEXTS[:checks]:
            target = ("Yes", "No")[i % 2]
            rows.append({**common, "dimension": "mechanics", "question": question, "target": target})
        asked = {"question": order_text(STORY[:events]), "target": "A", "kind": "order"}
        rows.append({**common, "dimension": "event_following", **asked})
    return [parse_row(row, f"row {i}") for i, row in enumerate(rows)]


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    low, high = np.quantile(each, [0.1, 0.9])
    return {"of_sums": sum(slow) / sum(fast), "median": float(np.median(each)), "p10": float(low), "p90": float(high)}


def main(options: Options) -> None:
    seconds: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), options.videos)
        print(f"the losses of a video differ by {bench.check():.1e} of themselves")
        groups = [group.rows for group in group_by_video(bench.rows, bench.folder)]
        ways = {"plain": lambda rows: bench.plain(rows, False), "packed": bench.packed}
        if options.batched:
            ways["plain, batched"] = lambda rows: bench.plain(rows, True)
        bench.packed(groups[0])
        for rows in groups * options.repeats:
            for name, way in ways.items():
                seconds.setdefault(name, []).append(way(rows))
                clock, cpu = seconds[name][-1]
                print(f"{len(rows)} rows, {name}: {clock:.1f} s, {cpu:.1f} CPU s", flush=True)
    show(bench, options, seconds)


def show(bench: Bench, options: Options, seconds: dict[str, list[tuple[float, float]]]) -> None:
    rows, parameters = len(bench.rows), sum(p.numel() for p in bench.model.parameters())
    report: dict[str, Any] = {}
    for name, taken in seconds.items():
        of = report[name] = {}
        for i, kind in enumerate(("clock", "cpu")):
            mine, packed = ([turn[i] for turn in each] for each in (taken, seconds["packed"]))
            of[kind] = {"rows_per_second": rows * options.repeats / sum(mine), "ratio": ratios(mine, packed)}
    print(f"{parameters / 1e6:.1f} M parameters, {options.videos} videos, {rows} rows ({rows / options.videos:.2f} a "
          f"video), {options.repeats} repeats, {torch.get_num_threads()} threads")  # fmt: skip
    print("| way | rows/s | packed is faster by | rows/CPU s | packed is cheaper by |\n|---|---|---|---|---|")
    for name, of in report.items():
        cells = []
        for each in of.values():
            r = each["ratio"]
            cells += [f"{each['rows_per_second']:.2f}"]
            cells += [f"{r['of_sums']:.2f} ({r['median']:.2f} [{r['p10']:.2f}, {r['p90']:.2f}])"]
        print(f"| {name} | " + " | ".join(cells) + " |")
    if options.out:
        options.out.write_text(json.dumps({"parameters": parameters, "rows": rows, "ways": report}, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
