"""Make videos with known truth: prompts in VideoVerse's form, clips that follow them or not, and the right answers.

Writes videos/PROMPT_ID.mp4 (with --candidates above 1: videos/PROMPT_ID/c00.mp4 ...), prompts.json and truth.jsonl.
In about half of the clips any one thing differs from what the prompt asks. The same seed gives the same prompts, truth
and scenes, at any size and length of the clips.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from reward.config import config as verb_config
from reward.config import save_run
from reward.dimensions import EVENT_FOLLOWING, NAMES
from reward.errors import InputError
from reward.files import write_json, write_jsonl, writing
from reward.progress import Progress
from toyworld.clips import ToyClip, sample_clip
from toyworld.plan import ToyPrompt
from toyworld.questions import letters
from toyworld.stories import sample_prompt
from toyworld.world import World

PROMPTS, TRUTH, SHEET, VIDEOS = "prompts.json", "truth.jsonl", "contact_sheet.png", "videos"


@verb_config
class Config:
    """What `worldcritic toyworld` makes."""

    out: Path
    """Folder to write to; it must be new or empty unless --overwrite."""
    num: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Number of prompts."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of all that is drawn."""
    size: Annotated[int, Field(ge=24, le=1024, multiple_of=2)] = 64
    """Width and height of the clips in pixels; even."""
    frames: Annotated[int, Field(ge=5, le=1024)] = 16
    """Frames of a clip. A story fills its clip, however long."""
    fps: Annotated[float, Field(gt=0, le=240)] = 8.0
    """Frames per second."""
    candidates: Annotated[int, Field(ge=1, le=100)] = 1
    """Clips per prompt, each with its own draw of what differs from the prompt."""
    crf: Annotated[int, Field(ge=0, le=51)] = 18
    """H.264 quality: 0 is lossless, higher is smaller."""
    contact_sheet: Annotated[int, Field(ge=0, le=200)] = 0
    """Also write contact_sheet.png: this many clips with their prompts, questions and answers, to look at."""
    overwrite: bool = False
    """Replace what an earlier run of this verb wrote to --out; other files there stay."""


def main(config: Config) -> None:
    """Make the folder."""
    world = World(config.size, config.frames, config.fps)
    _check_folder(config)
    with writing(config.out / TRUTH):
        _remove_earlier(config.out)
        prompts, rows = _write_clips(config, world)
        write_json(config.out / PROMPTS, {toy.prompt.id: toy.prompt.to_videoverse() for toy in prompts})
        if config.contact_sheet:
            from toyworld.sheet import write_contact_sheet

            shown = [(toy, clip) for toy in prompts for _, clip in draw_clips(toy, config.seed, config.candidates)]
            write_contact_sheet(config.out / SHEET, world, shown[: config.contact_sheet])
        write_jsonl(config.out / TRUTH, rows)
        save_run(config, config.out / TRUTH, {})
    print(_summary(prompts, rows), file=sys.stderr)
    print(f"{len(rows)} clips of {len(prompts)} prompts in {config.out}", file=sys.stderr)


def draw_prompts(num: int, seed: int) -> Iterator[ToyPrompt]:
    """Draw the prompts toy-000000, toy-000001, ... of a seed; the first ones are the same whatever `num`."""
    for index in range(num):
        yield sample_prompt(np.random.default_rng([seed, index]), f"toy-{index:06d}")


def draw_clips(toy_prompt: ToyPrompt, seed: int, candidates: int) -> Iterator[tuple[str, ToyClip]]:
    """Draw the clips of a prompt with their video's path inside the folder; the first is the same for any count."""
    identifier = toy_prompt.prompt.id
    for number in range(candidates):
        name = f"{identifier}.mp4" if candidates == 1 else f"{identifier}/c{number:02d}.mp4"
        rng = np.random.default_rng([seed, int(identifier.removeprefix("toy-")), number + 1])
        yield f"{VIDEOS}/{name}", sample_clip(toy_prompt, rng)


def _write_clips(config: Config, world: World) -> tuple[list[ToyPrompt], list[dict[str, Any]]]:
    from reward.video import write_video

    prompts, rows = [], []
    with Progress(config.num * config.candidates, "making clips") as progress:
        for toy_prompt in draw_prompts(config.num, config.seed):
            prompts.append(toy_prompt)
            for video, clip in draw_clips(toy_prompt, config.seed, config.candidates):
                path = config.out / video
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, world.render(clip.scene), config.fps, crf=config.crf)
                truth = {"checks": list(clip.checks), "order": clip.order}
                rows.append({"prompt_id": toy_prompt.prompt.id, "video": video, **truth})
                progress.advance()
    return prompts, rows


_OWN_VIDEO = re.compile(r"toy-\d{6}(\.mp4)?")


def _check_folder(config: Config) -> None:
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"--out {config.out} is a file; give a folder")
    lock = f".{TRUTH}.lock"
    if not config.overwrite and config.out.exists() and any(path.name != lock for path in config.out.iterdir()):
        raise InputError(f"--out {config.out} is not empty; choose another folder or add --overwrite")


def _remove_earlier(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    for name in (PROMPTS, TRUTH, f"{TRUTH}.run.json", SHEET):
        (out / name).unlink(missing_ok=True)
    for path in (out / VIDEOS).glob("toy-*"):
        if _OWN_VIDEO.fullmatch(path.name):
            if path.is_dir():
                for clip in path.glob("c[0-9][0-9].mp4"):
                    clip.unlink()
                if not any(path.iterdir()):
                    path.rmdir()
            else:
                path.unlink()


def _summary(prompts: list[ToyPrompt], rows: list[dict[str, Any]]) -> str:
    """Return the table of how often each dimension's questions are Yes, and the order is as asked."""
    by_id = {toy.prompt.id: toy.prompt for toy in prompts}
    answers: dict[str, list[bool]] = {name: [] for name in NAMES}
    for row in rows:
        prompt = by_id[row["prompt_id"]]
        if prompt.events:
            answers[EVENT_FOLLOWING].append(row["order"] == letters(len(prompt.events)))
        for check, truth in zip(prompt.checks, row["checks"], strict=True):
            answers[check.dimension].append(truth)
    lines = [f"{'dimension':<24} {'asked':>6} {'yes':>6}"]
    for name, truths in answers.items():
        rate = f"{np.mean(truths):.2f}" if truths else "-"
        lines.append(f"{name:<24} {len(truths):>6} {rate:>6}")
    return "\n".join(lines)
