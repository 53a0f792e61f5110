"""Options that dpo, rwr and nft share: what is trained and how, and how a run is judged while it goes."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from reward.config import config
from reward.errors import InputError
from reward.options import Positive

AboveZero = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Count = Annotated[int, pydantic.Field(ge=0)]


@config
class Learning:
    """What is trained, and how."""

    generator: str
    """Generator to train: a folder, a model on the hub, or a short name such as toyworld."""
    out: Path
    """Folder for checkpoints, logs, samples and the trained adapters, <out>/best and <out>/last."""
    steps: Positive = 200
    """Optimiser steps."""
    batch_size: Positive = 4
    """Samples (pairs, clips) per device at once."""
    accumulate: Positive = 1
    """Batches per optimiser step."""
    lr: AboveZero = 1e-4
    """Learning rate after the warm-up."""
    decay: Literal["none", "linear"] = "none"
    """none keeps the learning rate; linear lets it fall to 0 at the last step."""
    warmup: Count = 10
    """Steps of linear warm-up."""
    weight_decay: NotNegative = 1e-4
    """Weight decay of AdamW."""
    max_grad_norm: AboveZero = 1.0
    """The gradient is scaled down to this norm."""
    ema: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Decay of a moving average of the adapter, which is then what is sampled, judged and saved; 0 is none."""
    lora_r: Positive = 32
    """Rank of the adapter."""
    lora_alpha: Positive | None = None
    """Scale of the adapter: alpha / r; by default twice r."""
    lora_targets: tuple[str, ...] = ()
    """Names of the linear layers that get an adapter; by default the attention's."""
    time_distribution: Literal["logit_normal", "uniform"] = "logit_normal"
    """How noise levels are drawn for training; CogVideoX takes its own grid of levels uniformly."""
    time_mean: float = 0.0
    """Mean of the logit-normal: above 0 means more noise."""
    time_std: AboveZero = 1.0
    """Standard deviation of the logit-normal."""
    shift: AboveZero | None = None
    """Shift of drawn noise levels towards noise; by default the sampler's own."""
    gradient_checkpointing: bool = False
    """Save memory by computing activations again."""
    revision: str | None = None
    """Branch, tag or commit of a generator on the hub."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu), or a torch device such as cuda:1."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the frozen weights; auto is bfloat16 on cuda, float32 elsewhere. Adapter and losses: float32."""
    seed: Count = 0
    """Seed of adapter, data order, noise and samples; the same seed gives the same run."""
    save_every: Positive = 50
    """Steps between checkpoints."""
    keep: Positive = 2
    """Checkpoints to keep."""
    report_to: Literal["tensorboard", "none"] = "tensorboard"
    """Where logs go besides <out>/log.jsonl."""
    limit: Positive | None = None
    """Take only the first so many pairs, clips or prompts."""
    dry_run: bool = False
    """Count, try two steps to estimate the time, write nothing."""
    resume: bool = False
    """Go on from the last checkpoint in <out>, exactly as if the run had never stopped."""
    overwrite: bool = False
    """Start over where <out> holds an earlier run."""


@config
class Judging:
    """How samples are made and judged during training. Without --judge_prompts nothing is judged."""

    critic: str | None = None
    """Critic whose reward is trained on: a folder, a model on the hub, or a short name."""
    judge: str | None = None
    """Held-out critic that training never sees; it chooses the best checkpoint."""
    judge_prompts: Path | None = None
    """Held-out prompts, sampled with the same seeds each time."""
    judge_every: Positive = 50
    """Steps between judgements; the start and the end are always judged."""
    judge_clips: Annotated[int, pydantic.Field(ge=2)] = 4
    """Clips per held-out prompt; diversity is measured between them."""
    detector: str | None = None
    """Short name of a detector of asked-for things, such as toyworld's oracle."""
    on_hacking: Literal["warn", "stop"] = "warn"
    """What the hacking monitor does: say so, or stop with exit code 3."""
    hacking_stds: AboveZero = 2.0
    """The judge has fallen when it is so many standard errors below its best, clip by clip."""
    least_diversity: Share = 0.7
    """Alarm when diversity is below this share of the untrained generator's."""
    least_motion: Share = 0.5
    """The same for motion."""
    least_presence: Share = 0.9
    """The same for the presence of asked-for things, if there is a detector."""
    sample_batch: Positive = 8
    """Clips that are sampled at once."""
    sampling_steps: Positive | None = None
    """Steps of the sampler; by default the generator's own, as all of the following."""
    guidance: Annotated[float, pydantic.Field(ge=1)] | None = None
    """Guidance of the sampler; align at the guidance that you will sample with."""
    num_frames: Positive | None = None
    """Frames of a sampled clip."""
    height: Positive | None = None
    """Height of a sampled clip in pixels."""
    width: Positive | None = None
    """Width of a sampled clip in pixels."""
    max_sequence_length: Positive | None = None
    """Tokens of text that the generator is given."""

    def check_judging(self) -> None:
        """Raise InputError for options that need another one."""
        for name in ("judge", "detector"):
            if getattr(self, name) is not None and self.judge_prompts is None:
                raise InputError(f"--{name} needs held-out prompts to sample: --judge_prompts FILE")


@config
class Options(Learning, Judging):
    """All options that the three verbs share."""
