"""A contact sheet for eyes: clips as rows of frames, with the prompt, the questions and the true answers below."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reward.answers import letters
from reward.files import write_atomic
from toyworld.clips import ToyClip
from toyworld.plan import ToyPrompt
from toyworld.world import World

CELL, COLUMNS, GAP, LINE = 112, 8, 4, 15


def write_contact_sheet(path: Path, world: World, clips: Sequence[tuple[ToyPrompt, ToyClip]]) -> None:
    """Write clips with their prompts, questions and truth as one PNG, eight frames of each."""
    from PIL import Image, ImageDraw

    blocks = [_lines(toy_prompt, clip) for toy_prompt, clip in clips]
    heights = [CELL + GAP + LINE * len(lines) + 2 * LINE for lines in blocks]
    sheet = Image.new("RGB", (COLUMNS * (CELL + GAP) + GAP, sum(heights) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for (_, clip), lines, height in zip(clips, blocks, heights, strict=True):
        shown = np.rint(np.linspace(0, world.frames - 1, COLUMNS)).astype(int)
        for column, frame in enumerate(world.render(clip.scene)[shown]):
            image = Image.fromarray(frame).resize((CELL, CELL), Image.Resampling.NEAREST)
            sheet.paste(image, (GAP + column * (CELL + GAP), top))
        for number, line in enumerate(lines):
            draw.text((GAP, top + CELL + GAP + number * LINE), line, fill="black")
        top += height
    content = io.BytesIO()
    sheet.save(content, "PNG")
    write_atomic(path, content.getvalue())


def _lines(toy_prompt: ToyPrompt, clip: ToyClip) -> list[str]:
    prompt = toy_prompt.prompt
    lines = textwrap.wrap(f"{prompt.id}: {prompt.text}", 150)
    events = [f"{letter}: {text}" for letter, text in zip(letters(len(prompt.events)), prompt.events, strict=True)]
    lines += textwrap.wrap(
        f"Events: {'  '.join(events) or 'none'}   They happen in this order: {clip.order or '-'}", 150
    )
    answers = zip(prompt.checks, clip.checks, strict=True)
    return lines + [f"   {'Yes' if truth else 'No '}   {check.question}" for check, truth in answers]
