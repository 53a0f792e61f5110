"""Options that verbs share: how to load and run a critic (also `RewardModel.from_pretrained`'s), and which videos."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from reward.config import config
from reward.errors import InputError

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


@config
class VideoOptions:
    """Which videos, for which prompts, and which part of them."""

    prompts: Path
    """Prompt file: VideoVerse's JSON, JSONL, or plain text with one prompt a line."""
    videos: Path | None = None
    """Folder of videos; with --manifest the folder that its paths are relative to."""
    manifest: Path | None = None
    """JSONL file of {"prompt_id", "video", "generator"?} instead of a folder."""
    num_shards: Positive = 1
    """Split the prompts over so many runs of this command."""
    shard_index: Annotated[int, pydantic.Field(ge=0)] = 0
    """Which part this run does, from 0."""

    @property
    def videos_folder(self) -> Path:
        """The folder that video paths are relative to; InputError if neither --videos nor --manifest is given."""
        if self.videos is not None:
            return self.videos
        if self.manifest is None:
            raise InputError("say where the videos are: --videos DIR or --manifest FILE.jsonl")
        return self.manifest.parent

    def check_shard(self) -> None:
        """Raise InputError for a shard beyond the last."""
        if self.shard_index >= self.num_shards:
            raise InputError(f"--shard_index {self.shard_index} must be below --num_shards {self.num_shards}")
