"""Pairs from a score file: its rows by prompt, mined under the rules, with the prompts' texts and the videos found."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reward.copying import scored_folder, scored_video
from reward.errors import InputError
from reward.files import existing, inside, read_json, sha256_file
from reward.found_pairs import Found
from reward.pairs import Clip, Mined, Pair, PairOptions, mine_prompt
from reward.preference_pairs import PreferencePair, Side
from reward.progress import Progress
from reward.prompts import Prompt, load_prompts
from reward.scores import ScoreRow, load_scores


def from_scores(
    scores: Path,
    options: PairOptions,
    *,
    prompts: Path | None = None,
    videos: Path | None = None,
    limit: int | None = None,
    check_videos: bool = True,
) -> Found:
    """Mine a score file; `prompts` and `videos` default to what its run record names.

    With `check_videos` every video of a pair must be there with the bytes that were scored. Raises InputError for a
    prompt that is not in the prompt file, or is there with other questions than were scored.
    """
    rows = load_scores(scores)
    prompt_file = existing(prompts or _recorded_prompts(scores), "prompt file")
    texts = load_prompts(prompt_file)
    folder = existing(videos or scored_folder(scores), "videos folder")
    by_prompt: dict[str, list[ScoreRow]] = {}
    for row in rows:
        _check_prompt(row, texts, prompt_file)
        by_prompt.setdefault(row.prompt_id, []).append(row)
    taken = list(by_prompt)[:limit]
    mined = {name: mine_prompt(_with_hashes(by_prompt[name], folder), options) for name in taken}
    used = [pair for each in mined.values() for pair in (*each.pairs, *each.ties)]
    sides = _sides([clip for pair in used for clip in (pair.chosen, pair.rejected)], folder, check_videos)

    def record(name: str, pair: Pair) -> PreferencePair:
        chosen, rejected = (sides[id(clip.row)] for clip in (pair.chosen, pair.rejected))
        return PreferencePair(
            name, texts[name].text, chosen, rejected, pair.probability, pair.margin, options.rule, options.dimension
        )

    return Found(
        pairs=[record(name, pair) for name, each in mined.items() for pair in each.pairs],
        ties=[record(name, pair) for name, each in mined.items() for pair in each.ties],
        num_compared=sum(each.num_clips * (each.num_clips - 1) // 2 for each in mined.values()),
        rejected=sum((each.rejected for each in mined.values()), Counter()),
        inputs={"scores": scores, "prompts": prompt_file},
        facts=_facts(by_prompt, mined),
    )


def _recorded_prompts(scores: Path) -> Path:
    run = scores.with_name(scores.name + ".run.json")
    record = read_json(run, "run record") if run.exists() else {}
    try:
        return Path(record["inputs"]["prompts"]["path"])
    except (KeyError, TypeError):
        raise InputError(f"{scores}: no run record beside it names the prompt file; give --prompts") from None


def _check_prompt(row: ScoreRow, prompts: Mapping[str, Prompt], path: Path) -> None:
    if row.prompt_id not in prompts:
        raise InputError(f"{row.where}: prompt id {row.prompt_id!r} is not in the prompt file {path}")
    if row.prompt_sha256 is not None:
        from reward.scoring import prompt_hash

        if row.prompt_sha256 != prompt_hash(prompts[row.prompt_id]):
            raise InputError(
                f"{row.where}: prompt {row.prompt_id!r} of {path} is not what was scored; give the prompt file that "
                "was, or score again"
            )


def _with_hashes(rows: Sequence[ScoreRow], folder: Path) -> list[ScoreRow]:
    """Return the rows with the SHA-256 of their video where they have a reward but name none."""
    return [
        dataclasses.replace(row, sha256=sha256_file(scored_video(row, folder)))
        if row.scored and not row.sha256
        else row
        for row in rows
    ]


def _sides(clips: Sequence[Clip], folder: Path, check: bool) -> dict[int, Side]:
    """Return each clip's side by the identity of its row, every video found and its bytes compared once."""
    distinct = {id(clip.row): clip for clip in clips}
    sides = {}
    with Progress(len(distinct), "checking videos", quiet=not check) as progress:
        for key, clip in distinct.items():
            row = clip.row
            path = scored_video(row, folder) if check else inside(folder, row.video, row.where)
            sides[key] = Side(
                row.video, path, row.sha256 or "", row.reward, row.reward_std, clip.motion, row.dimensions,
                row.dimension_stds,
            )  # fmt: skip
            progress.advance()
    return sides


def _facts(by_prompt: Mapping[str, Sequence[ScoreRow]], mined: Mapping[str, Mined]) -> dict[str, Any]:
    unused = [(row, reason) for each in mined.values() for row, reason in each.unused]
    rows = [row for name in mined for row in by_prompt[name]]
    return {
        "prompts": len(mined),
        "prompts_with_one_video": sum(each.num_clips == 1 for each in mined.values()),
        "videos": len(rows),
        "videos_gated": sum(bool(row.gates and row.gates.closed) for row in rows),
        "videos_unused": dict(Counter(reason for _, reason in unused).most_common()),
        "unused": [
            {"prompt_id": row.prompt_id, "video": row.video, "reason": reason, "error": row.error}
            for row, reason in unused
        ],
        "critic": next((row.critic for row in rows if row.scored), None),
    }
