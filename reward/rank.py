"""Pick the best of N videos per prompt by their reward, and say what picking bought.

Writes one row per prompt (the best video, all candidates in order, margin, ties), beside it `<out>.summary.json` with
the best-of-n curve for every n and `<out>.curve.svg`, its picture. A reward is not the truth: the best of many noisy
ones is partly luck. The curve is therefore also given corrected for that, taking reward_std for noise that is
independent between candidates. Where the critic is so well calibrated that its reward already is the mean of its
doubt, nothing needs correcting and the uncorrected curve is the right one.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from reward.choice import Choice, choose
from reward.config import config, save_run
from reward.copying import copy_winners, plan_copies, scored_folder
from reward.curve import NO_STD, CurvePoint, best_of_n_curve
from reward.curve_svg import curve_svg
from reward.files import check_outputs, write_atomic, write_json, write_jsonl
from reward.scores import load_scores
from reward.tables import shown, text_table


@config
class Config:
    """Options of `worldcritic rank`."""

    scores: Path
    """Score file, as `worldcritic score` writes it: one row per video, all by one critic."""
    out: Path
    """Rows to write, one per prompt (JSONL)."""
    lower_bound: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Rank by reward - K * reward_std: above 0, a doubtful high reward gives way to a sure one."""
    copy_to: Path | None = None
    """Copy each prompt's best video here, as <prompt id><suffix>."""
    videos: Path | None = None
    """Folder that the score file's video paths are relative to, for --copy_to; by default the one that was scored."""
    resamples: Annotated[int, Field(ge=1000, le=1_000_000)] = 2000
    """Bootstrap resamples of the prompts for the intervals of the curve."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the bootstrap."""
    overwrite: bool = False
    """Replace outputs that exist."""


def main(config: Config) -> int:
    """Run the verb; returns 3 where a prompt has no candidate with a reward, else 0."""
    rows = load_scores(config.scores)
    summary_path, picture_path = (
        config.out.with_name(config.out.name + end) for end in (".summary.json", ".curve.svg")
    )
    run_path = config.out.with_name(config.out.name + ".run.json")
    check_outputs([config.out, summary_path, picture_path, run_path], [config.scores], config.overwrite)
    choices, tau2 = choose(rows, config.lower_bound)
    copies = plan_copies(
        [choice.best for choice in choices if choice.best],
        config.videos or scored_folder(config.scores),
        config.copy_to,
        config.overwrite,
    )
    pools = [choice.pool for choice in choices if choice.candidates]
    points = best_of_n_curve(pools, config.lower_bound, tau2, config.resamples, config.seed) if pools else []
    summary = _summary(config, choices, points, tau2)
    copy_winners(copies)
    write_jsonl(config.out, [choice.to_json(config.lower_bound) for choice in choices])
    write_json(summary_path, summary)
    if len(points) > 1:
        write_atomic(picture_path, curve_svg(points, f"Best of n, {points[0].num_prompts} prompts"))
    else:
        picture_path.unlink(missing_ok=True)
    save_run(config, config.out, {"scores": config.scores})
    print(_table(choices))
    _print_curve(points)
    _print_summary(summary, picture_path if len(points) > 1 else None, len(copies), config.copy_to)
    return 0 if all(choice.best for choice in choices) else 3


def _summary(config: Config, choices: list[Choice], points: list[CurvePoint], tau2: float | None) -> dict[str, Any]:
    gains = [choice.gain for choice in choices if choice.candidates]
    true_gains = [choice.expected_true[0] - choice.expected_true.mean() for choice in choices if choice.candidates]
    critics = [choice.best.critic for choice in choices if choice.best]
    return {
        "prompts": len(choices),
        "prompts_without_candidate": [choice.prompt_id for choice in choices if not choice.candidates],
        "videos": sum(len(choice.candidates) + len(choice.failed) for choice in choices),
        "videos_failed": sum(len(choice.failed) for choice in choices),
        "prompts_tied": [choice.prompt_id for choice in choices if choice.tied_with],
        "lower_bound_k": config.lower_bound,
        "gain": float(np.mean(gains)) if gains else None,
        "true_gain": float(np.mean(true_gains)) if gains and tau2 is not None else None,
        "true_gain_reason": _true_gain_reason(choices, tau2),
        "between_candidate_std": None if tau2 is None else float(np.sqrt(tau2)),
        "curve": [_point(point) for point in points],
        "critic": critics[0] if critics else None,
    }


def _true_gain_reason(choices: list[Choice], tau2: float | None) -> str | None:
    """Say why there is no corrected gain, or why it is zero."""
    if tau2 is None:
        return NO_STD
    most = max(len(choice.candidates) for choice in choices)
    if most == 0:
        return "no candidate has a reward"
    return "the rewards of a prompt differ no more than their reward_std explains" if tau2 == 0 and most > 1 else None


def _point(point: CurvePoint) -> Mapping[str, Any]:
    return {
        "n": point.n,
        "prompts": point.num_prompts,
        "reward": point.reward,
        "reward_interval": point.reward_interval.to_json(),
        "gain": point.gain,
        "gain_interval": point.gain_interval.to_json(),
        "true_gain": point.true_gain,
        "true_gain_interval": point.true_gain_interval.to_json(),
    }


def _table(choices: list[Choice]) -> str:
    rows = []
    for choice in choices:
        best = choice.best
        count = f"{len(choice.candidates)}" + (f" (+{len(choice.failed)} failed)" if choice.failed else "")
        reward = f"{best.reward:.3f} ± {shown(best.reward_std)}" if best else "-"
        name = f"{best.video}{' (tied)' if choice.tied_with else ''}" if best else "none has a reward"
        rows.append([choice.prompt_id, name, reward, count, shown(choice.gain, sign=True)])
    return text_table(["prompt", "best", "reward", "candidates", "over mean"], rows, left=2)


def _print_curve(points: list[CurvePoint]) -> None:
    rows = [
        [
            str(point.n),
            str(point.num_prompts),
            shown(point.reward),
            point.reward_interval.shown(),
            shown(point.gain, sign=True),
            shown(point.true_gain, sign=True),
        ]
        for point in points
    ]
    if rows:
        print("\n" + text_table(["best of", "prompts", "reward", "95% interval", "gain", "corrected"], rows, left=0))


def _print_summary(summary: Mapping[str, Any], picture: Path | None, copied: int, folder: Path | None) -> None:
    lines = [
        f"{summary['videos'] - summary['videos_failed']} of {summary['videos']} videos have a reward; "
        f"{len(summary['prompts_without_candidate'])} of {summary['prompts']} prompts have no candidate, "
        f"{len(summary['prompts_tied'])} have a tie for the best",
        f"gain over the mean: {shown(summary['gain'], 4, sign=True)} if the critic is calibrated, "
        f"{shown(summary['true_gain'], 4, sign=True)} if reward_std is noise of each reward"
        + (f" ({summary['true_gain_reason']})" if summary["true_gain_reason"] else ""),
        f"curve: {picture}" if picture else "no curve picture: no prompt has two scored candidates",
    ]
    if folder is not None:
        lines.append(f"{copied} videos copied to {folder}")
    print("\n".join(lines), file=sys.stderr)
