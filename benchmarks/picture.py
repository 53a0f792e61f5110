"""Draw the README's picture from a finished `worldcritic demo`: clips before and after NFT, and the oracle's counts.

    python benchmarks/picture.py --demo demo --out docs/loop.png

The clips are from the same noise and held-out prompts. Shown is one per kind of prompt whose first clip was wrong and
became right; how many did not is in the bars beside them.
"""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import tyro

matplotlib.use("Agg")
from matplotlib import pyplot

from reward.prompts import load_prompts
from reward.scores import ScoreRow, load_scores
from reward.video import read_video

FRAMES, KINDS = 6, ("two_moves", "duo", "bounce", "move", "drop", "rise")


@dataclass(frozen=True)
class Options:
    """Options of the picture."""

    demo: Path = Path("demo")
    """Folder of a finished demo."""
    out: Path = Path("docs/loop.png")
    """Picture to write."""


def rows_by_prompt(path: Path) -> dict[str, ScoreRow]:
    """Return each prompt's first clip."""
    found: dict[str, ScoreRow] = {}
    for row in sorted(load_scores(path), key=lambda row: row.video):
        found.setdefault(row.prompt_id, row)
    return found


def chosen(before: dict[str, ScoreRow], after: dict[str, ScoreRow]) -> list[str]:
    """Return for each kind the first prompt whose clip was wrong and is right."""
    mended = [name for name in before if before[name].reward < 1 <= round(after[name].reward, 6)]
    first = {name.partition("-")[0]: name for name in reversed(mended)}
    return [first[kind] for kind in KINDS if kind in first][:3]


def strip(axes: pyplot.Axes, video: Path, label: str, reward: float, colour: str) -> None:
    """Draw some frames of a clip side by side."""
    frames = read_video(video).frames
    picks = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]
    gap = np.full((frames.shape[1], 2, 3), 255, np.uint8)
    axes.imshow(
        np.concatenate([part for frame in picks for part in (frame, gap)][:-1], axis=1), interpolation="nearest"
    )
    axes.set_axis_off()
    axes.text(-3, frames.shape[1] / 2, f"{label}\n{reward:.2f}", ha="right", va="center", fontsize=10, color=colour)


def main(options: Options) -> None:
    """Draw."""
    demo = options.demo
    prompts = load_prompts(demo / "prompts-heldout.json")
    before, after = (rows_by_prompt(demo / f"oracle-{name}.jsonl") for name in ("base", "after-nft"))
    figure = pyplot.figure(figsize=(11, 6.2), layout="constrained", facecolor="white")
    left, right = figure.subfigures(1, 2, width_ratios=(1.7, 1))
    names = chosen(before, after)
    grid = left.subplots(2 * len(names), 1)
    for place, name in enumerate(names):
        top, bottom = grid[2 * place], grid[2 * place + 1]
        strip(top, demo / "base" / before[name].video, "before", before[name].reward, "#9b2226")
        strip(bottom, demo / "after-nft" / after[name].video, "after NFT", after[name].reward, "#2a6f97")
        top.set_title("\n".join(textwrap.wrap(prompts[name].text, 84)), fontsize=8.5, loc="left")
    lines = json.loads((demo / "table.json").read_text())
    axes = right.subplots()
    for place, line in enumerate(lines):
        axes.barh(place, line["correct"], color="#8a8a8a" if place == 0 else "#2a6f97", height=0.6)
        ends = [line["correct_interval"][end] for end in ("low", "high")]
        if None not in ends:
            axes.plot(ends, [place, place], color="black", linewidth=1.5)
        axes.text(0.02, place, f"{line['correct']:.0%}", va="center", color="white", fontsize=11)
    axes.set_yticks(range(len(lines)), [line["name"].replace(", ", ",\n") for line in lines], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("clips of held-out prompts that the oracle\nfinds right in everything, 95% interval", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__, use_underscores=True))
