"""What the toy generator makes, by the oracle, on prompts for alignment and on prompts held out of it.

    python benchmarks/generator.py --clips 512 --sheet clips.png

Clips come from the stock WanPipeline. "object", "coherent" and "correct" are those of `toyworld.grading`; below them
stands the share of Yes in every dimension. Intervals are 95 per cent, by bootstrap over prompts.
"""

import argparse
import io
import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from reward.dimensions import NAMES
from reward.files import write_atomic
from reward.statistics import ratio_interval
from toyworld.generator import SAMPLING, folder
from toyworld.grading import Grade, grade
from toyworld.repertoire import KINDS, WORLD, Known, split
from toyworld.vae_training import to_frames, to_video
from toyworld.variations import examples

AT_ONCE = 64
Frames = npt.NDArray[np.uint8]


def sample(pipeline, prompts: Sequence[Known], seed: int, **settings) -> Iterator[Frames]:
    """Yield one clip (T, H, W, 3) a prompt, by the stock pipeline."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(prompts), AT_ONCE):
        texts = [known.text for known in prompts[start : start + AT_ONCE]]
        videos = pipeline(texts, generator=generator, output_type="np", **SAMPLING | settings).frames
        yield from np.rint(np.asarray(videos) * 255).astype(np.uint8)


def table(graded: Sequence[tuple[Known, Grade]]) -> list[str]:
    """Return the lines of a table: a row for all clips, and one for each kind."""
    lines = ["| kind | clips | object | coherent | correct |", "|---|---|---|---|---|"]
    for kind in ("all", *KINDS):
        rows = [(known, made) for known, made in graded if kind in ("all", known.kind)]
        cells = []
        for name in ("object", "coherent", "correct"):
            cells.append(_interval([known.id for known, _ in rows], [getattr(made, name) for _, made in rows]))
        lines.append(f"| {kind} | {len(rows)} | {' | '.join(cells)} |")
    lines += ["", "| dimension | clips | yes |", "|---|---|---|"]
    for name in NAMES:
        rows = [(known, made) for known, made in graded if name in made.dimensions]
        if rows:
            yes = _interval([known.id for known, _ in rows], [made.dimensions[name] for _, made in rows])
            lines.append(f"| {name} | {len(rows)} | {yes} |")
    return lines


def _interval(prompts: Sequence[str], values: Sequence[float]) -> str:
    """Return a mean with its interval, "0.512 [0.470, 0.554]"."""
    names = sorted(set(prompts))
    sums = [sum(value for name, value in zip(prompts, values, strict=True) if name == each) for each in names]
    interval = ratio_interval(np.array(sums), np.array([prompts.count(name) for name in names]))
    return f"{np.mean(values):.3f} {interval.shown()}"


@torch.no_grad()
def reconstruct(vae, count: int, noise: float) -> str:
    """Return a line on faithful clips that went through the autoencoder, with noise on their whitened latents."""
    torch.manual_seed(0)
    drawn = list(islice(examples(np.random.default_rng(999), 1.0), count))
    video = to_video(np.stack([each.frames for each in drawn]))
    spread = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    made = []
    for part in video.split(AT_ONCE):
        latents = vae.encode(part).latent_dist.mode()
        made.append(vae.decode(latents + noise * spread * torch.randn_like(latents)).sample)
    error = (torch.cat(made) - video).square().mean().item()
    graded = zip(drawn, to_frames(torch.cat(made)), strict=True)
    right = [grade(each.known.toy_prompt.prompt, frames, WORLD.seconds).correct for each, frames in graded]
    return f"| {noise} | {10 * np.log10(4 / error):.1f} dB | {np.mean(right):.3f} |"


def write_sheet(path: Path, clips: Sequence[tuple[Known, Frames, Grade]]) -> None:
    """Write clips as rows of frames, each with its prompt and grade."""
    from PIL import Image, ImageDraw

    cell, line = 64, 14
    width = WORLD.frames * (cell + 2)
    columns = 2
    rows = -(-len(clips) // columns)
    sheet = Image.new("RGB", (columns * (width + 10), rows * (cell + line + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (known, frames, made) in enumerate(clips):
        left, top = (number % columns) * (width + 10), (number // columns) * (cell + line + 4)
        for column, frame in enumerate(frames):
            image = Image.fromarray(frame).resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(image, (left + column * (cell + 2), top))
        said = "correct" if made.correct else "wrong"
        said += "" if made.coherent else ", incoherent"
        draw.text((left, top + cell), f"{known.id}: {said}", fill="black")
    content = io.BytesIO()
    sheet.save(content, "PNG")
    write_atomic(path, content.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=folder(), help="a WanPipeline folder")
    parser.add_argument("--splits", nargs="+", default=["heldout", "train"], choices=["heldout", "train"])
    parser.add_argument("--clips", type=int, default=512, help="clips of each split, spread evenly over its prompts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=SAMPLING["num_inference_steps"])
    parser.add_argument("--guidance", type=float, default=SAMPLING["guidance_scale"])
    parser.add_argument("--out", type=Path, help="JSON with every clip's grade")
    parser.add_argument("--sheet", type=Path, help="PNG with 32 clips of each split")
    parser.add_argument("--autoencoder", action="store_true", help="also say how well faithful clips are reconstructed")
    options = parser.parse_args()
    from diffusers import WanPipeline

    torch.set_num_threads(1)
    pipeline = WanPipeline.from_pretrained(options.generator)
    pipeline.set_progress_bar_config(disable=True)
    if options.autoencoder:
        print("| noise on the latents | PSNR | correct |", "|---|---|---|", sep="\n")
        for noise in (0.0, 0.2, 0.4):
            print(reconstruct(pipeline.vae, options.clips, noise))
    record, shown = [], []
    for name in options.splits:
        known = split(name)
        prompts = [known[i * len(known) // options.clips % len(known)] for i in range(options.clips)]
        settings = {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
        started = time.perf_counter()
        clips = list(sample(pipeline, prompts, options.seed, **settings))
        seconds = time.perf_counter() - started
        grades = [
            grade(each.toy_prompt.prompt, frames, WORLD.seconds) for each, frames in zip(prompts, clips, strict=True)
        ]
        print(f"\n{name}: {len(known)} prompts, {1000 * seconds / len(clips):.0f} ms a clip\n")
        print("\n".join(table(list(zip(prompts, grades, strict=True)))))
        for each, made in zip(prompts, grades, strict=True):
            record.append(
                {
                    "split": name,
                    "prompt_id": each.id,
                    "object": made.object,
                    "coherent": made.coherent,
                    "correct": made.correct,
                    "dimensions": dict(made.dimensions),
                }
            )
        order = np.random.default_rng(0).permutation(len(clips))[:32]
        shown += [(prompts[i], clips[i], grades[i]) for i in sorted(order)]
    if options.out:
        write_atomic(options.out, json.dumps(record))
    if options.sheet:
        write_sheet(options.sheet, shown)


if __name__ == "__main__":
    main()
