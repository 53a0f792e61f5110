"""From decoded frames to rewards, in memory: what a critic would see of the video file, without the file."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reward.arrays import clip_from_frames
from reward.dimensions import NAMES
from reward.model import Reward, RewardModel
from reward.one_by_one import score_or_why
from reward.prompts import Prompt


def score_clips(
    model: RewardModel, videos: Sequence[NDArray[np.uint8]], prompts: Sequence[Prompt], fps: float
) -> list[Reward | str]:
    """Return the reward of each video (T, H, W, 3), or why it has none."""
    clips = [clip_from_frames(video, fps, model.critic.sampling) for video in videos]
    return score_or_why(model, clips, prompts)


def scalar(reward: Reward | str) -> float:
    """Return the reward as a number, NaN where there is none."""
    return math.nan if isinstance(reward, str) else reward.scalar


def by_dimension(rewards: Sequence[Reward | str], stds: bool = False) -> NDArray[np.float64]:
    """Return the dimensions (N, 10) of rewards, or their standard deviations; NaN where there is none."""
    missing = dict.fromkeys(NAMES, math.nan)
    rows = [missing if isinstance(each, str) else each.stds if stds else each.dimensions for each in rewards]
    return np.array([[row[name] for name in NAMES] for row in rows]).reshape(-1, len(NAMES))


def dimension_means(rewards: Sequence[Reward | str]) -> dict[str, float]:
    """Return the mean of each dimension that any reward has."""
    table = by_dimension(rewards)
    return {
        name: float(np.nanmean(column))
        for name, column in zip(NAMES, table.T, strict=True)
        if np.isfinite(column).any()
    }
