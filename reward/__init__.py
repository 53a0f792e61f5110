"""A critic as a reward: prompts, video, questions, critic, calibration, ranking and evaluation.

The names below load on first use, so that `import reward` costs nothing and needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward.answers import Answer, Critic, Judgement, Order
    from reward.calibration import Calibration
    from reward.errors import CriticError, InputError, VideoError, WorldcriticError
    from reward.fake import FakeCritic
    from reward.model import Reward, RewardModel
    from reward.options import LoadOptions
    from reward.prompts import Check, Prompt, load_prompts
    from reward.video import Clip, FrameSampling, read_video, write_video

_HOMES = {
    "reward.answers": ("Answer", "Critic", "Judgement", "Order"),
    "reward.calibration": ("Calibration",),
    "reward.errors": ("CriticError", "InputError", "VideoError", "WorldcriticError"),
    "reward.fake": ("FakeCritic",),
    "reward.model": ("Reward", "RewardModel"),
    "reward.options": ("LoadOptions",),
    "reward.prompts": ("Check", "Prompt", "load_prompts"),
    "reward.video": ("Clip", "FrameSampling", "read_video", "write_video"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "Calibration",
    "Check",
    "Clip",
    "Critic",
    "CriticError",
    "FakeCritic",
    "FrameSampling",
    "InputError",
    "Judgement",
    "LoadOptions",
    "Order",
    "Prompt",
    "Reward",
    "RewardModel",
    "VideoError",
    "WorldcriticError",
    "load_prompts",
    "read_video",
    "write_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
