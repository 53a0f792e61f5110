"""Before and after: the same prompts' videos side by side, and by how much the mean reward changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reward.errors import InputError
from reward.files import check_id, inside, read_jsonl
from reward.page.scored import Scored, by_prompt, load_scored
from reward.page.training import sampled_steps
from reward.page.videos import Page, Video
from reward.scores import refuse_mixed_critics
from reward.statistics import Interval, mean_intervals


@dataclass(frozen=True)
class Shown:
    """One video, with its reward (None where there is none)."""

    video: Video
    reward: float | None


@dataclass(frozen=True)
class Change:
    """One prompt's example."""

    prompt_id: str
    text: str | None
    before: Shown
    after: Shown


@dataclass(frozen=True)
class ChangesSection:
    """The means over prompts, their paired change with its interval, and how many prompts rose and fell.

    `source` names what is compared, `measure` what the rewards are.
    """

    source: str
    measure: str
    prompts: int
    before: float
    after: float
    interval: Interval
    rose: int
    fell: int
    examples: Sequence[Change]


Clips = dict[str, list[tuple[str, Path, float | None]]]
"""By prompt id: name, path and reward of each clip."""


def changes_of_scores(before: Path, after: Path, page: Page) -> ChangesSection:
    """Compare two score files of one critic; InputError where two critics wrote them or they share no prompt."""
    groups = [load_scored([path], [], None, None) for path in (before, after)]
    refuse_mixed_critics([each.row for group in groups for each in group])
    source = f"{before.name} against {after.name}"
    return _section(source, "reward", _clips(groups[0]), _clips(groups[1]), page)


def changes_of_run(run: Path, page: Page) -> ChangesSection | None:
    """Compare a training run's first and last held-out samples, by its judge if it has one; None without two."""
    steps = sampled_steps(run)
    if len(steps) < 2:
        return None
    (first, before), (last, after) = steps[0], steps[-1]
    rows = [_sample_rows(folder) for folder in (before, after)]
    measure = "judge" if all("judge" in row for row in rows[1]) else "reward"
    clips = [_sampled(each, folder, measure) for each, folder in zip(rows, (before, after), strict=True)]
    name = "held-out judge" if measure == "judge" else "train critic"
    return _section(f"step {first} against step {last}", name, clips[0], clips[1], page)


def _sample_rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "scores.jsonl"
    rows = []
    for number, row in read_jsonl(path, "scores of samples"):
        if not isinstance(row.get("number"), int):
            raise InputError(f"{path}:{number}: field 'number' must be a whole number")
        check_id(row.get("prompt_id"), f"{path}:{number}")
        rows.append(row)
    return rows


def _sampled(rows: Sequence[Mapping[str, Any]], folder: Path, measure: str) -> Clips:
    clips: Clips = {}
    for row in rows:
        name = f"{row['prompt_id']}/{row['number']:03d}.mp4"
        clip = (name, inside(folder, name, str(folder)), row.get(measure))
        clips.setdefault(row["prompt_id"], []).append(clip)
    return clips


def _clips(found: Sequence[Scored]) -> Clips:
    return {
        name: [(each.row.video, each.path, each.row.reward if each.row.scored else None) for each in group]
        for name, group in by_prompt(found).items()
    }


def _section(source: str, measure: str, before: Clips, after: Clips, page: Page) -> ChangesSection:
    """Take the prompts that both have; a prompt without a reward on either side is shown, not counted."""
    shared = [name for name in before if name in after]
    if not shared:
        raise InputError(f"{source}: no prompt is in both, so there is nothing to compare")
    means = [(_mean(before[name]), _mean(after[name])) for name in shared]
    known = np.array([(a, b) for a, b in means if a is not None and b is not None], float).reshape(-1, 2)
    if not len(known):
        raise InputError(f"{source}: no prompt has a reward on both sides, so there is nothing to compare")
    change = known[:, 1] - known[:, 0]
    return ChangesSection(
        source,
        measure,
        len(known),
        float(known[:, 0].mean()),
        float(known[:, 1].mean()),
        mean_intervals(change[:, None])[0],
        int((change > 0).sum()),
        int((change < 0).sum()),
        [_example(name, before[name], after[name], page) for name in shared[: page.examples]],
    )


def _mean(clips: Sequence[tuple[str, Path, float | None]]) -> float | None:
    known = [reward for _, _, reward in clips if reward is not None]
    return float(np.mean(known)) if known else None


def _example(
    name: str,
    before: Sequence[tuple[str, Path, float | None]],
    after: Sequence[tuple[str, Path, float | None]],
    page: Page,
) -> Change:
    """Show the first video that has the same name on both sides, else the first of each: nothing is picked."""
    by_name = {clip[0]: clip for clip in after}
    first = next((clip for clip in before if clip[0] in by_name), before[0])
    sides = (first, by_name.get(first[0], after[0]))
    shown = [Shown(page.videos.show(path, label), reward) for label, path, reward in sides]
    prompt = page.prompts.get(name)
    return Change(name, prompt.text if prompt else None, shown[0], shown[1])
