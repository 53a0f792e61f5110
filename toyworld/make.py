"""Make videos with known truth: prompts in VideoVerse's form, clips that follow them or not, and the right answers.

Writes videos/PROMPT_ID.mp4 (with --candidates above 1: videos/PROMPT_ID/c00.mp4 ...), prompts.json and truth.jsonl.
Any one thing differs from what the prompt asks in half of the clips. The same seed gives the same prompts, truth
and scenes, at any size and length of the clips.
"""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from reward.config import config as verb_config
from reward.config import save_run
from reward.dimensions import EVENT_FOLLOWING, NAMES
from reward.errors import InputError
from reward.files import write_json, write_jsonl, writing
from reward.progress import Progress
from toyworld.draw import Drawn, answers_by_dimension, draw
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
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] = "toy"
    """Prompt ids are <prefix>-000000, ...: another prefix for each set keeps training and test prompts apart."""
    absent: Annotated[int, Field(ge=0, le=20)] = 0
    """Further questions per prompt about things that are not in its clips; their answer is No."""
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
        _remove_earlier(config.out, config.prefix)
        rows = _write_clips(config, world)
        prompts = {row.drawn.toy_prompt.prompt.id: row.drawn.toy_prompt.prompt for row in rows}
        write_json(config.out / PROMPTS, {name: prompt.to_videoverse() for name, prompt in prompts.items()})
        if config.contact_sheet:
            from toyworld.sheet import write_contact_sheet

            shown = [(row.drawn.toy_prompt, row.drawn.clip) for row in rows[: config.contact_sheet]]
            write_contact_sheet(config.out / SHEET, world, shown)
        write_jsonl(config.out / TRUTH, (row.truth for row in rows))
        save_run(config, config.out / TRUTH, {})
    print(_summary(rows), file=sys.stderr)
    print(f"{len(rows)} clips of {len(prompts)} prompts in {config.out}", file=sys.stderr)


@dataclass(frozen=True)
class Row:
    """A clip that was written, and its path inside the folder."""

    drawn: Drawn
    video: str

    @property
    def truth(self) -> dict[str, Any]:
        """The line of truth.jsonl."""
        clip = self.drawn.clip
        answers = {"checks": list(clip.checks), "order": clip.order}
        return {"prompt_id": self.drawn.toy_prompt.prompt.id, "video": self.video, **answers}


def _write_clips(config: Config, world: World) -> list[Row]:
    from reward.video import write_video

    rows = []
    with Progress(config.num * config.candidates, "making clips") as progress:
        for drawn in draw(config.num, config.seed, config.candidates, config.prefix, config.absent):
            identifier = drawn.toy_prompt.prompt.id
            name = f"{identifier}.mp4" if config.candidates == 1 else f"{identifier}/c{drawn.candidate:02d}.mp4"
            path = config.out / VIDEOS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, world.render(drawn.clip.scene), config.fps, crf=config.crf)
            rows.append(Row(drawn, f"{VIDEOS}/{name}"))
            progress.advance()
    return rows


def _check_folder(config: Config) -> None:
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"--out {config.out} is a file; give a folder")
    lock = f".{TRUTH}.lock"
    if not config.overwrite and config.out.exists() and any(path.name != lock for path in config.out.iterdir()):
        raise InputError(f"--out {config.out} is not empty; choose another folder or add --overwrite")


def _remove_earlier(out: Path, prefix: str) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    for name in (PROMPTS, TRUTH, f"{TRUTH}.run.json", SHEET):
        (out / name).unlink(missing_ok=True)
    own = re.compile(rf"{re.escape(prefix)}-\d{{6}}(\.mp4)?")
    for path in (out / VIDEOS).glob(f"{prefix}-*"):
        if own.fullmatch(path.name):
            if path.is_dir():
                for clip in path.glob("c[0-9][0-9].mp4"):
                    clip.unlink()
                if not any(path.iterdir()):
                    path.rmdir()
            else:
                path.unlink()


def _summary(rows: Sequence[Row]) -> str:
    """Return the table of how often each dimension's questions are Yes, and the order is as asked."""
    asked: Counter[str] = Counter()
    surplus: Counter[str] = Counter()
    for row in rows:
        prompt = row.drawn.toy_prompt.prompt
        asked.update(check.dimension for check in prompt.checks)
        asked[EVENT_FOLLOWING] += bool(prompt.events)
        surplus.update(answers_by_dimension(row.drawn.toy_prompt, row.drawn.clip))
    lines = [f"{'dimension':<24} {'asked':>6} {'yes':>6}"]
    for name in NAMES:
        rate = f"{(asked[name] + surplus[name]) / (2 * asked[name]):.2f}" if asked[name] else "-"
        lines.append(f"{name:<24} {asked[name]:>6} {rate:>6}")
    return "\n".join(lines)
