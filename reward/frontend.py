"""Frames to model input for Qwen2.5-VL and Qwen3-VL: resize, patchify, and the token prefix that holds the video.

transformers' own video processors need torchvision and hide resizing and timing. These functions give the same
pixels, tokens and positions; golden files made with the real processors pin that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from reward.errors import CriticError, VideoError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from reward.video import Clip

VIDEO_TOKEN_TYPE = 2
MAX_ASPECT = 200
_SYSTEM = {"qwen2_5_vl": "You are a helpful assistant.", "qwen3_vl": None}
_MEAN = {"qwen2_5_vl": (0.48145466, 0.4578275, 0.40821073), "qwen3_vl": (0.5, 0.5, 0.5)}
_STD = {"qwen2_5_vl": (0.26862954, 0.26130258, 0.27577711), "qwen3_vl": (0.5, 0.5, 0.5)}
FAMILIES = tuple(_SYSTEM)


@dataclass(frozen=True)
class Pixels:
    """Limits on the pixels of one resized frame, and the normalisation of its values in [0, 1]."""

    min_pixels: int
    max_pixels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Prefix:
    """A video as model input, up to where the question begins; P tokens, N patches.

    `positions` is M-RoPE's (3, P); the next text token is at `next_position` in all three. `patches` is
    (N, 3 * temporal_patch * patch * patch) float32 and `grid` its (frames, rows, columns).
    """

    ids: Tensor
    positions: Tensor
    next_position: int
    patches: Tensor
    grid: tuple[int, int, int]


class FrontEnd:
    """Turns clips and texts into the input of one model: its patch size, special tokens and chat format.

    `rope_index` is the model's own `get_rope_index`.
    """

    def __init__(
        self,
        config: "PretrainedConfig",
        tokenizer: "PreTrainedTokenizerBase",
        pixels: Pixels,
        rope_index: Callable[..., tuple[Tensor, Tensor]],
    ) -> None:
        if config.model_type not in FAMILIES:
            raise CriticError(f"model type {config.model_type!r} is not supported; known are {', '.join(FAMILIES)}")
        self.family, self.config, self.tokenizer, self.pixels = config.model_type, config, tokenizer, pixels
        self._rope_index = rope_index
        vision = config.vision_config
        self.patch, self.temporal_patch = int(vision.patch_size), int(vision.temporal_patch_size)
        self.merge = int(vision.spatial_merge_size)
        system = _SYSTEM[self.family]
        self._head = [*self._turn("system", system), *self.control("\n")] if system else []
        self._head += self.control("<|im_start|>user\n")
        self._tail = self.control("<|im_end|>\n<|im_start|>assistant\n")

    @staticmethod
    def default_pixels(family: str, max_pixels: int = 360 * 420, min_pixels: int = 56 * 56) -> Pixels:
        """Return a family's own normalisation with VideoVerse's frame size (360 x 420 pixels) as the limit."""
        return Pixels(min_pixels, max_pixels, _MEAN[family], _STD[family])

    def control(self, text: str) -> list[int]:
        """Return token ids of our own template text, in which `<|im_start|>` and the like are special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def data(self, text: str) -> list[int]:
        """Return token ids of text from outside: what looks like a special token in it stays plain text."""
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def question(self, text: str) -> list[int]:
        """Return the token ids of a question behind the video, up to where the answer begins."""
        return [*self.data(text), *self._tail]

    def prefix(self, clip: "Clip") -> Prefix:
        """Return a clip as model input; frames are repeated at the end to fill the last temporal patch."""
        frames = resize(clip.frames, self.resized_size(clip.frames.shape[1], clip.frames.shape[2]))
        patches, grid = patchify(frames, self.pixels, self.patch, self.merge, self.temporal_patch)
        times = _fill(np.asarray(clip.timestamps, dtype=np.float64), self.temporal_patch)
        ids = torch.tensor([*self._head, *self._video_tokens(grid, times)])
        step = self.temporal_patch * _frame_interval(clip)
        positions, next_position = self._positions(ids, grid, step)
        return Prefix(ids, positions, next_position, patches, grid)

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) that a frame is resized to: multiples of patch * merge within the pixel limits.

        The rule of the families' own `smart_resize`, with limits per frame. Raises VideoError beyond an aspect ratio
        of 200.
        """
        factor = self.patch * self.merge
        if self.family == "qwen3_vl" and min(height, width) < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise VideoError(f"aspect ratio of {width}x{height} is beyond {MAX_ASPECT}")
        rows, columns = (round(side / factor) for side in (height, width))
        if rows * columns * factor**2 > self.pixels.max_pixels:
            shrink = math.sqrt(height * width / self.pixels.max_pixels)
            rows, columns = (max(1, math.floor(side / shrink / factor)) for side in (height, width))
        elif rows * columns * factor**2 < self.pixels.min_pixels:
            grow = math.sqrt(self.pixels.min_pixels / (height * width))
            rows, columns = (math.ceil(side * grow / factor) for side in (height, width))
        return rows * factor, columns * factor

    def _turn(self, role: str, text: str) -> list[int]:
        return self.control(f"<|im_start|>{role}\n{text}<|im_end|>")

    def _video_tokens(self, grid: tuple[int, int, int], times: np.ndarray) -> list[int]:
        start, end = self.config.vision_start_token_id, self.config.vision_end_token_id
        frames, rows, columns = grid
        frame = [self.config.video_token_id] * (rows * columns // self.merge**2)
        if self.family == "qwen2_5_vl":
            return [start, *frame * frames, end]
        spans = times.reshape(frames, self.temporal_patch)
        middles = (spans[:, 0] + spans[:, -1]) / 2
        inner = [token for t in middles for token in (*self.control(f"<{t:.1f} seconds>"), start, *frame, end)]
        return [start, *inner, end]

    def _positions(self, ids: Tensor, grid: tuple[int, int, int], step: float) -> tuple[Tensor, int]:
        """Return M-RoPE positions (3, P) by the model's own rule, and that of the text token behind the video.

        Qwen2.5-VL counts time in `step` seconds per temporal patch. What follows a video is not at the largest
        position plus one, so it is read off a text token appended for that purpose.
        """
        with_text = torch.cat([ids, ids[:1]])[None]
        types = (with_text == self.config.video_token_id).int() * VIDEO_TOKEN_TYPE
        timing: dict[str, Any] = {"second_per_grid_ts": [step]} if self.family == "qwen2_5_vl" else {}
        positions, _ = self._rope_index(
            input_ids=with_text, mm_token_type_ids=types, video_grid_thw=torch.tensor([grid]), **timing
        )
        return positions[:, 0, :-1], int(positions[0, 0, -1])


def resize(frames: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Return uint8 frames (T, H, W, 3) resized to (T, 3, height, width), antialiased bicubic, still uint8."""
    channels_first = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    if channels_first.shape[-2:] == size:
        return channels_first
    return torch.nn.functional.interpolate(channels_first, size=size, mode="bicubic", antialias=True)


def patchify(
    frames: Tensor, pixels: Pixels, patch: int, merge: int, temporal_patch: int
) -> tuple[Tensor, tuple[int, int, int]]:
    """Return normalised patches (N, 3 * temporal_patch * patch * patch) and their grid from uint8 (T, 3, H, W).

    Patches come in the order of Qwen-VL's vision towers: the merge * merge patches of one language token together.
    """
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (pixels.mean, pixels.std))
    values = (frames.float() / 255 - mean) / std
    if missing := -len(values) % temporal_patch:
        values = torch.cat([values, values[-1:].expand(missing, -1, -1, -1)])
    t, h, w = len(values) // temporal_patch, frames.shape[2] // patch, frames.shape[3] // patch
    cut = values.reshape(t, temporal_patch, 3, h // merge, merge, patch, w // merge, merge, patch)
    return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, -1), (t, h, w)


def _fill(times: np.ndarray, temporal_patch: int) -> np.ndarray:
    return np.concatenate([times, np.repeat(times[-1:], -len(times) % temporal_patch)])


def _frame_interval(clip: "Clip") -> float:
    """Return the mean seconds between sampled frames; one frame stands for the whole duration."""
    times = clip.timestamps
    span = float(times[-1] - times[0])
    return span / (len(times) - 1) if span > 0 else clip.duration / len(times)
