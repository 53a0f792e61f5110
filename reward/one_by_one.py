"""Scoring a batch so that a clip which cannot be judged costs its own reward only."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reward.errors import CriticError, VideoError
from reward.prompts import Prompt

if TYPE_CHECKING:
    from reward.model import Reward, RewardModel
    from reward.video import Clip


def score_or_why(model: "RewardModel", clips: "Sequence[Clip]", prompts: Sequence[Prompt]) -> "list[Reward | str]":
    """Return the reward of each clip, or why it has none; if the batch fails, the clips are scored one by one."""
    if not clips:
        return []
    try:
        return list(model.score(clips, prompts))
    except (VideoError, CriticError) as error:
        if len(clips) == 1:
            return [str(error)]
        return [score_or_why(model, [clip], [prompt])[0] for clip, prompt in zip(clips, prompts, strict=True)]


def why_missing(reward: "Reward | str") -> str | None:
    """Return why a clip has no reward, None if it has one."""
    if isinstance(reward, str):
        return reward
    return ("; ".join(reward.unanswered) or "the prompt asks nothing") if math.isnan(reward.scalar) else None
