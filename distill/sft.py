"""Train a Qwen2.5-VL or Qwen3-VL critic on SFT rows: every video once, with all its questions in one sequence.

Writes checkpoints, tensorboard logs and, at the end, <out>/critic: the weights that were best on the validation rows,
as a critic that `worldcritic score --critic` takes. --resume goes on from the last checkpoint.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from distill.rows import Row, load_rows
from reward.config import config, save_run
from reward.errors import InputError
from reward.files import existing, sha256_file
from reward.options import Positive
from reward.order import EXACT_EVENTS

_AboveZero = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""All matrices of the language model; the vision tower stays as it is."""


@config
class Config:
    """Options of `worldcritic sft`."""

    model: str
    """Model to begin with: a folder, or a model on the hub."""
    train_file: Path
    """SFT rows (JSONL) to learn."""
    validation_file: Path | None = None
    """SFT rows to choose the best weights by; by default validation.jsonl beside the training file, if it is there."""
    videos: Path | None = None
    """Folder that relative video paths are relative to; by default the folder that the command runs in."""
    out: Path = Path("critic-sft")
    """Folder for checkpoints, logs and the finished critic."""
    video_frames: Positive = 16
    """Frames per video; with video_fps the most that a video gets."""
    video_fps: _AboveZero | None = None
    """Frames per second instead of a fixed number."""
    max_pixels: Positive = 360 * 420
    """Pixels of a resized frame."""
    lora: bool = False
    """Train a LoRA adapter of the language model instead of all weights."""
    lora_r: Positive = 16
    """Rank of the adapter."""
    lora_alpha: Positive = 32
    """Scale of the adapter: alpha / r."""
    lr: _AboveZero = 1e-5
    """Peak learning rate; linear warm-up, then a cosine to zero."""
    warmup: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.03
    """Share of the steps that warm up."""
    weight_decay: Annotated[float, pydantic.Field(ge=0)] = 0.0
    """Weight decay of AdamW."""
    epochs: _AboveZero = 2.0
    """Passes over the training videos."""
    max_steps: Positive | None = None
    """Stop after so many steps, whatever the epochs."""
    batch_size: Positive = 1
    """Videos per device and step."""
    accumulate: Positive = 1
    """Batches per optimiser step."""
    labels: Literal["soft", "hard"] = "soft"
    """Learn the teacher's probability of Yes, or its verdict."""
    order_loss: Literal["letters", "lcs", "both"] = "letters"
    """Learn an event order letter by letter, by score (squared error of E[LCS] / n against the teacher's), or both."""
    order_weight: _AboveZero = 1.0
    """Weight of each token of an event order against a check."""
    lcs_weight: _AboveZero = 1.0
    """Weight of the squared error of an event order's score against a check."""
    eval_steps: Positive = 50
    """Steps between validations and checkpoints."""
    keep: Positive = 2
    """Checkpoints to keep."""
    gradient_checkpointing: bool = False
    """Save memory by computing activations again."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the weights; auto is bfloat16 on cuda, float32 elsewhere."""
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    """Seed of the order of the videos and of the adapter."""
    workers: Annotated[int, pydantic.Field(ge=0)] = 2
    """Processes that decode and pack ahead."""
    report_to: Literal["tensorboard", "none"] = "tensorboard"
    """Where the training logs go, below <out>."""
    name: str | None = None
    """Name of the critic in its manifest; by default the folder's."""
    resume: bool = False
    """Go on from the last checkpoint in <out>."""
    overwrite: bool = False
    """Start over where <out> holds an earlier run."""


def main(config: Config) -> None:
    """Train."""
    rows = load_rows(existing(config.train_file, "training file"))
    validation = _validation_file(config)
    held_out = load_rows(validation) if validation else []
    _refuse_overlap(rows, held_out)
    if config.order_loss != "letters":
        _refuse_unscorable(rows)
    checkpoint = _checkpoint(config)
    from distill.training import train

    is_first = int(os.environ.get("RANK", "0")) == 0  # set by torchrun and accelerate launch, one per process
    config.out.mkdir(parents=True, exist_ok=True)
    if is_first:
        inputs = {"train_file": config.train_file} | ({"validation_file": validation} if validation else {})
        save_run(config, config.out / "sft", inputs, seed=config.seed, processes=int(os.environ.get("WORLD_SIZE", "1")))
    metrics = train(config, rows, held_out, checkpoint)
    if is_first:
        _show(metrics, config.out / "critic")


def _validation_file(config: Config) -> Path | None:
    if config.validation_file is not None:
        return existing(config.validation_file, "validation file")
    beside = config.train_file.with_name("validation.jsonl")
    return beside if beside.exists() and beside != config.train_file else None


def _refuse_overlap(rows: Sequence[Row], held_out: Sequence[Row]) -> None:
    if shared := {row.prompt_key for row in rows} & {row.prompt_key for row in held_out}:
        raise InputError(
            f"{len(shared)} prompts are in the training and in the validation file, {min(shared)} for one; "
            "split them by prompt (worldcritic dataset does)"
        )


def _refuse_unscorable(rows: Sequence[Row]) -> None:
    """Raise InputError for an order whose score cannot be summed exactly."""
    for row in rows:
        if row.kind == "order" and not 1 <= len(row.events or ()) <= EXACT_EVENTS:
            found = f"has {len(row.events)}" if row.events else "does not say its 'events'"
            raise InputError(
                f"{row.where}: the order question {found}; --order_loss lcs and both need 1 to {EXACT_EVENTS} events: "
                "take --order_loss letters, or leave the row out"
            )


def _checkpoint(config: Config) -> Path | None:
    """Return the checkpoint to go on from; InputError where an earlier run would be mixed up with this one."""
    found = sorted(config.out.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    if config.resume:
        if not found:
            raise InputError(f"--resume: {config.out} holds no checkpoint")
        return found[-1]
    if (found or (config.out / "critic").exists()) and not config.overwrite:
        raise InputError(f"{config.out} holds an earlier run; go on with --resume, or start over with --overwrite")
    return None


def _show(metrics: dict[str, float], folder: Path) -> None:
    names = sorted({name.partition("nll_")[2] for name in metrics if "nll_" in name})
    if "eval_nll" in metrics:
        print(f"{'validation':<26} {'NLL':>8} {'right':>7}", file=sys.stderr)
        for name in ["", *names]:
            tail = f"_{name}" if name else ""
            nll, right = metrics[f"eval_nll{tail}"], metrics[f"eval_accuracy{tail}"]
            print(f"{name or 'all':<26} {nll:>8.4f} {right:>7.3f}", file=sys.stderr)
    print(f"critic: {folder}", file=sys.stderr)


def seen_videos(rows: Sequence[Row], root: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the prompts and the SHA-256 of the video files that rows are about."""
    paths = {row.video_path: row.sha256 for row in rows}
    return (
        frozenset(row.prompt_key for row in rows),
        frozenset(digest or sha256_file(root / path) for path, digest in paths.items()),
    )
