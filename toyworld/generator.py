"""The embedded generator, `--generator toyworld`: a tiny WanPipeline that makes clips of the toy world, offline.

Trained by `python -m toyworld.train_generator --config configs/toyworld/generator.yaml`; its card says on what, and
how good it is.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

SAMPLING: Mapping[str, Any] = MappingProxyType(
    {
        "height": 32,
        "width": 32,
        "num_frames": 9,
        "num_inference_steps": 10,
        "guidance_scale": 1.0,
        "max_sequence_length": 16,
    }
)
"""Arguments of the pipeline's call with which it was measured. With another `max_sequence_length` it makes other clips:
Wan attends to the zeros behind a prompt. The tokenizer's `model_max_length` is the same number."""


def sampling_defaults() -> dict[str, Any]:
    """Return these settings under the names of sampling.json, which `worldcritic sample` reads in a folder."""
    names = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
    return {names.get(name, name): value for name, value in SAMPLING.items()} | {"fps": 8.0}


def folder() -> Path:
    """Return the folder of the shipped pipeline, for `WanPipeline.from_pretrained`."""
    return Path(__file__).parent / "weights" / "generator"
