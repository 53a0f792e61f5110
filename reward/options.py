"""How to load and run a critic, as a verb's options and as an argument of `RewardModel.from_pretrained`."""

from typing import Annotated, Literal

import pydantic

from reward.config import config

Sharing = Literal["packed", "expanded", "separate"]
Positive = Annotated[int, pydantic.Field(ge=1)]


@config
class LoadOptions:
    """None leaves a choice to the critic and the machine."""

    device: str = "auto"
    """auto (cuda, then mps, then cpu), or a torch device such as cuda:1."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; auto is bfloat16 on cuda, float32 elsewhere."""
    attn_implementation: str | None = None
    """Attention kernel of transformers: sdpa (default), eager, flash_attention_2, ..."""
    sharing: Sharing | None = None
    """How the questions of a video share its prefix; by default packed where the kernel takes masks, else expanded."""
    batch_size: Positive | None = None
    """Videos at once; halved when memory does not suffice."""
    revision: str | None = None
    """Branch, tag or commit of a critic on the hub."""
    num_frames: Positive | None = None
    """Frames per video instead of the critic's own number. A calibrated critic refuses it."""
    video_fps: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Frames per second instead of a fixed number, at most num_frames of them."""
    max_pixels: Positive | None = None
    """Pixels of a resized frame instead of the critic's own limit. A calibrated critic refuses it."""
