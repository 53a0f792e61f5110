"""The embedded critic, `--critic toyworld`: a tiny Qwen3-VL, trained on the toy world, that runs anywhere, offline.

`configs/toyworld/train_critic.sh` makes it from nothing. It knows the toy world's wordings and pictures and nothing
else: what it says of other videos means nothing.
"""

from pathlib import Path

from reward.model import RewardModel
from reward.options import LoadOptions

FOLDER = Path(__file__).parent / "weights" / "critic"
"""Weights, manifest, calibration, what it was trained on, and its model card."""


def embedded(options: LoadOptions) -> RewardModel:
    """Return the embedded reward model."""
    return RewardModel.from_pretrained(FOLDER, options)
