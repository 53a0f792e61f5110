"""What a family has to say about itself, and what most of them share: flow matching, latents (B, C, F, H, W)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.errors import InputError
from rl.settings import Sampling, Size

Combine = Literal["two_calls", "concat", "embedded"]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
DEFAULT = "transformer"


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Return values (B,) as (B, 1, ...) for arithmetic with `like` (B, ...)."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))


def refuse_indivisible(family: str, size: Size, multiple: int) -> None:
    """Raise InputError for a height or width that `multiple` does not divide."""
    for what, pixels in (("height", size.height), ("width", size.width)):
        if pixels % multiple:
            raise InputError(f"{family}: {what} {pixels} must be a multiple of {multiple}")


class Family:
    """One family of pipelines. Latents are fp32 in the transformer's normalised space, times are in (0, 1].

    A flow family (all but CogVideoX) mixes x_t = (1 - t) x0 + t eps and predicts eps - x0; t is the sigma of its
    scheduler.
    """

    name: ClassVar[str]
    pipeline: ClassVar[str]
    """Class name in diffusers."""
    conditions: ClassVar[Mapping[str, str]]
    """Keyword of the transformer that depends on the prompt -> keyword of the pipeline that takes it ready made."""
    defaults: ClassVar[Sampling]
    schedulers: ClassVar[tuple[str, ...]] = ("FlowMatchEulerDiscreteScheduler",)
    lora_targets: ClassVar[tuple[str, ...]] = ATTENTION
    draws_logit_normal: ClassVar[bool] = True
    """Whether training times may be drawn logit-normally; else they are uniform."""
    precise_vae: ClassVar[bool] = False
    """Whether the VAE stays in fp32 whatever the transformer's number format."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.check_scheduler()

    # Parts

    @property
    def combine(self) -> Combine:
        """How guidance is computed: by two calls, by one call of twice the batch, or by a number the model reads."""
        return "two_calls"

    @property
    def transformers(self) -> dict[str, torch.nn.Module]:
        """The transformers that the pipeline uses, by their names in it."""
        return {DEFAULT: self.pipe.transformer}

    def expert(self, timestep: float) -> str:
        """Return the name of the transformer that a time step, in model units, is given to."""
        return DEFAULT

    def check_options(self, sampling: Sampling) -> None:
        """Raise InputError for settings that this family has no use for."""

    def check_scheduler(self) -> None:
        """Raise InputError for a scheduler that this family is not known to work with."""
        scheduler = self.pipe.scheduler
        kind = type(scheduler).__name__
        if kind not in self.schedulers:
            raise InputError(
                f"{self.name}: scheduler {kind} is not known; known are {', '.join(self.schedulers)}; "
                "replace it in the generator's scheduler folder"
            )
        for option in ("invert_sigmas", "stochastic_sampling"):
            if scheduler.config.get(option):
                raise InputError(f"{self.name}: a scheduler with {option} is not known to the adapter; switch it off")

    # Prompts

    def call_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """Return the pipeline's arguments besides prompt and guidance."""
        return {
            "num_frames": sampling.num_frames,
            "height": sampling.height,
            "width": sampling.width,
            "num_inference_steps": sampling.steps,
            "guidance_scale": 1.0,
            "max_sequence_length": sampling.max_sequence_length,
        }

    def text_lengths(self, prompt: str, sampling: Sampling) -> tuple[int, int]:
        """Return tokens of a prompt, and how many the text encoder is given at most."""
        return len(self.pipe.tokenizer(prompt).input_ids), sampling.max_sequence_length

    # Sizes

    @property
    def compression(self) -> tuple[int, int]:
        """Frames and pixels per latent, in time and in space."""
        return self.pipe.vae_scale_factor_temporal, self.pipe.vae_scale_factor_spatial

    @property
    def multiple(self) -> int:
        """What height and width must be divisible by, in pixels."""
        return int(self.compression[1] * self.pipe.transformer.config.patch_size)

    def check_size(self, size: Size) -> None:
        """Raise InputError for a size that the stock pipeline would refuse or quietly change."""
        temporal, multiple = self.compression[0], self.multiple
        if (size.num_frames - 1) % temporal:
            wrong = size.num_frames - 1
            raise InputError(
                f"{self.name}: num_frames {size.num_frames} must be 1 more than a multiple of {temporal}, "
                f"such as {wrong // temporal * temporal + 1} or {wrong // temporal * temporal + temporal + 1}"
            )
        refuse_indivisible(self.name, size, multiple)

    def latent_shape(self, size: Size) -> tuple[int, ...]:
        """Return the shape of one clip's latents, (C, F, H, W)."""
        temporal, spatial = self.compression
        frames = (size.num_frames - 1) // temporal + 1
        return self._channels, frames, size.height // spatial, size.width // spatial

    def size_of(self, latent_shape: Sequence[int]) -> Size:
        """Return the size of the clip that latents of this shape, (C, F, H, W), decode to."""
        temporal, spatial = self.compression
        _, frames, height, width = latent_shape
        return Size((frames - 1) * temporal + 1, height * spatial, width * spatial)

    @property
    def _channels(self) -> int:
        return int(self.pipe.transformer.config.in_channels)

    # The transformer's door

    def pack(self, latents: Tensor) -> Tensor:
        """Return latents in the shape that the transformer takes."""
        return latents

    def unpack(self, output: Tensor, latent_shape: Sequence[int]) -> Tensor:
        """Return the transformer's output in the shape of latents."""
        return output

    def filled(self, count: int, sampling: Sampling) -> dict[str, Any]:
        """Return keywords that depend on neither prompt nor size, for a batch of `count`."""
        return {}

    def placeholder(self, sampling: Sampling) -> dict[str, Tensor]:
        """Return a condition of the right shapes, for captures of what does not depend on the prompt."""
        raise NotImplementedError

    # Noise

    def timesteps(self, times: Tensor) -> Tensor:
        """Return times (B,) in (0, 1] in the units that the model reads."""
        return times.float() * float(self.pipe.scheduler.config.num_train_timesteps)

    def alpha_sigma(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares (B,) of clean latents and of noise: x_t = alpha x0 + sigma eps."""
        return 1 - times, times

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return x_t = alpha x0 + sigma eps, (B, ...)."""
        alpha, sigma = self.alpha_sigma(times)
        return spread(alpha, clean) * clean + spread(sigma, clean) * noise

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return what the model should predict, (B, ...)."""
        return noise - clean

    def clean(self, noisy: Tensor, prediction: Tensor, times: Tensor) -> Tensor:
        """Return the x0 that a prediction implies, (B, ...)."""
        return noisy - spread(times, noisy) * prediction

    def shift(self, sampling: Sampling) -> float:
        """Return how far the sampler moves noise levels towards noise: s in s u / (1 + (s - 1) u)."""
        config = self.pipe.scheduler.config
        return float(sampling.shift or config.get("flow_shift", config.get("shift", 1.0)))

    def training_times(self, u: Tensor, shift: float) -> Tensor:
        """Return times in (0, 1] from draws u in [0, 1]: s u / (1 + (s - 1) u), at least one training step."""
        times = shift * u / (1 + (shift - 1) * u)
        return times.clamp(1 / float(self.pipe.scheduler.config.num_train_timesteps), 1.0)

    # Solver

    def uniform_scheduler(self, sampling: Sampling, device: torch.device) -> Any:
        """Return a scheduler set to linspace(1, 1/1000, steps + 1)[:-1], shifted once."""
        scheduler = self.scheduler_for(sampling)
        last = 1 / scheduler.config.num_train_timesteps
        scheduler.set_timesteps(sigmas=np.linspace(1.0, last, sampling.steps + 1)[:-1].tolist(), device=device)
        scheduler.set_begin_index(0)
        return scheduler

    def scheduler_for(self, sampling: Sampling) -> Any:
        """Return a fresh scheduler of the pipeline's kind, with the shift that is asked for."""
        kind, config = type(self.pipe.scheduler), self.pipe.scheduler.config
        if sampling.shift is None and sampling.schedule == "pipeline":
            return kind.from_config(config)
        name = "flow_shift" if "flow_shift" in config else "shift"
        return kind.from_config(config, **{name: self.shift(sampling), "use_dynamic_shifting": False})

    def levels(self, scheduler: Any) -> Tensor:
        """Return the noise levels of a scheduler that is set."""
        sigmas: Tensor = scheduler.sigmas
        return sigmas

    def step(self, scheduler: Any, prediction: Tensor, index: int, latents: Tensor, state: dict[str, Any]) -> Tensor:
        """Return the latents after step `index` of the solver; `state` is its memory from step to step."""
        stepped: Tensor = scheduler.step(prediction, scheduler.timesteps[index], latents, return_dict=False)[0]
        return stepped

    # Pixels

    def normalise(self, latents: Tensor) -> Tensor:
        """Return the VAE's latents, as it encodes them, in the transformer's space."""
        raise NotImplementedError

    def denormalise(self, latents: Tensor) -> Tensor:
        """Return the transformer's latents as the VAE decodes them; the inverse of `normalise`."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return uint8 frames (B, T, H, W, 3)."""
        vae = self.pipe.vae
        video = self._vae_decode(self.denormalise(latents.float()).to(vae.device, vae.dtype))
        frames = self.pipe.video_processor.postprocess_video(video, output_type="np")
        pixels: NDArray[np.uint8] = (np.asarray(frames) * 255).round().astype(np.uint8)
        return pixels

    def _vae_decode(self, latents: Tensor) -> Tensor:
        video: Tensor = self.pipe.vae.decode(latents, return_dict=False)[0]
        return video

    def encode_video(self, frames: NDArray[np.uint8]) -> Tensor:
        """Return the fp32 latents of uint8 frames (B, T, H, W, 3), the mode of the VAE's distribution."""
        vae = self.pipe.vae
        video = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).to(vae.device, torch.float32) / 127.5 - 1
        return self.normalise(vae.encode(video.to(vae.dtype)).latent_dist.mode().float())
